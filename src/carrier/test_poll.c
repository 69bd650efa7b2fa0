#include "carrier/test_poll.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define TEST_ID_FORMAT "00112233445566778899aabb%08x"

/* ---- the gateway, on the server's threads ---- */

static bool is_troubled(struct test_gateway *gateway, const struct test_http_request *request,
                        const char *lane, unsigned count, bool *stays)
{
    const struct test_trouble *trouble = &gateway->trouble;
    if (trouble->kind == TROUBLE_NONE || strcmp(trouble->lane, lane) != 0 ||
        count < trouble->from || count > trouble->until)
        return false;
    *stays = trouble->kind == TROUBLE_STATUS;
    if (trouble->kind == TROUBLE_STATUS)
        test_http_answer(request, trouble->status, trouble->fields, trouble->body,
                         strlen(trouble->body));
    if (trouble->kind == TROUBLE_CUT_HALFWAY)
        test_http_write(request,
                        "HTTP/1.1 200 OK\r\nCulvert-Down: 1\r\nContent-Length: 10\r\n\r\nab");
    return true;
}

static void take_up(struct test_gateway *gateway, const struct test_http_request *request,
                    unsigned number)
{
    if (number == gateway->count) { /* again */
        const struct test_body *before = &gateway->bodies[number - 1];
        gateway->is_wrong |= before->size != request->body_size ||
                             memcmp(before->bytes, request->body, before->size) != 0;
        return;
    }
    bool is_wrong = number != gateway->count + 1 || number > TEST_BODIES || request->body_size == 0;
    gateway->is_wrong |= is_wrong;
    if (is_wrong)
        return;
    struct test_body *body = &gateway->bodies[gateway->count++];
    body->size = request->body_size;
    body->bytes = malloc(body->size);
    memcpy(body->bytes, request->body, body->size);
    pthread_cond_broadcast(&gateway->server.changed);
}

static bool handle_up(struct test_gateway *gateway, const struct test_http_request *request,
                      unsigned number)
{
    bool stays = true;
    gateway->ups++;
    if (gateway->trouble.is_taken)
        take_up(gateway, request, number);
    if (is_troubled(gateway, request, "Up", gateway->ups, &stays))
        return stays;
    take_up(gateway, request, number);
    while (gateway->is_holding && !gateway->server.is_ending)
        pthread_cond_wait(&gateway->server.changed, &gateway->server.lock);
    test_http_answer(request, "200 OK", "", NULL, 0);
    return true;
}

static bool handle_down(struct test_gateway *gateway, const struct test_http_request *request,
                        unsigned number)
{
    char fields[64];
    bool stays = true;
    gateway->downs++;
    gateway->is_wrong |= request->body_size != 0 || number == 0;
    if (is_troubled(gateway, request, "Down", gateway->downs, &stays))
        return stays;
    while (gateway->count < number && !gateway->server.is_ending)
        pthread_cond_wait(&gateway->server.changed, &gateway->server.lock);
    if (gateway->server.is_ending)
        return false;
    snprintf(fields, sizeof(fields), "Culvert-Down: %u\r\n", number);
    test_http_answer(request, "200 OK", fields, gateway->bodies[number - 1].bytes,
                     gateway->bodies[number - 1].size);
    return true;
}

static void answer_open(struct test_gateway *gateway, const struct test_http_request *request)
{
    char fields[128];
    gateway->opens++;
    snprintf(fields, sizeof(fields), "Culvert-Poll: " TEST_ID_FORMAT "\r\nCulvert-Nonce: %s\r\n",
             gateway->opens, TEST_NONCE);
    if (gateway->open_status == NULL)
        test_http_answer(request, "200 OK", fields, NULL, 0);
    else
        test_http_answer(request, gateway->open_status, gateway->open_fields, gateway->open_body,
                         strlen(gateway->open_body));
}

static bool handle(struct test_http_server *server, const struct test_http_request *request)
{
    struct test_gateway *gateway = server->holder;
    char poll[256], up[256], down[256], id[POLL_ID_TEXT_SIZE];
    if (gateway->first[0] == '\0')
        memcpy(gateway->first, request->head, sizeof(gateway->first));
    if (strcmp(test_http_field(request, "Culvert-Poll", poll), "open") == 0) {
        answer_open(gateway, request);
        return true;
    }
    snprintf(id, sizeof(id), TEST_ID_FORMAT, gateway->opens);
    if (strcmp(poll, id) != 0) { /* of a carrier that is closed by now */
        test_http_answer(request, "410 Gone", "", NULL, 0);
        return true;
    }
    if (test_http_field(request, "Culvert-Up", up)[0] != '\0')
        return handle_up(gateway, request, (unsigned)strtoul(up, NULL, 10));
    return handle_down(gateway, request,
                       (unsigned)strtoul(test_http_field(request, "Culvert-Down", down), NULL, 10));
}

