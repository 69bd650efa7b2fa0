#include "tunnel/test_tunnels.h"

#include "base/error.h"
#include "base/reason.h"
#include "carrier/websocket_carrier.h"
#include "net/conn.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>

#include <cmocka.h>

enum { TIME_LIMIT = 60 * 1000 };

static struct test_side *side_of(struct tunnel *tunnel)
{
    return tunnel->holder;
}

static void look(struct test_tunnels *pair)
{
    if (pair->is_over(pair))
        loop_stop(&pair->loop);
}

/* ---- a stream's holder: writes within a window, sums up what comes ---- */

static struct test_side *holder_of(struct stream *stream)
{
    return stream->holder;
}

static void write_more(struct test_side *side)
{
    while (side->to_write > 0 && side->outstanding < 8 * TEST_PIECE) {
        uint8_t bytes[TEST_PIECE];
        size_t size = side->to_write < TEST_PIECE ? side->to_write : TEST_PIECE;
        for (size_t i = 0; i < size; i++) {
            bytes[i] = (uint8_t)(side->to_write - i);
            side->sum_written = side->sum_written * 31 + bytes[i];
        }
        struct slice slice;
        struct slice_queue queue = SLICE_QUEUE_NULL;
        assert_int_equal(slice_copy(&side->tunnel->base.loop->pool, bytes, size, &slice), 0);
        assert_int_equal(slice_queue_push(&queue, slice), 0);
        side->outstanding += size;
        side->to_write -= size;
        side->stream->operations->write(side->stream, &queue);
        slice_queue_deinit(&queue);
        if (side->to_write == 0)
            side->stream->operations->finish(side->stream);
    }
}

static void opened(struct stream *stream)
{
    holder_of(stream)->is_opened = true;
    look(holder_of(stream)->pair);
}

static void data(struct stream *stream, struct slice_queue *queue)
{
    struct test_side *side = holder_of(stream);
    struct slice *slice;
    while ((slice = slice_queue_first(queue)) != NULL) {
        for (size_t i = 0; i < slice->size; i++)
            side->sum_got = side->sum_got * 31 + slice->data[i];
        side->got += slice->size;
        stream->operations->consumed(stream, slice->size);
        slice_queue_skip(queue, slice->size);
    }
    look(side->pair);
}

static void fin(struct stream *stream)
{
    holder_of(stream)->fin = true;
    look(holder_of(stream)->pair);
}

static void finished(struct stream *stream)
{
    holder_of(stream)->finished = true;
    look(holder_of(stream)->pair);
}

static void was_reset(struct stream *stream, int code, const char *reason)
{
    struct test_side *side = holder_of(stream);
    (void)reason;
    side->is_reset = true;
    side->code = code;
    stream->operations->close(stream);
    side->stream = NULL;
    look(side->pair);
}

static void written(struct stream *stream, size_t bytes)
{
    struct test_side *side = holder_of(stream);
    side->outstanding -= bytes;
    write_more(side);
}

static const struct stream_events stream_handlers = {
    .opened = opened,
    .data = data,
    .fin = fin,
    .reset = was_reset,
    .written = written,
    .finished = finished,
};

static void hold(struct test_side *side, struct stream *stream)
{
    side->stream = stream;
    stream->events = &stream_handlers;
    stream->holder = side;
}

/* ---- the tunnels' owner ---- */

static void peer_opened(struct tunnel *tunnel, struct stream *stream,
                        const struct message_open *open)
{
    struct test_side *side = side_of(tunnel);
    assert_true(text_equals(open->host, "db.example"));
    hold(side, stream);
    stream->operations->accept(stream);
    write_more(side);
}

static void went_away(struct tunnel *tunnel, const struct message_goaway *goaway)
{
    assert_true(goaway->reason.size > 0);
    side_of(tunnel)->goodbyes++;
    look(side_of(tunnel)->pair);
}

static void ponged(struct tunnel *tunnel)
{
    side_of(tunnel)->pongs++;
    look(side_of(tunnel)->pair);
}

static void welcomed(struct tunnel *tunnel, const struct message_welcome *welcome)
{
    struct test_tunnels *pair = side_of(tunnel)->pair;
    if (welcome->ok) {
        pair->welcomes++;
    } else {
        pair->refusals++;
        pair->refused = welcome->code;
    }
    look(pair);
}

static void express(struct tunnel *tunnel, enum tunnel_express what, const char *why)
{
    struct test_tunnels *pair = side_of(tunnel)->pair;
    assert_true((why != NULL) == (what == TUNNEL_EXPRESS_OVER));
    pair->express[what]++;
    look(pair);
}

static void keep_why(struct test_side *side, const char *why)
{
    assert_non_null(why);
    snprintf(side->why, sizeof(side->why), "%s", why);
}

static void detached(struct tunnel *tunnel, int error, const char *why)
{
    struct test_side *side = side_of(tunnel);
    struct test_tunnels *pair = side->pair;
    keep_why(side, why);
    assert_null(side->tunnel->carrier);
    side->detachments++;
    side->detached = error;
    if (pair->rejoins_by_itself && side == &pair->agent)
        loop_defer_next(&pair->loop, &pair->rejoin);
    look(pair);
}

