/*
 * Links that are resumed all the time, over plain and TLS connections that come in on any of a
 * gateway's loops, each a thread, and go on on the loop that the link is on; while bytes are echoed
 * through them. For ThreadSanitizer above all.
 */
#include "carrier/websocket_carrier.h"
#include "net/test_certificates.h"
#include "net/test_pair.h"
#include "tunnel/native_tunnel.h"
#include "tunnel/test_visitor.h"

#include "base/error.h"
#include "base/memory.h"
#include "base/reason.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include <cmocka.h>

enum {
    GATEWAYS = 3, /* loops */
    LINKS = 8,
    RESUMES = 30, /* of each link */
    OUTSTANDING = 512 * 1024,
    PIECE = 20000,
    RESUME_SECONDS = 60,
    TIME_LIMIT = 60 * 1000,
};

static const uint8_t nonce[CARRIER_NONCE_SIZE];

struct storm {
    struct account account;
    struct loop agents; /* the test's own thread */
    struct loop gateways[GATEWAYS];
    pthread_t threads[GATEWAYS];
    struct tls_context *server, *client;
    struct loop_timer limit;
    struct pair *pairs;
    _Atomic(unsigned) visitors;
    _Atomic(bool) is_over;
    unsigned finished;
    bool timed_out;
};

/* One link. The first part belongs to the agents' loop, the second to `home`. */
struct pair {
    struct storm *storm;
    struct native_tunnel *agent;
    struct stream *stream;
    struct conn *dialled; /* until the tunnel has it */
    struct carrier *carrier;
    int fd; /* of the carrier, as long as the tunnel has it */
    struct loop_timer timer;
    uint64_t random;
    uint64_t sent, got;
    unsigned resumed;
    bool has_tls, is_finishing;

    struct loop *home;
    struct native_tunnel *gateway;
    struct link_identity identity;
    struct loop_message farewell;
};

/* In any thread, where a failing assertion has nowhere to return to. */
static void require(bool condition)
{
    if (!condition)
        abort();
}

static unsigned below(struct pair *pair, unsigned limit)
{
    pair->random = pair->random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (unsigned)(pair->random >> 33) % limit;
}

static uint8_t byte_at(uint64_t place)
{
    return (uint8_t)(place * 31 + (place >> 8) * 7);
}

static void ignore_stream(struct stream *stream)
{
    (void)stream;
}

static void went_away(struct tunnel *tunnel, const struct message_goaway *goaway)
{
    (void)tunnel;
    (void)goaway;
}

/* Only when the other side ends it; whoever closes it does so soon. */
static void on_lost(struct tunnel *tunnel, int error, const char *why)
{
    const struct pair *pair = tunnel->holder;
    (void)error;
    if (!atomic_load(&pair->storm->is_over))
        fprintf(stderr, "lost: %s\n", why);
    require(atomic_load(&pair->storm->is_over));
}

/* ---- the gateway: echoes ---- */

static void echo_data(struct stream *stream, struct slice_queue *data)
{
    stream->operations->write(stream, data);
}

static void echo_fin(struct stream *stream)
{
    stream->operations->finish(stream);
}

static void end_stream(struct stream *stream, int code, const char *reason)
{
    (void)code;
    (void)reason;
    stream->operations->close(stream);
}

static void echo_written(struct stream *stream, size_t bytes)
{
    stream->operations->consumed(stream, bytes);
}

static void echo_finished(struct stream *stream)
{
    stream->operations->close(stream);
}

static const struct stream_events echo_events = {
    .opened = ignore_stream,
    .data = echo_data,
    .fin = echo_fin,
    .reset = end_stream,
    .written = echo_written,
    .finished = echo_finished,
};

static void gateway_opened(struct tunnel *tunnel, struct stream *stream,
                           const struct message_open *open)
{
    (void)tunnel;
    (void)open;
    stream->events = &echo_events;
    stream->operations->accept(stream);
}

static void gateway_detached(struct tunnel *tunnel, int error, const char *why)
{
    (void)tunnel;
    (void)error;
    (void)why;
}

static const struct tunnel_owner gateway_owner = {
    .peer_opened = gateway_opened,
    .went_away = went_away,
    .detached = gateway_detached,
    .lost = on_lost,
};

/* ---- the gateway: who comes in ---- */

static void arrived(void *holder, struct carrier *carrier,
                    const struct message_handshake *handshake)
{
    struct pair *pair = holder;
    if (handshake->resumes) {
        require(
            link_proof_is_right(pair->identity.secret, nonce, handshake->epoch, handshake->proof));
        int error = native_tunnel_resume(pair->gateway, carrier, handshake);
        require(error == 0 || error == CULVERT_ERROR_REFUSED);
        if (error != 0)
            carrier_close(carrier, error, "too late");
        return;
    }
    require(pair->gateway == NULL && link_identity_new(&pair->identity) == 0);
    require(native_tunnel_new(&gateway_owner, pair, pair->home, false, &pair->gateway) == 0);
    require(native_tunnel_welcome(pair->gateway, carrier, handshake, &pair->identity,
                                  RESUME_SECONDS) == 0);
}