/* ---- the agent's side ---- */

static void close_in(struct test_poll *f, unsigned event)
{
    if (f->closes_in != event)
        return;
    carrier_close(f->carrier, 0, NULL);
    f->carrier = NULL;
}

static void on_data(struct carrier *carrier, struct slice piece)
{
    struct test_poll *f = carrier->holder;
    f->message.bytes = realloc(f->message.bytes, f->message.size + piece.size);
    memcpy(f->message.bytes + f->message.size, piece.data, piece.size);
    f->message.size += piece.size;
    slice_drop(&piece);
    close_in(f, 1);
    if (f->stops_reading) {
        carrier->operations->read(carrier, false);
        loop_stop(&f->loop);
    }
}

static void on_message_end(struct carrier *carrier)
{
    struct test_poll *f = carrier->holder;
    f->messages = realloc(f->messages, (f->message_count + 1) * sizeof(*f->messages));
    f->messages[f->message_count++] = f->message;
    f->message = (struct test_body){NULL, 0};
    close_in(f, 2);
    if (f->message_count == f->wanted)
        loop_stop(&f->loop);
}

static void on_read_end(struct carrier *carrier)
{
    close_in(carrier->holder, 3);
}

static void on_ready(struct carrier *carrier)
{
    struct test_poll *f = carrier->holder;
    f->ready++;
    assert_true(carrier->operations->is_ready(carrier));
    close_in(f, 4);
}

static void on_lost(struct carrier *carrier, int error, const char *why)
{
    struct test_poll *f = carrier->holder;
    f->lost = error;
    snprintf(f->why, sizeof(f->why), "%s", why);
    assert_false(carrier->operations->is_ready(carrier));
    loop_stop(&f->loop);
}

static const struct carrier_events events = {
    .data = on_data,
    .message_end = on_message_end,
    .read_end = on_read_end,
    .ready = on_ready,
    .lost = on_lost,
};

static void on_done(void *holder, const struct poll_client_result *result)
{
    struct test_poll *f = holder;
    f->done++;
    f->client = NULL;
    f->result = *result;
    if (result->carrier == NULL)
        snprintf(f->why, sizeof(f->why), "%s", result->why);
    f->carrier = result->carrier;
    if (f->carrier != NULL) {
        f->carrier->events = &events;
        f->carrier->holder = f;
    }
    loop_stop(&f->loop);
}

int test_poll_begin(struct test_poll *f, unsigned timeout, const uint8_t *link)
{
    struct poll_client_request request = {
        .url = &f->url,
        .proxy = &f->proxy,
        .link = link,
        .timeout = timeout,
        .done = on_done,
        .holder = f,
    };
    return poll_client_open(&f->loop, &request, &f->client);
}

void test_poll_open(struct test_poll *f)
{
    unsigned before = f->done;
    assert_int_equal(test_poll_begin(f, 5000, NULL), 0);
    assert_int_equal(f->done, before);
    loop_run(&f->loop);
    assert_int_equal(f->done, before + 1);
}

void test_poll_open_carrier(struct test_poll *f)
{
    test_poll_open(f);
    assert_non_null(f->carrier);
    f->carrier->operations->read(f->carrier, true);
}

void test_poll_send_last(struct test_poll *f, const void *bytes, size_t size)
{
    struct slice_queue batch = SLICE_QUEUE_NULL;
    for (size_t sent = 0; sent < size;) {
        struct slice slice;
        size_t step = size - sent < 5000 ? size - sent : 5000;
        assert_int_equal(slice_copy(&f->loop.pool, (const uint8_t *)bytes + sent, step, &slice), 0);
        assert_int_equal(slice_queue_push(&batch, slice), 0);
        sent += step;
    }
    f->carrier->operations->send(f->carrier, &batch);
    f->carrier->operations->flush(f->carrier);
    assert_int_equal(batch.bytes, 0);
    assert_false(f->carrier->operations->is_ready(f->carrier));
    slice_queue_deinit(&batch);
}

void test_poll_send(struct test_poll *f, const void *bytes, size_t size)
{
    assert_true(f->carrier->operations->is_ready(f->carrier));
    test_poll_send_last(f, bytes, size);
}

struct test_counts test_poll_counts(struct test_poll *f)
{
    struct test_gateway *gateway = &f->gateway;
    pthread_mutex_lock(&gateway->server.lock);
    struct test_counts counts = {gateway->count, gateway->ups, gateway->downs};
    pthread_mutex_unlock(&gateway->server.lock);
    return counts;
}

