/* Two tunnels on one loop, joined by WebSocket carriers over a socket pair. */
#include "tunnel/native_tunnel.h"

#include "base/error.h"
#include "base/reason.h"
#include "net/conn.h"
#include "tunnel/websocket_carrier.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/socket.h>

#include <cmocka.h>

enum { TIME_LIMIT = 20 * 1000, BULK = 8 * 1024 * 1024, PIECE = 32 * 1024 };

struct side {
    struct native_tunnel *tunnel;
    struct pair *pair;
    struct stream *stream;
    size_t to_write, outstanding, got;
    uint64_t sum_written, sum_got;
    bool is_opened, fin, finished, is_reset;
    int code;
    unsigned pongs;
    int lost;
};

struct pair {
    struct account account;
    struct loop loop;
    struct loop_timer limit;
    struct side agent, gateway;
    bool (*is_over)(struct pair *pair); /* when true the loop ends */
    bool timed_out;
    int far_fd; /* the gateway's, to play tricks with */
};

static struct side *side_of(struct tunnel *tunnel)
{
    return tunnel->holder;
}

static void look(struct pair *pair)
{
    if (pair->is_over(pair))
        loop_stop(&pair->loop);
}

/* ---- a stream's holder: writes within a window, sums up what comes ---- */

static struct side *holder_of(struct stream *stream)
{
    return stream->holder;
}

