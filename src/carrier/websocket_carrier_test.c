/* A WebSocket carrier that goes from one loop, and thread, to another and back while messages flow:
 * a client sends, a server echoes and moves. */
#include "carrier/websocket_carrier.h"

#include "base/error.h"
#include "base/memory.h"
#include "net/test_certificates.h"
#include "net/test_pair.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

enum {
    TOTAL = 12 * 1024 * 1024,
    OUTSTANDING = 1024 * 1024,
    MESSAGE = 60000,
    MOVE_EVERY = 30000, /* bytes */
    TIME_LIMIT = 60 * 1000,
};

static struct tls_context *tls_server;
static struct tls_context *tls_client;

struct client {
    struct carrier *carrier;
    size_t sent, got;
    bool is_right;
};

/* Belongs to the loop that the carrier is on. */
struct server {
    struct field *field;
    struct carrier *carrier;
    struct carrier_cargo *cargo;
    struct loop *loop;
    struct loop_message message;
    struct loop_task leave;
    struct slice_queue echo;
    size_t got, moved_at;
    unsigned moves;
    int lost;
};

struct field {
    struct account account;
    struct loop loops[2];
    pthread_t thread; /* of the second */
    struct loop_timer limit;
    struct conn *conns[2];
    unsigned secured;
    struct client client;
    struct server server;
    bool stays; /* the server does not move by itself */
    bool timed_out;
};

static uint8_t byte_at(size_t place)
{
    return (uint8_t)(place * 31 + (place >> 8) * 7);
}

static void nothing(struct carrier *carrier)
{
    (void)carrier;
}

/* ---- the client ---- */

static void send_more(struct field *field)
{
    struct client *client = &field->client;
    struct carrier *carrier = client->carrier;
    while (client->sent < TOTAL && client->sent - client->got < OUTSTANDING &&
           carrier->operations->is_ready(carrier)) {
        uint8_t bytes[MESSAGE];
        size_t size = client->sent * 7919 % MESSAGE + 1;
        if (size > TOTAL - client->sent)
            size = TOTAL - client->sent;
        for (size_t i = 0; i < size; i++)
            bytes[i] = byte_at(client->sent + i);
        struct slice slice;
        struct slice_queue queue = SLICE_QUEUE_NULL;
        assert_int_equal(slice_copy(&field->loops[0].pool, bytes, size, &slice), 0);
        assert_int_equal(slice_queue_push(&queue, slice), 0);
        client->sent += size;
        carrier->operations->send(carrier, &queue);
        carrier->operations->flush(carrier);
        slice_queue_deinit(&queue);
    }
}

static void client_ready(struct carrier *carrier)
{
    send_more(carrier->holder);
}

static void client_data(struct carrier *carrier, struct slice piece)
{
    struct field *field = carrier->holder;
    struct client *client = &field->client;
    for (size_t i = 0; i < piece.size; i++)
        client->is_right = client->is_right && piece.data[i] == byte_at(client->got + i);
    client->got += piece.size;
    slice_drop(&piece);
    if (client->got == TOTAL)
        loop_stop(&field->loops[0]);
    else
        send_more(field);
}

static void client_lost(struct carrier *carrier, int error, const char *why)
{
    struct field *field = carrier->holder;
    (void)error;
    (void)why;
    field->client.is_right = false;
    loop_stop(&field->loops[0]);
}

static const struct carrier_events client_events = {
    .data = client_data,
    .message_end = nothing,
    .read_end = nothing,
    .ready = client_ready,
    .lost = client_lost,
};

/* ---- the server ---- */

static const struct carrier_events server_events;

static void echo(struct server *server)
{
    struct carrier *carrier = server->carrier;
    while (server->echo.bytes > 0 && carrier->operations->is_ready(carrier)) {
        struct slice_queue batch = SLICE_QUEUE_NULL;
        while (server->echo.bytes > 0 && batch.bytes < MESSAGE)
            assert_int_equal(slice_queue_push(&batch, slice_queue_take(&server->echo, MESSAGE)), 0);
        carrier->operations->send(carrier, &batch);
        carrier->operations->flush(carrier);
        slice_queue_deinit(&batch);
    }
}