void test_poll_first(struct test_poll *f, char head[static TEST_HTTP_HEAD + 1])
{
    pthread_mutex_lock(&f->gateway.server.lock);
    memcpy(head, f->gateway.first, TEST_HTTP_HEAD + 1);
    f->gateway.first[0] = '\0';
    pthread_mutex_unlock(&f->gateway.server.lock);
}

void test_poll_answer_open(struct test_poll *f, const char *status, const char *fields,
                           const char *body)
{
    pthread_mutex_lock(&f->gateway.server.lock);
    f->gateway.open_status = status;
    f->gateway.open_fields = fields;
    f->gateway.open_body = body;
    pthread_mutex_unlock(&f->gateway.server.lock);
}

void test_poll_hold(struct test_poll *f)
{
    pthread_mutex_lock(&f->gateway.server.lock);
    f->gateway.is_holding = true;
    pthread_mutex_unlock(&f->gateway.server.lock);
}

void test_poll_end_loop(struct test_poll *f)
{
    f->loop_has_ended = true;
    loop_timer_close(&f->bound, NULL);
    loop_timer_close(&f->soon, NULL);
    loop_deinit(&f->loop);
}

/* Runs until one message more has come, or the carrier is lost. */
static void await(struct test_poll *f)
{
    f->wanted = f->message_count + 1;
    loop_run(&f->loop);
}

static void on_bound(struct loop_timer *timer)
{
    (void)timer;
    fail_msg("nothing happened for too long");
}

static void on_soon(struct loop_timer *timer)
{
    struct test_poll *f = timer->holder;
    loop_stop(&f->loop);
}

void test_poll_run_for(struct test_poll *f, unsigned milliseconds)
{
    loop_timer_start(&f->soon, milliseconds);
    loop_run(&f->loop);
}

int test_poll_set_up(void **state)
{
    static struct test_poll fixture;
    char text[64], why[256];
    memset(&fixture, 0, sizeof(fixture));
    account_init(&fixture.account, SIZE_MAX);
    assert_int_equal(loop_init(&fixture.loop, 0, &fixture.account), 0);
    loop_timer_init(&fixture.loop, &fixture.bound, on_bound, &fixture);
    loop_timer_init(&fixture.loop, &fixture.soon, on_soon, &fixture);
    loop_timer_start(&fixture.bound, TEST_BOUND);
    test_http_start(&fixture.gateway.server, handle, &fixture.gateway);
    snprintf(text, sizeof(text), "ws://127.0.0.1:%u/a?b=c", fixture.gateway.server.port);
    assert_int_equal(url_parse(text, &fixture.url, why, sizeof(why)), 0);
    *state = &fixture;
    return 0;
}

int test_poll_tear_down(void **state)
{
    struct test_poll *f = *state;
    memory_fail_after(0);
    if (f->carrier != NULL)
        carrier_close(f->carrier, CULVERT_ERROR_CLOSED, NULL);
    if (!f->loop_has_ended)
        test_poll_end_loop(f);
    test_http_stop(&f->gateway.server);
    for (unsigned i = 0; i < f->gateway.count; i++)
        free(f->gateway.bodies[i].bytes);
    for (unsigned i = 0; i < f->message_count; i++)
        free(f->messages[i].bytes);
    free(f->messages);
    free(f->message.bytes);
    assert_false(f->gateway.is_wrong);
    return f->account.used == 0 ? 0 : -1;
}

void test_poll_expect(struct test_poll *f, const void *bytes, size_t size)
{
    await(f);
    assert_int_equal(f->lost, 0);
    const struct test_body *body = &f->messages[f->message_count - 1];
    assert_int_equal(body->size, size);
    assert_memory_equal(body->bytes, bytes, size);
}

void test_poll_await_ready(struct test_poll *f)
{
    while (!f->carrier->operations->is_ready(f->carrier))
        test_poll_run_for(f, 1);
}

void test_poll_renew(struct test_poll *f, const struct test_trouble *trouble)
{
    struct test_gateway *gateway = &f->gateway;
    if (f->carrier != NULL)
        carrier_close(f->carrier, CULVERT_ERROR_CLOSED, NULL);
    f->carrier = NULL;
    f->lost = 0;
    free(f->message.bytes);
    f->message = (struct test_body){NULL, 0};
    pthread_mutex_lock(&gateway->server.lock);
    gateway->is_holding = false;
    for (unsigned i = 0; i < gateway->count; i++)
        free(gateway->bodies[i].bytes);
    gateway->opens++; /* what is still on its way of the old carrier is not known any more */
    gateway->count = gateway->ups = gateway->downs = 0;
    gateway->trouble = *trouble;
    pthread_mutex_unlock(&gateway->server.lock);
}