static void write_more(struct side *side)
{
    while (side->to_write > 0 && side->outstanding < 8 * PIECE) {
        uint8_t bytes[PIECE];
        size_t size = side->to_write < PIECE ? side->to_write : PIECE;
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
}

static void data(struct stream *stream, struct slice_queue *queue)
{
    struct side *side = holder_of(stream);
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
    struct side *side = holder_of(stream);
    (void)reason;
    side->is_reset = true;
    side->code = code;
    stream->operations->close(stream);
    side->stream = NULL;
    look(side->pair);
}

static void written(struct stream *stream, size_t bytes)
{
    struct side *side = holder_of(stream);
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

static void hold(struct side *side, struct stream *stream)
{
    side->stream = stream;
    stream->events = &stream_handlers;
    stream->holder = side;
}

/* ---- the tunnels' owner ---- */

static void peer_opened(struct tunnel *tunnel, struct stream *stream,
                        const struct message_open *open)
{
    struct side *side = side_of(tunnel);
    assert_true(text_equals(open->host, "db.example"));
    hold(side, stream);
    stream->operations->accept(stream);
    write_more(side);
}

static void went_away(struct tunnel *tunnel, const struct message_goaway *goaway)
{
    (void)tunnel;
    (void)goaway;
}

static void ponged(struct tunnel *tunnel)
{
    side_of(tunnel)->pongs++;
    look(side_of(tunnel)->pair);
}

static void lost(struct tunnel *tunnel, int error, const char *why)
{
    assert_non_null(why);
    side_of(tunnel)->lost = error;
    look(side_of(tunnel)->pair);
}

static const struct tunnel_owner owner = {
    .peer_opened = peer_opened,
    .went_away = went_away,
    .ponged = ponged,
    .lost = lost,
};

/* ---- the pair ---- */

static const struct conn_events no_events;

static void limit_reached(struct loop_timer *timer)
{
    struct pair *pair = timer->holder;
    pair->timed_out = true;
    loop_stop(&pair->loop);
}

static struct carrier *carrier_on(struct pair *pair, int fd, enum websocket_role role)
{
    struct conn *conn = NULL;
    struct carrier *carrier = NULL;
    assert_int_equal(conn_new(&pair->loop, fd, &no_events, NULL, &conn), 0);
    assert_int_equal(websocket_carrier_new(conn, role, NULL, 0, &carrier), 0);
    return carrier;
}

/* The gateway's side answers as a login would; the agent's sends its handshake, which the gateway's
 * tunnel must not see: so here it is attached without, and both begin. */
static void start(struct pair *pair)
{
    int fds[2];
    memset(pair, 0, sizeof(*pair));
    account_init(&pair->account, SIZE_MAX);
    assert_int_equal(loop_init(&pair->loop, 0, &pair->account), 0);
    assert_int_equal(loop_timer_init(&pair->loop, &pair->limit, limit_reached, pair), 0);
    loop_timer_start(&pair->limit, TIME_LIMIT);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    struct side *sides[] = {&pair->agent, &pair->gateway};
    for (int i = 0; i < 2; i++) {
        struct side *side = sides[i];
        side->pair = pair;
        assert_int_equal(native_tunnel_new(&owner, side, &pair->loop, i == 0, &side->tunnel), 0);
        struct carrier *carrier =
            carrier_on(pair, fds[i], i == 0 ? WEBSOCKET_CLIENT : WEBSOCKET_SERVER);
        assert_int_equal(native_tunnel_attach(side->tunnel, carrier, NULL), 0);
        assert_int_equal(link_attach(&side->tunnel->link, 1, 1, 0), 0);
        native_tunnel_begin(side->tunnel, MUX_WINDOW);
    }
    pair->far_fd = fds[1];
}

static void run(struct pair *pair, bool (*is_over)(struct pair *))
{
    pair->is_over = is_over;
    assert_int_equal(loop_run(&pair->loop), 0);
    assert_false(pair->timed_out);
}

static void end(struct pair *pair)
{
    struct side *sides[] = {&pair->agent, &pair->gateway};
    for (int i = 0; i < 2; i++) {
        struct side *side = sides[i];
        /* One that has not ended is reset by the tunnel's close, which its holder then closes. */
        if (side->stream != NULL && side->fin && side->finished)
            side->stream->operations->close(side->stream);
        tunnel_close(&side->tunnel->base, REASON_SHUTDOWN, "the test is over");
    }
    loop_timer_close(&pair->limit, NULL);
    loop_deinit(&pair->loop);
    assert_int_equal(pair->account.used, 0);
}

static void open_stream(struct pair *pair)
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

/* ---- tests ---- */

static bool both_have_finished(struct pair *pair)
{
    return pair->agent.fin && pair->gateway.fin && pair->agent.finished && pair->gateway.finished;
}

static void carries_bulk_both_ways(void **state)
{
    (void)state;
    struct pair pair;
    start(&pair);
    pair.agent.to_write = BULK;
    pair.gateway.to_write = BULK / 3;
    open_stream(&pair);
    run(&pair, both_have_finished);
    assert_true(pair.agent.is_opened);
    assert_int_equal(pair.gateway.got, BULK);
    assert_int_equal(pair.agent.got, BULK / 3);
    assert_true(pair.agent.sum_written == pair.gateway.sum_got);
    assert_true(pair.gateway.sum_written == pair.agent.sum_got);
    end(&pair);
}

static bool agent_was_ponged_twice(struct pair *pair)
{
    if (pair->agent.pongs == 1)
        tunnel_ping(&pair->agent.tunnel->base);
    return pair->agent.pongs >= 2;
}

static void answers_pings(void **state)
{
    (void)state;
    struct pair pair;
    start(&pair);
    run(&pair, agent_was_ponged_twice);
    assert_true(pair.agent.tunnel->mux.round_trip > 0);
    end(&pair);
}

static bool both_have_lost(struct pair *pair)
{
    return pair->agent.lost != 0 && pair->gateway.lost != 0;
}

static bool gateway_has_lost(struct pair *pair)
{
    return pair->gateway.lost != 0;
}

static void a_cut_is_noticed_by_both(void **state)
{
    (void)state;
    struct pair pair;
    start(&pair);
    pair.agent.to_write = PIECE;
    open_stream(&pair);
    shutdown(pair.far_fd, SHUT_RDWR);
    run(&pair, both_have_lost);
    end(&pair);
    assert_true(pair.agent.is_reset);
    assert_int_equal(pair.agent.code, REASON_SHUTDOWN);
}

static void garbage_is_a_protocol_error(void **state)
{
    (void)state;
    struct pair pair;
    start(&pair);
    /* An unmasked frame from the client's side. */
    struct conn *conn = websocket_carrier_conn(pair.agent.tunnel->carrier);
    struct iovec vector = {(char[]){(char)0x82, 1, 0}, 3};
    assert_int_equal(conn_write(conn, &vector, 1), 3);
    run(&pair, gateway_has_lost);
    assert_int_equal(pair.gateway.lost, CULVERT_ERROR_PROTOCOL);
    end(&pair);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(carries_bulk_both_ways),
        cmocka_unit_test(answers_pings),
        cmocka_unit_test(a_cut_is_noticed_by_both),
        cmocka_unit_test(garbage_is_a_protocol_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
