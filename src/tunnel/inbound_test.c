#include "tunnel/inbound.h"

#include "base/error.h"
#include "base/list.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

/* What was told, as text: one line a message. */
struct trace {
    struct inbound inbound;
    char text[4096];
    size_t used;
    int result; /* what `message` returns */
};

static int take(struct inbound *inbound, const struct message *message, struct slice_queue *payload,
                size_t size)
{
    struct trace *trace = CONTAINER_OF(inbound, struct trace, inbound);
    trace->used +=
        (size_t)snprintf(trace->text + trace->used, sizeof(trace->text) - trace->used,
                         "%02x %llu %zu:", message->type, (unsigned long long)message->sid, size);
    struct slice *slice;
    while ((slice = slice_queue_first(payload)) != NULL) {
        memcpy(trace->text + trace->used, slice->data, slice->size);
        trace->used += slice->size;
        slice_queue_skip(payload, slice->size);
    }
    if (message->type == MESSAGE_OPEN)
        trace->used +=
            (size_t)snprintf(trace->text + trace->used, sizeof(trace->text) - trace->used, "%.*s",
                             (int)message->open.host.size, message->open.host.data);
    trace->text[trace->used++] = '\n';
    trace->text[trace->used] = 0;
    return trace->result;
}

static size_t put(uint8_t *out, size_t used, size_t room, const struct message *message,
                  const char *payload)
{
    int size = message_encode(message, out + used, room - used);
    assert_true(size > 0);
    used += (size_t)size;
    if (payload != NULL) {
        memcpy(out + used, payload, strlen(payload));
        used += strlen(payload);
    }
    return used;
}

static size_t sample(uint8_t *out, size_t room)
{
    struct message open = {.type = MESSAGE_OPEN, .is_known = true, .sid = 1};
    open.open.kind = text_of("tcp");
    open.open.agent = text_of("far");
    open.open.host = text_of("db.example");
    open.open.port = 5432;
    struct message data = {.type = MESSAGE_DATA, .is_known = true, .sid = 1, .payload = 5};
    struct message fin = {.type = MESSAGE_FIN, .is_known = true, .sid = 1};
    size_t used = put(out, 0, room, &open, NULL);
    used = put(out, used, room, &data, "hello");
    used = put(out, used, room, &data, "world");
    return put(out, used, room, &fin, NULL);
}

/* Feeds `size` bytes in pieces of `step` and returns the result. */
static int feed(struct trace *trace, struct chunk_pool *pool, const uint8_t *data, size_t size,
                size_t step)
{
    for (size_t at = 0; at < size; at += step) {
        struct slice piece;
        size_t part = size - at < step ? size - at : step;
        assert_int_equal(slice_copy(pool, data + at, part, &piece), 0);
        int result = inbound_take(&trace->inbound, piece);
        if (result != 0)
            return result;
    }
    return 0;
}

static void tells_the_same_however_it_is_cut(void **state)
{
    (void)state;
    struct account account;
    struct chunk_pool pool;
    account_init(&account, SIZE_MAX);
    chunk_pool_init(&pool, &account);
    uint8_t data[512];
    size_t size = sample(data, sizeof(data));
    char whole[4096] = "";
    for (size_t step = size; step > 0; step--) {
        struct trace trace = {.result = 0};
        inbound_init(&trace.inbound, take);
        assert_int_equal(feed(&trace, &pool, data, size, step), 0);
        assert_true(inbound_is_whole(&trace.inbound));
        if (step == size)
            memcpy(whole, trace.text, sizeof(whole));
        assert_string_equal(trace.text, whole);
        inbound_deinit(&trace.inbound);
    }
    assert_non_null(strstr(whole, "db.example\n"));
    assert_non_null(strstr(whole, ":hello\n"));
    assert_int_equal(chunk_pool_deinit(&pool), 0);
    assert_int_equal(account.used, 0);
}

static void half_a_message_is_not_whole(void **state)
{
    (void)state;
    struct account account;
    struct chunk_pool pool;
    account_init(&account, SIZE_MAX);
    chunk_pool_init(&pool, &account);
    uint8_t data[512];
    size_t size = sample(data, sizeof(data));
    for (size_t cut = 1; cut < size; cut++) {
        struct trace trace = {.result = 0};
        inbound_init(&trace.inbound, take);
        assert_int_equal(feed(&trace, &pool, data, cut, cut), 0);
        size_t told = 0;
        for (size_t i = 0; i < trace.used; i++)
            told += trace.text[i] == '\n';
        assert_true(inbound_is_whole(&trace.inbound) ? told > 0 : told < 4);
        inbound_deinit(&trace.inbound);
    }
    assert_int_equal(chunk_pool_deinit(&pool), 0);
}

static void passes_errors_on(void **state)
{
    (void)state;
    struct account account;
    struct chunk_pool pool;
    account_init(&account, SIZE_MAX);
    chunk_pool_init(&pool, &account);
    uint8_t data[512];
    size_t size = sample(data, sizeof(data));
    struct trace trace = {.result = CULVERT_ERROR_LIMIT};
    inbound_init(&trace.inbound, take);
    assert_int_equal(feed(&trace, &pool, data, size, size), CULVERT_ERROR_LIMIT);
    inbound_deinit(&trace.inbound);
    static const uint8_t gigabytes[] = {MESSAGE_OPEN, 0xdd, 0x7f, 0xff, 0xff, 0xff};
    for (size_t step = 1; step <= sizeof(gigabytes); step++) {
        struct trace hostile = {.result = 0};
        inbound_init(&hostile.inbound, take);
        assert_true(feed(&hostile, &pool, gigabytes, sizeof(gigabytes), step) < 0);
        inbound_deinit(&hostile.inbound);
    }
    assert_int_equal(chunk_pool_deinit(&pool), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tells_the_same_however_it_is_cut),
        cmocka_unit_test(half_a_message_is_not_whole),
        cmocka_unit_test(passes_errors_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
