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
        inbound_init(&trace.inbound, &pool, take);
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
        inbound_init(&trace.inbound, &pool, take);
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
    inbound_init(&trace.inbound, &pool, take);
    assert_int_equal(feed(&trace, &pool, data, size, size), CULVERT_ERROR_LIMIT);
    inbound_deinit(&trace.inbound);
    static const uint8_t gigabytes[] = {MESSAGE_OPEN, 0xdd, 0x7f, 0xff, 0xff, 0xff};
    for (size_t step = 1; step <= sizeof(gigabytes); step++) {
        struct trace hostile = {.result = 0};
        inbound_init(&hostile.inbound, &pool, take);
        assert_true(feed(&hostile, &pool, gigabytes, sizeof(gigabytes), step) < 0);
        inbound_deinit(&hostile.inbound);
    }
    assert_int_equal(chunk_pool_deinit(&pool), 0);
}

/* 65,000 bytes are declared, and come a few at a time in chunks of 512 KiB each. */
static void what_waits_for_its_message_pins_no_large_chunks(void **state)
{
    (void)state;
    struct account account;
    struct chunk_pool pool;
    account_init(&account, SIZE_MAX);
    chunk_pool_init(&pool, &account);
    struct trace trace = {.result = 0};
    inbound_init(&trace.inbound, &pool, take);
    uint8_t head[MESSAGE_MAX_HEADER];
    size_t size = message_encode_data_header(1, 65000, head);
    assert_int_equal(feed(&trace, &pool, head, size, size), 0);
    for (unsigned i = 0; i < 100; i++) {
        struct chunk *chunk = chunk_pool_get(&pool, CHUNK_LARGE);
        memset(chunk->data, (int)i, 10);
        assert_int_equal(inbound_take(&trace.inbound, (struct slice){chunk, chunk->data, 10}), 0);
        if (i % 10 == 9)
            parking_settle_all(&pool);
    }
    parking_settle_all(&pool);
    chunk_pool_trim(&pool);
    assert_in_range(account.used, 1000, 2048);
    uint8_t all[1000];
    struct slice_cursor cursor = {0};
    assert_int_equal(slice_queue_read(&trace.inbound.payload, &cursor, all, sizeof(all)), 1000);
    for (unsigned i = 0; i < 1000; i++)
        assert_int_equal(all[i], i / 10);
    inbound_deinit(&trace.inbound);
    parking_settle_all(&pool);
    assert_int_equal(chunk_pool_deinit(&pool), 0);
}

static void another_type_is_refused_at_its_first_byte(void **state)
{
    (void)state;
    struct account account;
    struct chunk_pool pool;
    account_init(&account, SIZE_MAX);
    chunk_pool_init(&pool, &account);
    for (unsigned type = 0; type < 256; type++) {
        struct trace trace = {.result = 0};
        uint8_t byte = (uint8_t)type;
        inbound_init(&trace.inbound, &pool, take);
        trace.inbound.only = MESSAGE_HANDSHAKE;
        assert_int_equal(feed(&trace, &pool, &byte, 1, 1),
                         type == MESSAGE_HANDSHAKE ? 0 : CULVERT_ERROR_PROTOCOL);
        inbound_deinit(&trace.inbound);
    }
    assert_int_equal(chunk_pool_deinit(&pool), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tells_the_same_however_it_is_cut),
        cmocka_unit_test(what_waits_for_its_message_pins_no_large_chunks),
        cmocka_unit_test(another_type_is_refused_at_its_first_byte),
        cmocka_unit_test(half_a_message_is_not_whole),
        cmocka_unit_test(passes_errors_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