static void lost(struct tunnel *tunnel, int error, const char *why)
{
    struct test_side *side = side_of(tunnel);
    keep_why(side, why);
    assert_null(side->tunnel->carrier);
    assert_int_equal(side->lost, 0);
    side->lost = error;
    look(side->pair);
}

static const struct tunnel_owner owner = {
    .peer_opened = peer_opened,
    .welcomed = welcomed,
    .went_away = went_away,
    .express = express,
    .ponged = ponged,
    .detached = detached,
    .lost = lost,
};

/* ---- the door: what a gateway's login does ---- */

static int send_refusal(struct test_tunnels *pair, int code)
{
    uint8_t encoded[MESSAGE_MAX_CONTROL];
    struct message message = {.type = MESSAGE_ACK, .is_handshake_ack = true};
    message.welcome.code = code;
    message.welcome.message = text_of("not you");
    int size = message_encode(&message, encoded, sizeof(encoded));
    struct slice slice;
    struct slice_queue queue = SLICE_QUEUE_NULL;
    int error = slice_copy(&pair->loop.pool, encoded, (size_t)size, &slice);
    if (error == 0)
        error = slice_queue_push(&queue, slice);
    if (error != 0)
        return error;
    pair->door.carrier->operations->send(pair->door.carrier, &queue);
    pair->door.carrier->operations->flush(pair->door.carrier);
    slice_queue_deinit(&queue);
    return 0;
}

static void answer(struct loop_task *task)
{
    struct test_tunnels *pair = CONTAINER_OF(task, struct test_tunnels, door.task);
    const struct message_handshake *handshake = &pair->door.handshake;
    struct carrier *carrier = pair->door.carrier;
    inbound_deinit(&pair->door.inbound);
    if (pair->door.refuses != 0) {
        if (pair->door.refuses > 0)
            assert_int_equal(send_refusal(pair, pair->door.refuses), 0);
        carrier_close(carrier, 0, "not you");
    } else if (handshake->resumes) {
        assert_memory_equal(handshake->link, pair->door.identity.link, sizeof(handshake->link));
        assert_true(link_proof_is_right(pair->door.identity.secret, pair->door.nonce,
                                        handshake->epoch, handshake->proof));
        pair->door.result =
            handshake->is_express
                ? native_tunnel_take_express(pair->gateway.tunnel, carrier, handshake)
                : native_tunnel_resume(pair->gateway.tunnel, carrier, handshake);
        if (pair->door.result != 0)
            carrier_close(carrier, pair->door.result, "cannot be");
    } else {
        assert_int_equal(native_tunnel_welcome(pair->gateway.tunnel, carrier, handshake,
                                               &pair->door.identity, pair->door.resume_seconds),
                         0);
    }
    pair->door.carrier = NULL;
    pair->door.refuses = 0;
    look(pair);
}

static int take_handshake(struct inbound *inbound, const struct message *message,
                          struct slice_queue *payload, size_t size)
{
    struct test_tunnels *pair = CONTAINER_OF(inbound, struct test_tunnels, door.inbound);
    (void)payload;
    (void)size;
    assert_int_equal(message->type, MESSAGE_HANDSHAKE);
    assert_true(text_equals(message->handshake.name, "agent1"));
    pair->door.handshake = message->handshake; /* its texts are not looked at any more */
    pair->door.carrier->operations->read(pair->door.carrier, false);
    if (!pair->door.is_silent)
        loop_defer(&pair->loop, &pair->door.task);
    return 0;
}

static void door_data(struct carrier *carrier, struct slice piece)
{
    struct test_tunnels *pair = carrier->holder;
    assert_int_equal(inbound_take(&pair->door.inbound, piece), 0);
}

static void door_nothing(struct carrier *carrier)
{
    (void)carrier;
}

static void door_lost(struct carrier *carrier, int error, const char *why)
{
    struct test_tunnels *pair = carrier->holder;
    (void)why;
    inbound_deinit(&pair->door.inbound);
    carrier_close(carrier, error, NULL);
    pair->door.carrier = NULL;
}

static const struct carrier_events door_events = {
    .data = door_data,
    .message_end = door_nothing,
    .read_end = door_nothing,
    .ready = door_nothing,
    .lost = door_lost,
};

/* ---- the pair ---- */

static const struct conn_events no_events;

static void limit_reached(struct loop_timer *timer)
{
    struct test_tunnels *pair = timer->holder;
    pair->timed_out = true;
    loop_stop(&pair->loop);
}

static struct carrier *carrier_on(struct test_tunnels *pair, int fd, enum websocket_role role)
{
    struct conn *conn = NULL;
    struct carrier *carrier = NULL;
    assert_int_equal(conn_new(&pair->loop, fd, &no_events, NULL, &conn), 0);
    assert_int_equal(websocket_carrier_new(conn, role, NULL, 0, &carrier), 0);
    return carrier;
}