static void gone(void *holder)
{
    struct pair *pair = holder;
    atomic_fetch_sub(&pair->storm->visitors, 1);
}

static void send_visitor(struct pair *pair, int fd)
{
    struct storm *storm = pair->storm;
    const struct test_visit visit = {
        .home = pair->home,
        .tls = pair->has_tls ? storm->server : NULL,
        .arrived = arrived,
        .gone = gone,
        .holder = pair,
    };
    atomic_fetch_add(&storm->visitors, 1);
    test_visitor_send(&storm->gateways[below(pair, GATEWAYS)], fd, &visit);
}

/* ---- the agent: sends, and checks what comes back ---- */

static void look(struct storm *storm)
{
    if (storm->finished == LINKS && atomic_load(&storm->visitors) == 0)
        loop_stop(&storm->agents);
}

static void send_more(struct pair *pair)
{
    struct stream *stream = pair->stream;
    while (!pair->is_finishing && pair->sent - pair->got < OUTSTANDING) {
        uint8_t bytes[PIECE];
        size_t size = 1 + below(pair, PIECE);
        for (size_t i = 0; i < size; i++)
            bytes[i] = byte_at(pair->sent + i);
        struct slice slice;
        struct slice_queue queue = SLICE_QUEUE_NULL;
        require(slice_copy(&pair->storm->agents.pool, bytes, size, &slice) == 0);
        require(slice_queue_push(&queue, slice) == 0);
        pair->sent += size;
        stream->operations->write(stream, &queue);
        slice_queue_deinit(&queue);
        if (pair->resumed >= RESUMES) {
            pair->is_finishing = true;
            stream->operations->finish(stream);
        }
    }
}

static void agent_data(struct stream *stream, struct slice_queue *data)
{
    struct pair *pair = stream->holder;
    size_t bytes = data->bytes;
    while (data->count > 0) {
        struct slice piece = slice_queue_take(data, SIZE_MAX);
        for (size_t i = 0; i < piece.size; i++)
            require(piece.data[i] == byte_at(pair->got + i));
        pair->got += piece.size;
        slice_drop(&piece);
    }
    require(pair->got <= pair->sent);
    stream->operations->consumed(stream, bytes);
    send_more(pair);
}

static void agent_fin(struct stream *stream)
{
    struct pair *pair = stream->holder;
    require(pair->is_finishing && pair->got == pair->sent);
    stream->operations->close(stream);
    pair->stream = NULL;
    pair->storm->finished++;
}

static void must_not_be_reset(struct stream *stream, int code, const char *reason)
{
    (void)stream;
    (void)code;
    (void)reason;
    require(false);
}

static void ignore_written(struct stream *stream, size_t bytes)
{
    (void)stream;
    (void)bytes;
}

static const struct stream_events agent_events = {
    .opened = ignore_stream,
    .data = agent_data,
    .fin = agent_fin,
    .reset = must_not_be_reset,
    .written = ignore_written,
    .finished = ignore_stream,
};

/* ---- the agent: dials again and again ---- */

static void agent_welcomed(struct tunnel *tunnel, const struct message_welcome *welcome)
{
    struct pair *pair = tunnel->holder;
    require(welcome->ok);
    if (pair->stream != NULL) {
        pair->resumed++;
        return;
    }
    if (pair->is_finishing)
        return;
    struct message_open open = {.kind = text_of("tcp"), .host = text_of("h")};
    require(tunnel_open(tunnel, &open, &pair->stream) == 0);
    pair->stream->events = &agent_events;
    pair->stream->holder = pair;
    send_more(pair);
}

static void agent_detached(struct tunnel *tunnel, int error, const char *why)
{
    struct pair *pair = tunnel->holder;
    (void)error;
    (void)why;
    loop_timer_start(&pair->timer, 1);
}

static void agent_opened(struct tunnel *tunnel, struct stream *stream,
                         const struct message_open *open)
{
    (void)tunnel;
    (void)stream;
    (void)open;
    require(false);
}

static const struct tunnel_owner agent_owner = {
    .peer_opened = agent_opened,
    .welcomed = agent_welcomed,
    .went_away = went_away,
    .detached = agent_detached,
    .lost = on_lost,
};

static void join(struct pair *pair, struct conn *conn)
{
    struct carrier *carrier = NULL;
    pair->dialled = NULL;
    pair->fd = conn_descriptor(conn);
    require(websocket_carrier_new(conn, WEBSOCKET_CLIENT, NULL, 0, &carrier) == 0);
    int error = pair->agent->resume_seconds > 0
                    ? native_tunnel_rejoin(pair->agent, carrier, "agent1", NULL, nonce)
                    : native_tunnel_register(pair->agent, carrier,
                                             &(struct native_credentials){.name = "agent1"});
    require(error == 0);
    pair->carrier = carrier;
}

