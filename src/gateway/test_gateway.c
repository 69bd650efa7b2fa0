#include "gateway/test_gateway.h"

#include "base/exit_code.h"
#include "base/reason.h"
#include "carrier/websocket_carrier.h"
#include "gateway/dialect.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include <cmocka.h>

enum { TIME_LIMIT = 60, TURNS = 20 };

/* ---- the gateway ---- */

static const struct gateway_listen loopback = {.host = "127.0.0.1"};

void test_gateway_prepare(struct test_gateway *test)
{
    memset(test, 0, sizeof(*test));
    test->config = (struct gateway_config){.listens = &loopback,
                                           .listen_count = 1,
                                           .grant = true,
                                           .open = true,
                                           .threads = 1,
                                           .max_memory = SIZE_MAX,
                                           .resume_window = GATEWAY_RESUME_WINDOW};
}

void test_gateway_open(struct test_gateway *test)
{
    assert_int_equal(gateway_open(&test->config, &test->gateway), EXIT_CODE_OK);
    test->worker = &test->gateway->workers[0];
    test->loop = &test->worker->loop;
}

void test_gateway_begin(struct test_gateway *test)
{
    test_gateway_prepare(test);
    test_gateway_open(test);
}

static void run_turn(struct test_gateway *test)
{
    for (unsigned i = 0; i < test->gateway->worker_count; i++)
        uv_run(&test->gateway->workers[i].loop.uv, UV_RUN_NOWAIT);
}

void test_gateway_run(struct test_gateway *test, bool (*is_over)(void *holder), void *holder)
{
    uint64_t begin = uv_hrtime();
    while (!is_over(holder)) {
        run_turn(test);
        assert_true(uv_hrtime() - begin < TIME_LIMIT * UINT64_C(1000000000));
    }
}

void test_gateway_settle(struct test_gateway *test)
{
    for (int i = 0; i < TURNS; i++)
        run_turn(test);
}

void test_gateway_close(struct test_gateway *test)
{
    gateway_stop(test->gateway, 0);
    assert_int_equal(gateway_run(test->gateway), EXIT_CODE_OK);
    gateway_free(test->gateway);
}

struct member *test_gateway_member(struct test_gateway *test, const char *name)
{
    struct member_ref ref;
    if (registry_find(&test->gateway->registry, name, &ref) != 0)
        return NULL;
    return member_find(&test->gateway->workers[ref.worker], ref.id);
}

/* ---- an agent ---- */

static struct test_agent *agent_of(struct tunnel *tunnel)
{
    return tunnel->holder;
}

static void take(struct test_session *session, struct stream *stream);

static void peer_opened(struct tunnel *tunnel, struct stream *stream,
                        const struct message_open *open)
{
    struct test_agent *agent = agent_of(tunnel);
    (void)open;
    assert_true(agent->opened < TEST_AGENT_STREAMS);
    if (agent->taker != NULL) {
        take(agent->taker, stream);
        agent->taker = NULL;
        agent->opened++;
        return;
    }
    agent->streams[agent->opened++] = stream;
}

static void welcomed(struct tunnel *tunnel, const struct message_welcome *welcome)
{
    struct test_agent *agent = agent_of(tunnel);
    agent->welcomes += welcome->ok;
    if (welcome->ok)
        return;
    agent->refused = welcome->code;
    assert_int_equal(text_copy(welcome->message, agent->refusal, sizeof(agent->refusal)), 0);
}

static void went_away(struct tunnel *tunnel, const struct message_goaway *goaway)
{
    (void)goaway;
    agent_of(tunnel)->goodbyes++;
}

static void detached(struct tunnel *tunnel, int error, const char *why)
{
    (void)error;
    (void)why;
    agent_of(tunnel)->detachments++;
}

static void lost(struct tunnel *tunnel, int error, const char *why)
{
    agent_of(tunnel)->lost = error;
    snprintf(agent_of(tunnel)->why, sizeof(agent_of(tunnel)->why), "%s", why);
}

static const struct tunnel_owner owner = {
    .peer_opened = peer_opened,
    .welcomed = welcomed,
    .went_away = went_away,
    .detached = detached,
    .lost = lost,
};

static const struct conn_events no_events;

static struct carrier *carrier_on(struct loop *loop, int fd, enum websocket_role role)
{
    struct conn *conn = NULL;
    struct carrier *carrier = NULL;
    assert_int_equal(conn_new(loop, fd, &no_events, NULL, &conn), 0);
    assert_int_equal(websocket_carrier_new(conn, role, NULL, 0, &carrier), 0);
    return carrier;
}