static void take_up(struct server *server, struct carrier *carrier)
{
    server->carrier = carrier;
    carrier->events = &server_events;
    carrier->holder = server;
    carrier->operations->read(carrier, true);
    echo(server);
}

static void arrive(struct loop *loop, struct loop_message *message)
{
    struct server *server = CONTAINER_OF(message, struct server, message);
    struct carrier *carrier = NULL;
    server->loop = loop;
    server->lost = server->cargo->operations->arrive(server->cargo, loop, &carrier);
    server->cargo = NULL;
    if (server->lost == 0)
        take_up(server, carrier);
}

static void depart(struct server *server)
{
    struct field *field = server->field;
    struct carrier *carrier = server->carrier;
    server->moved_at = server->got;
    server->moves++;
    carrier->operations->read(carrier, false);
    server->cargo = carrier->operations->depart(carrier);
    assert_non_null(server->cargo);
    server->carrier = NULL;
    server->message.run = arrive;
    loop_post(&field->loops[server->loop == &field->loops[0]], &server->message);
}

static void leave(struct loop_task *task)
{
    struct server *server = CONTAINER_OF(task, struct server, leave);
    if (server->carrier != NULL)
        depart(server);
}

static bool moves_now(const struct server *server, unsigned kind)
{
    return !server->field->stays && server->got - server->moved_at >= MOVE_EVERY &&
           server->moves % 3 == kind;
}

static void server_data(struct carrier *carrier, struct slice piece)
{
    struct server *server = carrier->holder;
    server->got += piece.size;
    assert_int_equal(slice_queue_push(&server->echo, piece), 0);
    if (moves_now(server, 0)) /* perhaps in the middle of a message */
        depart(server);
}

static void server_message_end(struct carrier *carrier)
{
    struct server *server = carrier->holder;
    echo(server);
    if (moves_now(server, 1))
        depart(server);
    else if (moves_now(server, 2))
        loop_defer(server->loop, &server->leave);
}

static void server_ready(struct carrier *carrier)
{
    echo(carrier->holder);
}

static void server_lost(struct carrier *carrier, int error, const char *why)
{
    struct server *server = carrier->holder;
    (void)why;
    server->lost = error;
    server->carrier = NULL;
    carrier_close(carrier, error, NULL);
}

static const struct carrier_events server_events = {
    .data = server_data,
    .message_end = server_message_end,
    .read_end = nothing,
    .ready = server_ready,
    .lost = server_lost,
};

/* ---- the field ---- */

static void secured(struct conn *conn, int error)
{
    struct field *field = conn_holder(conn);
    assert_int_equal(error, 0);
    if (++field->secured == 2)
        loop_stop(&field->loops[0]);
}

static void no_event(struct conn *conn)
{
    (void)conn;
}

static const struct conn_events conn_handlers = {secured, no_event, no_event};

static void limit_reached(struct loop_timer *timer)
{
    struct field *field = timer->holder;
    field->timed_out = true;
    loop_stop(&field->loops[0]);
}

static void secure(struct field *field)
{
    assert_int_equal(conn_secure(field->conns[0], tls_client, "localhost"), 0);
    assert_int_equal(conn_secure(field->conns[1], tls_server, NULL), 0);
    loop_run(&field->loops[0]);
}

static void start(struct field *field, bool has_tls)
{
    int fds[2];
    memset(field, 0, sizeof(*field));
    account_init(&field->account, SIZE_MAX);
    for (unsigned i = 0; i < 2; i++)
        assert_int_equal(loop_init(&field->loops[i], i, &field->account), 0);
    assert_int_equal(loop_timer_init(&field->loops[0], &field->limit, limit_reached, field), 0);
    loop_timer_start(&field->limit, TIME_LIMIT);
    test_socket_pair(fds);
    for (int i = 0; i < 2; i++)
        assert_int_equal(
            conn_new(&field->loops[0], fds[i], &conn_handlers, field, &field->conns[i]), 0);
    if (has_tls)
        secure(field);
    struct server *server = &field->server;
    server->field = field;
    server->loop = &field->loops[0];
    server->leave.run = leave;
    field->client.is_right = true;
    struct carrier *carrier = NULL;
    assert_int_equal(websocket_carrier_new(field->conns[1], WEBSOCKET_SERVER, NULL, 0, &carrier),
                     0);
    take_up(server, carrier);
    carrier = NULL;
    assert_int_equal(websocket_carrier_new(field->conns[0], WEBSOCKET_CLIENT, NULL, 0, &carrier),
                     0);
    carrier->events = &client_events;
    carrier->holder = field;
    field->client.carrier = carrier;
}