static void agent_secured(struct conn *conn, int error)
{
    require(error == 0);
    join(conn_holder(conn), conn);
}

static void no_event(struct conn *conn)
{
    (void)conn;
}

static const struct conn_events agent_conn_events = {agent_secured, no_event, no_event};

static void dial(struct pair *pair)
{
    int fds[2];
    struct conn *conn = NULL;
    if (pair->dialled != NULL)
        conn_close(pair->dialled, true);
    test_socket_pair(fds);
    send_visitor(pair, fds[1]);
    require(conn_new(&pair->storm->agents, fds[0], &agent_conn_events, pair, &conn) == 0);
    pair->dialled = conn;
    if (pair->has_tls)
        require(conn_secure(conn, pair->storm->client, "localhost") == 0);
    else
        join(pair, conn);
}

/* While the old connection works, or while nobody has answered the last; or it breaks, and
 * agent_detached leads here again. */
static void dial_again(struct loop_timer *timer)
{
    struct pair *pair = timer->holder;
    look(pair->storm);
    bool is_registered = pair->agent->resume_seconds > 0;
    bool waits = pair->dialled != NULL && below(pair, 4) > 0;
    bool has_carrier = pair->carrier != NULL && pair->agent->carrier == pair->carrier;
    if (is_registered && pair->stream != NULL && !waits) {
        if (has_carrier && below(pair, 3) == 0)
            require(shutdown(pair->fd, SHUT_RDWR) == 0 || errno == ENOTCONN);
        else
            dial(pair);
    }
    /* Now and then before the link's handshake is over, too. */
    loop_timer_start(timer, below(pair, 4) == 0 ? 1 : 5 + below(pair, 30));
}

/* ---- the whole ---- */

static void *run_gateway(void *argument)
{
    loop_run(argument);
    return NULL;
}

static void limit_reached(struct loop_timer *timer)
{
    struct storm *storm = timer->holder;
    storm->timed_out = true;
    loop_stop(&storm->agents);
}

static void start_pair(struct storm *storm, unsigned index)
{
    struct pair *pair = &storm->pairs[index];
    pair->storm = storm;
    pair->random = index + 1;
    pair->has_tls = index % 2 != 0;
    pair->home = &storm->gateways[index % GATEWAYS];
    require(native_tunnel_new(&agent_owner, pair, &storm->agents, true, &pair->agent) == 0);
    require(loop_timer_init(&storm->agents, &pair->timer, dial_again, pair) == 0);
    loop_timer_start(&pair->timer, 20);
    dial(pair);
}

static void say_farewell(struct loop *loop, struct loop_message *message)
{
    struct pair *pair = CONTAINER_OF(message, struct pair, farewell);
    require(loop == pair->home);
    tunnel_close(&pair->gateway->base, REASON_SHUTDOWN, NULL);
    pair->gateway = NULL;
}

static void end_storm(struct storm *storm)
{
    atomic_store(&storm->is_over, true);
    for (unsigned i = 0; i < LINKS; i++) {
        struct pair *pair = &storm->pairs[i];
        loop_timer_close(&pair->timer, NULL);
        tunnel_close(&pair->agent->base, REASON_SHUTDOWN, NULL);
        pair->farewell.run = say_farewell;
        loop_post(pair->home, &pair->farewell);
    }
    loop_timer_close(&storm->limit, NULL);
    for (unsigned i = 0; i < GATEWAYS; i++) {
        loop_stop(&storm->gateways[i]);
        require(pthread_join(storm->threads[i], NULL) == 0);
        loop_deinit(&storm->gateways[i]);
    }
    loop_deinit(&storm->agents);
    tls_context_unref(storm->server);
    tls_context_unref(storm->client);
}

static void links_survive_a_storm(void **state)
{
    (void)state;
    struct storm storm = {.finished = 0};
    struct pair pairs[LINKS] = {{.got = 0}};
    storm.pairs = pairs;
    account_init(&storm.account, SIZE_MAX);
    test_certificates_contexts(&storm.server, &storm.client);
    require(loop_init(&storm.agents, GATEWAYS, &storm.account) == 0);
    for (unsigned i = 0; i < GATEWAYS; i++)
        require(loop_init(&storm.gateways[i], i, &storm.account) == 0);
    require(loop_timer_init(&storm.agents, &storm.limit, limit_reached, &storm) == 0);
    loop_timer_start(&storm.limit, TIME_LIMIT);
    for (unsigned i = 0; i < GATEWAYS; i++)
        require(pthread_create(&storm.threads[i], NULL, run_gateway, &storm.gateways[i]) == 0);
    for (unsigned i = 0; i < LINKS; i++)
        start_pair(&storm, i);
    loop_run(&storm.agents);
    require(!storm.timed_out);
    for (unsigned i = 0; i < LINKS; i++) {
        assert_true(pairs[i].resumed >= RESUMES);
        assert_int_equal(pairs[i].got, pairs[i].sent);
    }
    end_storm(&storm);
    assert_int_equal(storm.account.used, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(links_survive_a_storm)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