struct carrier *test_tunnels_dial(struct test_tunnels *pair)
{
    int fds[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    pair->agent.fd = fds[0];
    pair->gateway.fd = fds[1];
    assert_null(pair->door.carrier);
    pair->door.carrier = carrier_on(pair, fds[1], WEBSOCKET_SERVER);
    pair->door.carrier->events = &door_events;
    pair->door.carrier->holder = pair;
    inbound_init(&pair->door.inbound, &pair->loop.pool, take_handshake);
    assert_int_equal(getrandom(pair->door.nonce, CARRIER_NONCE_SIZE, 0), CARRIER_NONCE_SIZE);
    return carrier_on(pair, fds[0], WEBSOCKET_CLIENT);
}

void test_tunnels_rejoin(struct test_tunnels *pair)
{
    struct carrier *carrier = test_tunnels_dial(pair);
    assert_int_equal(
        native_tunnel_rejoin(pair->agent.tunnel, carrier, "agent1", "key", pair->door.nonce), 0);
}

void test_tunnels_add_express(struct test_tunnels *pair)
{
    struct carrier *carrier = test_tunnels_dial(pair);
    assert_int_equal(
        native_tunnel_add_express(pair->agent.tunnel, carrier, "agent1", "key", pair->door.nonce),
        0);
}

static void rejoin(struct loop_task *task)
{
    test_tunnels_rejoin(CONTAINER_OF(task, struct test_tunnels, rejoin));
}

void test_tunnels_prepare(struct test_tunnels *pair, unsigned resume_seconds)
{
    memset(pair, 0, sizeof(*pair));
    account_init(&pair->account, SIZE_MAX);
    assert_int_equal(loop_init(&pair->loop, 0, &pair->account), 0);
    assert_int_equal(loop_timer_init(&pair->loop, &pair->limit, limit_reached, pair), 0);
    loop_timer_start(&pair->limit, TIME_LIMIT);
    pair->door.resume_seconds = resume_seconds;
    pair->door.task.run = answer;
    pair->rejoin.run = rejoin;
    assert_int_equal(link_identity_new(&pair->door.identity), 0);
    pair->agent.pair = pair;
    pair->gateway.pair = pair;
    assert_int_equal(
        native_tunnel_new(&owner, &pair->gateway, &pair->loop, false, &pair->gateway.tunnel), 0);
}

void test_tunnels_start(struct test_tunnels *pair, unsigned resume_seconds)
{
    test_tunnels_prepare(pair, resume_seconds);
    assert_int_equal(
        native_tunnel_new(&owner, &pair->agent, &pair->loop, true, &pair->agent.tunnel), 0);
    struct carrier *carrier = test_tunnels_dial(pair);
    struct native_credentials credentials = {.name = "agent1", .key = "key"};
    assert_int_equal(native_tunnel_register(pair->agent.tunnel, carrier, &credentials), 0);
}

void test_tunnels_run(struct test_tunnels *pair, bool (*is_over)(struct test_tunnels *))
{
    pair->is_over = is_over;
    if (is_over(pair))
        return;
    assert_int_equal(loop_run(&pair->loop), 0);
    assert_false(pair->timed_out);
}

static bool both_go(struct test_tunnels *pair)
{
    return pair->agent.tunnel->is_fresh && pair->gateway.tunnel->is_fresh;
}

void test_tunnels_settle(struct test_tunnels *pair)
{
    test_tunnels_run(pair, both_go);
}

void test_tunnels_open(struct test_tunnels *pair)
{
    struct message_open open = {
        .kind = text_of("tcp"),
        .agent = text_of("far"),
        .host = text_of("db.example"),
        .port = 5432,
    };
    struct stream *stream = NULL;
    assert_int_equal(tunnel_open(&pair->agent.tunnel->base, &open, &stream), 0);
    hold(&pair->agent, stream);
    write_more(&pair->agent);
}

bool test_tunnels_have_finished(struct test_tunnels *pair)
{
    return pair->agent.fin && pair->gateway.fin && pair->agent.finished && pair->gateway.finished;
}

void test_tunnels_end(struct test_tunnels *pair)
{
    struct test_side *sides[] = {&pair->agent, &pair->gateway};
    for (int i = 0; i < 2; i++) {
        struct test_side *side = sides[i];
        /* One that has not ended is reset by the tunnel's close, which its holder then closes. */
        if (side->stream != NULL && side->fin && side->finished)
            side->stream->operations->close(side->stream);
        if (side->tunnel != NULL)
            tunnel_close(&side->tunnel->base, REASON_SHUTDOWN, "the test is over");
    }
    if (pair->door.carrier != NULL) {
        inbound_deinit(&pair->door.inbound);
        carrier_close(pair->door.carrier, 0, NULL);
    }
    loop_task_cancel(&pair->door.task);
    loop_task_cancel(&pair->rejoin);
    loop_timer_close(&pair->limit, NULL);
    loop_deinit(&pair->loop);
    assert_int_equal(pair->account.used, 0);
}