/* The second loop's thread has ended: this one has both. */
static void end(struct field *field)
{
    chunk_pool_own(&field->loops[1].pool);
    while (field->server.cargo != NULL) {
        uv_run(&field->loops[0].uv, UV_RUN_NOWAIT);
        uv_run(&field->loops[1].uv, UV_RUN_NOWAIT);
    }
    carrier_close(field->client.carrier, 0, NULL);
    if (field->server.carrier != NULL)
        carrier_close(field->server.carrier, 0, NULL);
    loop_task_cancel(&field->server.leave);
    slice_queue_deinit(&field->server.echo);
    loop_timer_close(&field->limit, NULL);
    loop_deinit(&field->loops[0]);
    loop_deinit(&field->loops[1]);
    assert_int_equal(field->account.used, 0);
}

static void *run_second(void *argument)
{
    struct field *field = argument;
    loop_run(&field->loops[1]);
    return NULL;
}

static void messages_survive_moves(bool has_tls)
{
    static struct field field;
    start(&field, has_tls);
    assert_int_equal(pthread_create(&field.thread, NULL, run_second, &field), 0);
    send_more(&field);
    loop_run(&field.loops[0]);
    loop_stop(&field.loops[1]);
    assert_int_equal(pthread_join(field.thread, NULL), 0);
    assert_false(field.timed_out);
    assert_true(field.client.is_right);
    assert_int_equal(field.client.got, TOTAL);
    assert_int_equal(field.server.got, TOTAL);
    assert_int_equal(field.server.lost, 0);
    assert_true(field.server.moves > 20);
    end(&field);
}

static void plain_messages_survive_moves(void **state)
{
    (void)state;
    messages_survive_moves(false);
}

static void tls_messages_survive_moves(void **state)
{
    (void)state;
    messages_survive_moves(true);
}

/* ---- what may go wrong ---- */

/* A server that stays, so that it has read ahead and its socket is full. */
static void fill(struct field *field)
{
    start(field, true);
    field->stays = true;
    struct carrier *carrier = field->client.carrier;
    carrier->operations->read(carrier, false);
    send_more(field);
    while (field->server.echo.bytes == 0 ||
           field->server.carrier->operations->is_ready(field->server.carrier)) {
        field->client.got = field->client.sent; /* as if it had come: sends without end */
        send_more(field);
        uv_run(&field->loops[0].uv, UV_RUN_ONCE);
    }
    field->client.got = 0;
    field->server.carrier->operations->read(field->server.carrier, false);
}

static bool is_pending_after(size_t n, struct field *field, struct carrier **carrier, int *error)
{
    memory_fail_after(n);
    *error =
        field->server.cargo->operations->arrive(field->server.cargo, &field->loops[0], carrier);
    bool is_pending = memory_fail_is_pending();
    memory_fail_after(0);
    field->server.cargo = NULL;
    return is_pending;
}

static void moving_without_memory(void **state)
{
    (void)state;
    static struct field field;
    bool is_done = false;
    for (size_t n = 1; !is_done; n++) {
        fill(&field);
        struct carrier *carrier = field.server.carrier;
        size_t failures = 0;
        while (field.server.cargo == NULL) {
            memory_fail_after(++failures);
            field.server.cargo = carrier->operations->depart(carrier);
            memory_fail_after(0);
        }
        assert_true(failures > 2);
        field.server.carrier = NULL;
        chunk_pool_trim(&field.loops[0].pool);
        int error = 0;
        is_done = is_pending_after(n, &field, &carrier, &error);
        assert_int_equal(error, is_done ? 0 : CULVERT_ERROR_NO_MEMORY);
        if (is_done) {
            take_up(&field.server, carrier);
            field.client.sent = TOTAL > field.client.sent ? field.client.sent : TOTAL;
            field.client.carrier->operations->read(field.client.carrier, true);
            loop_run(&field.loops[0]);
            assert_true(field.client.is_right);
            assert_int_equal(field.client.got, TOTAL);
        }
        end(&field);
    }
}