/* A connection whose upgrade is over: a visitor at one end, at the other what is returned. */
static struct carrier *dial(struct test_agent *agent)
{
    static const struct front front = {.text = "192.0.2.1:1234"};
    struct worker *worker = &agent->test->gateway->workers[agent->worker];
    int fds[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    agent->fd = fds[0];
    agent->visitor = visitor_adopt(worker, NULL, &front, NULL);
    assert_non_null(agent->visitor);
    struct carrier *carrier = carrier_on(&worker->loop, fds[1], WEBSOCKET_SERVER);
    visitor_take_carrier(agent->visitor, carrier, &dialect_native);
    carrier->operations->read(carrier, true);
    return carrier_on(agent->test->loop, fds[0], WEBSOCKET_CLIENT);
}

static const char *key_of(const struct test_agent *agent)
{
    return agent->key != NULL ? agent->key : "";
}

void test_agent_dial(struct test_agent *agent, struct test_gateway *test, const char *name)
{
    agent->test = test;
    agent->name = name;
    assert_int_equal(native_tunnel_new(&owner, agent, test->loop, true, &agent->tunnel), 0);
    struct carrier *carrier = dial(agent);
    const struct native_credentials credentials = {
        .name = name, .key = key_of(agent), .boot = agent->boot};
    assert_int_equal(native_tunnel_register(agent->tunnel, carrier, &credentials), 0);
}

static bool is_answered(void *holder)
{
    const struct test_agent *agent = holder;
    return agent->welcomes > 0 || agent->lost != 0;
}

void test_agent_register(struct test_agent *agent, struct test_gateway *test, const char *name)
{
    test_agent_dial(agent, test, name);
    test_gateway_run(test, is_answered, agent);
    agent->visitor = NULL;
}

static bool is_detached(void *holder)
{
    const struct test_agent *agent = holder;
    return agent->tunnel->carrier == NULL && agent->detachments > 0;
}

void test_agent_cut(struct test_agent *agent)
{
    shutdown(agent->fd, SHUT_RDWR);
    test_gateway_run(agent->test, is_detached, agent);
    test_gateway_settle(agent->test);
}

void test_agent_begin_rejoin(struct test_agent *agent)
{
    struct carrier *carrier = dial(agent);
    assert_int_equal(native_tunnel_rejoin(agent->tunnel, carrier, agent->name, key_of(agent),
                                          agent->visitor->nonce),
                     0);
}

void test_agent_rejoin(struct test_agent *agent)
{
    test_agent_begin_rejoin(agent);
    test_gateway_settle(agent->test);
}

void test_agent_close(struct test_agent *agent)
{
    if (agent->test == NULL)
        return; /* it has never dialled */
    for (unsigned i = 0; i < agent->opened; i++) {
        if (agent->streams[i] != NULL)
            stream_refuse(agent->streams[i], REASON_SHUTDOWN, NULL);
    }
    if (agent->tunnel != NULL)
        tunnel_close(&agent->tunnel->base, REASON_SHUTDOWN, "the agent is stopping");
    test_gateway_settle(agent->test);
    memset(agent, 0, sizeof(*agent));
}

/* ---- a session ---- */

static struct test_session *session_of(struct stream *stream)
{
    return stream->holder;
}

static void opened(struct stream *stream)
{
    session_of(stream)->is_opened = true;
}

static void data(struct stream *stream, struct slice_queue *queue)
{
    size_t bytes = queue->bytes;
    slice_queue_clear(queue);
    session_of(stream)->got += bytes;
    stream->operations->consumed(stream, bytes);
}

static void fin(struct stream *stream)
{
    session_of(stream)->fin = true;
}

static void was_reset(struct stream *stream, int code, const char *reason)
{
    struct test_session *session = session_of(stream);
    session->is_reset = true;
    session->code = code;
    snprintf(session->reason, sizeof(session->reason), "%s", reason != NULL ? reason : "");
    session->stream = NULL;
    stream->operations->close(stream);
}

static void written(struct stream *stream, size_t bytes)
{
    (void)stream;
    (void)bytes;
}

static void finished(struct stream *stream)
{
    (void)stream;
}

static const struct stream_events stream_handlers = {
    .opened = opened,
    .data = data,
    .fin = fin,
    .reset = was_reset,
    .written = written,
    .finished = finished,
};

static void hold(struct test_session *session, struct stream *stream)
{
    session->stream = stream;
    stream->events = &stream_handlers;
    stream->holder = session;
}

static void take(struct test_session *session, struct stream *stream)
{
    memset(session, 0, sizeof(*session));
    hold(session, stream);
    stream->operations->accept(stream);
}

void test_session_ask(struct test_session *session, struct test_agent *agent, const char *name,
                      const char *host)
{
    const struct message_open open = {
        .kind = text_of("tcp"), .agent = text_of(name), .host = text_of(host), .port = 80};
    struct stream *stream = NULL;
    memset(session, 0, sizeof(*session));
    assert_int_equal(tunnel_open(&agent->tunnel->base, &open, &stream), 0);
    hold(session, stream);
}

void test_session_open(struct test_session *session, struct test_agent *agent, const char *name)
{
    test_session_ask(session, agent, name, "db.example");
}

void test_session_accept(struct test_session *session, struct test_agent *agent)
{
    unsigned index = 0;
    while (index < agent->opened && agent->streams[index] == NULL)
        index++;
    assert_true(index < agent->opened);
    take(session, agent->streams[index]);
    agent->streams[index] = NULL;
}

void test_session_join(struct test_session *asking, struct test_agent *near,
                       struct test_session *asked, struct test_agent *far)
{
    test_session_open(asking, near, far->name);
    test_gateway_settle(near->test);
    test_session_accept(asked, far);
    test_gateway_settle(near->test);
}

void test_session_write(struct test_session *session, struct test_gateway *test, size_t bytes)
{
    static const uint8_t zeros[16 * 1024];
    struct slice slice = SLICE_NULL;
    struct slice_queue queue = SLICE_QUEUE_NULL;
    assert_true(bytes <= sizeof(zeros));
    assert_int_equal(slice_copy(&test->loop->pool, zeros, bytes, &slice), 0);
    assert_int_equal(slice_queue_push(&queue, slice), 0);
    session->stream->operations->write(session->stream, &queue);
    slice_queue_deinit(&queue);
}

void test_session_close(struct test_session *session)
{
    if (session->stream != NULL)
        stream_refuse(session->stream, REASON_RESET, NULL);
    session->stream = NULL;
}