static void what_nobody_takes_up_is_closed(void **state)
{
    (void)state;
    static struct field field;
    start(&field, false);
    struct carrier *carrier = field.server.carrier;
    carrier->operations->read(carrier, false);
    field.server.carrier = NULL;
    struct carrier_cargo *cargo = carrier->operations->depart(carrier);
    assert_non_null(cargo);
    cargo->operations->drop(cargo);
    loop_run(&field.loops[0]);
    assert_false(field.client.is_right); /* it was lost */
    assert_false(field.timed_out);
    end(&field);
}

static void a_lost_carrier_does_not_depart(void **state)
{
    (void)state;
    static struct field field;
    start(&field, false);
    struct carrier *carrier = field.client.carrier;
    shutdown(conn_descriptor(field.conns[1]), SHUT_RDWR);
    loop_run(&field.loops[0]);
    assert_false(field.client.is_right);
    assert_null(carrier->operations->depart(carrier));
    end(&field);
}

/* RFC 6455 §10.3: a key that nobody can foretell, for each frame. */
static void every_frame_has_a_mask_of_its_own(void **state)
{
    enum { FRAMES = 60, FRAME = 7 }; /* bytes: two of the head, the key, and one of payload */
    static const struct conn_events no_events;
    struct account account;
    struct loop loop;
    struct conn *conn = NULL;
    struct carrier *carrier = NULL;
    uint8_t bytes[FRAMES * FRAME], before[4] = {0};
    int fds[2];
    (void)state;
    account_init(&account, SIZE_MAX);
    assert_int_equal(loop_init(&loop, 0, &account), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    assert_int_equal(conn_new(&loop, fds[0], &no_events, NULL, &conn), 0);
    assert_int_equal(websocket_carrier_new(conn, WEBSOCKET_CLIENT, NULL, 0, &carrier), 0);
    for (int i = 0; i < FRAMES; i++) {
        struct slice slice;
        struct slice_queue queue = SLICE_QUEUE_NULL;
        assert_int_equal(slice_copy(&loop.pool, "x", 1, &slice), 0);
        assert_int_equal(slice_queue_push(&queue, slice), 0);
        carrier->operations->send(carrier, &queue);
        carrier->operations->flush(carrier);
        slice_queue_deinit(&queue);
    }
    assert_int_equal(recv(fds[1], bytes, sizeof(bytes), MSG_WAITALL), sizeof(bytes));
    for (int i = 0; i < FRAMES; i++) {
        const uint8_t *frame = bytes + i * FRAME;
        assert_int_equal(frame[0], 0x82); /* binary, whole */
        assert_int_equal(frame[1], 0x81); /* masked, one byte */
        assert_int_equal(frame[6] ^ frame[2], 'x');
        assert_memory_not_equal(frame + 2, before, 4);
        memcpy(before, frame + 2, 4);
    }
    carrier_close(carrier, 0, NULL);
    close(fds[1]);
    loop_deinit(&loop);
    assert_int_equal(account.used, 0);
}

static int set_up(void **state)
{
    (void)state;
    test_certificates_contexts(&tls_server, &tls_client);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    tls_context_unref(tls_server);
    tls_context_unref(tls_client);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plain_messages_survive_moves),
        cmocka_unit_test(tls_messages_survive_moves),
        cmocka_unit_test(moving_without_memory),
        cmocka_unit_test(what_nobody_takes_up_is_closed),
        cmocka_unit_test(a_lost_carrier_does_not_depart),
        cmocka_unit_test(every_frame_has_a_mask_of_its_own),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
