#include "gateway/address_group.h"
#include "gateway/front.h"

#include "base/account.h"
#include "base/error.h"
#include "base/log.h"
#include "base/memory.h"
#include "net/test_pair.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define TEXT_HEADER "PROXY TCP4 203.0.113.7 192.0.2.1 50110 443\r\n"
#define BINARY_HEADER      \
    "\r\n\r\n\0\r\nQUIT\n" \
    "\x21\x11\0\x0f\xcb\x00\x71\x07\xc0\x00\x02\x01\xc3\xbe\x01\xbb\x04\0\0"
#define LOCAL_HEADER "\r\n\r\n\0\r\nQUIT\n\x20\0\0\0"
#define BEHIND       "\x16\x03\x01 and so on"

/* A connection to the gateway, of which the test is the peer. */
struct entry {
    struct loop loop;
    struct account account;
    struct conn *conn;
    struct head_reader reader;
    struct front front;
    int peer;
};

static struct network networks[8];

static size_t trust(const char *const *texts)
{
    size_t count = 0;
    char why[256];
    for (; texts[count] != NULL; count++) {
        struct network_parts parts;
        network_split(text_of(texts[count]), &parts);
        assert_int_equal(network_parse(&parts, &networks[count], why, sizeof why), 0);
    }
    return count;
}

#define TRUST(...) trust((const char *const[]){__VA_ARGS__, NULL})

static void ignore(struct conn *conn)
{
    (void)conn;
}

static const struct conn_events events = {.readable = ignore, .writable = ignore};

static void entry_open(struct entry *entry, size_t trusted_count)
{
    int fds[2];
    test_socket_pair(fds);
    account_init(&entry->account, SIZE_MAX);
    assert_int_equal(loop_init(&entry->loop, 0, &entry->account), 0);
    assert_int_equal(conn_new(&entry->loop, fds[1], &events, NULL, &entry->conn), 0);
    entry->peer = fds[0];
    head_reader_init(&entry->reader, HEAD_READER_REQUEST);
    front_init(&entry->front, networks, trusted_count, entry->conn);
}

static void entry_close(struct entry *entry)
{
    head_reader_deinit(&entry->reader);
    conn_close(entry->conn, false);
    loop_deinit(&entry->loop);
    close(entry->peer);
}

static int entry_read(struct entry *entry)
{
    return front_read(&entry->front, &entry->reader, entry->conn);
}

/* Sends the bytes in two parts; the result behind each part that was asked for. */
static int entry_take(struct entry *entry, const char *bytes, size_t size, size_t part)
{
    int result = CULVERT_NEED_MORE;
    assert_int_equal(write(entry->peer, bytes, part), part);
    if (part > 0)
        result = entry_read(entry);
    assert_int_equal(write(entry->peer, bytes + part, size - part), size - part);
    return result == CULVERT_NEED_MORE ? entry_read(entry) : result;
}

static void expect_behind(struct entry *entry, const char *expected)
{
    char bytes[256];
    size_t kept = entry->reader.size;
    if (kept > 0)
        memcpy(bytes, entry->reader.buffer, kept);
    ssize_t got = conn_read(entry->conn, bytes + kept, sizeof bytes - kept);
    size_t size = kept + (got > 0 ? (size_t)got : 0);
    assert_int_equal(size, strlen(expected));
    assert_memory_equal(bytes, expected, size);
}

static void check_header(const char *header, size_t size, const char *address)
{
    for (size_t part = 0; part <= size; part++) {
        struct entry entry;
        entry_open(&entry, TRUST("10.0.0.0/8", "127.0.0.1"));
        char own[ADDRESS_TEXT_SIZE];
        snprintf(own, sizeof own, "%s", entry.front.text);
        assert_true(entry.front.is_trusted);
        assert_int_equal(entry_read(&entry), CULVERT_NEED_MORE);
        assert_int_equal(entry_take(&entry, header, size, part), 0);
        assert_true(entry.front.is_passed);
        assert_int_equal(entry.reader.size, 0);
        assert_string_equal(entry.front.text, address != NULL ? address : own);
        assert_int_equal(entry.front.is_trusted, address == NULL);
        assert_int_equal(write(entry.peer, BEHIND, strlen(BEHIND)), strlen(BEHIND));
        expect_behind(&entry, BEHIND);
        entry_close(&entry);
    }
}

static void test_a_trusted_header(void **state)
{
    (void)state;
    check_header(TEXT_HEADER, sizeof TEXT_HEADER - 1, "203.0.113.7:50110");
    check_header(BINARY_HEADER, sizeof BINARY_HEADER - 1, "203.0.113.7:50110");
    check_header(LOCAL_HEADER, sizeof LOCAL_HEADER - 1, NULL);
    check_header("PROXY UNKNOWN\r\n", 15, NULL);
    check_header("PROXY TCP6 2001:db8::1 ::1 7 8\r\n", 32, "[2001:db8::1]:7");
    check_header("PROXY TCP6 ::ffff:192.0.2.9 ::1 7 8\r\n", 37, "192.0.2.9:7");
}

static void test_what_comes_with_the_header_stays(void **state)
{
    (void)state;
    struct entry entry;
    entry_open(&entry, TRUST("127.0.0.0/8"));
    assert_int_equal(entry_take(&entry, TEXT_HEADER BEHIND, strlen(TEXT_HEADER BEHIND), 20), 0);
    expect_behind(&entry, BEHIND);
    entry_close(&entry);
}

static void test_no_header(void **state)
{
    (void)state;
    static const char *const firsts[] = {"GET / HTTP/1.1\r\n", "POST / HTTP/1.1\r\n",
                                         "PROXIMATE / HTTP/1.1\r\n", "\r\n\r\nGET", BEHIND};
    for (size_t i = 0; i < sizeof firsts / sizeof firsts[0]; i++) {
        size_t size = strlen(firsts[i]);
        for (size_t part = 0; part <= size; part++) {
            struct entry entry;
            entry_open(&entry, part % 2 == 0 ? 0 : TRUST("127.0.0.1"));
            assert_int_equal(entry_take(&entry, firsts[i], size, part), 0);
            assert_true(entry.front.is_passed);
            expect_behind(&entry, firsts[i]);
            entry_close(&entry);
        }
    }
}

static void test_an_untrusted_header(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t size;
    } rows[] = {
        {TEXT_HEADER, sizeof TEXT_HEADER - 1},
        {BINARY_HEADER, sizeof BINARY_HEADER - 1},
        {LOCAL_HEADER, sizeof LOCAL_HEADER - 1},
        {"PROXY ?", 7},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        for (size_t part = 0; part <= rows[i].size; part++) {
            struct entry entry;
            entry_open(&entry, part % 2 == 0 ? 0 : TRUST("127.0.0.2", "::1", "::/0", "10.0.0.0/8"));
            assert_int_equal(entry_take(&entry, rows[i].bytes, rows[i].size, part),
                             CULVERT_ERROR_REFUSED);
            assert_true(strncmp(entry.front.text, "127.0.0.1:", 10) == 0);
            entry_close(&entry);
        }
    }
}

static void test_a_wrong_header(void **state)
{
    (void)state;
    struct entry entry;
    entry_open(&entry, TRUST("127.0.0.1"));
    assert_int_equal(entry_take(&entry, "PROXY TCP4 x\r\n", 14, 3), CULVERT_ERROR_PROTOCOL);
    entry_close(&entry);
    entry_open(&entry, TRUST("127.0.0.1"));
    assert_int_equal(entry_take(&entry, "\r\n\r\n\0\r\nQUIT\n\x20\0\xff\xff", 16, 3),
                     CULVERT_ERROR_TOO_LARGE);
    entry_close(&entry);
}

static void test_the_peer_goes(void **state)
{
    (void)state;
    struct entry entry;
    entry_open(&entry, TRUST("127.0.0.1"));
    assert_int_equal(write(entry.peer, TEXT_HEADER, 9), 9);
    assert_int_equal(entry_read(&entry), CULVERT_NEED_MORE);
    assert_int_equal(shutdown(entry.peer, SHUT_WR), 0);
    assert_int_equal(entry_read(&entry), CULVERT_ERROR_CLOSED);
    entry_close(&entry);
}

static void test_memory_runs_out(void **state)
{
    (void)state;
    struct entry entry;
    entry_open(&entry, TRUST("127.0.0.1"));
    assert_int_equal(write(entry.peer, TEXT_HEADER, 9), 9);
    memory_fail_after(1);
    assert_int_equal(entry_read(&entry), CULVERT_ERROR_NO_MEMORY);
    memory_fail_after(0);
    entry_close(&entry);
}

static void check_fields(const char *fields, const char *address)
{
    struct http1_head head;
    char request[1024];
    size_t used;
    int size = snprintf(request, sizeof request, "GET / HTTP/1.1\r\nHost: x\r\n%s\r\n", fields);
    assert_int_equal(http1_parse_request((uint8_t *)request, (size_t)size, &head, &used), 0);
    struct entry entry;
    entry_open(&entry, TRUST("127.0.0.1", "10.0.0.0/8", "2001:db8:1::/48"));
    front_take_fields(&entry.front, &head);
    if (address != NULL)
        assert_string_equal(entry.front.text, address);
    else
        assert_true(strncmp(entry.front.text, "127.0.0.1:", 10) == 0);
    entry_close(&entry);
    entry_open(&entry, TRUST("10.0.0.0/8")); /* not the peer */
    front_take_fields(&entry.front, &head);
    assert_true(strncmp(entry.front.text, "127.0.0.1:", 10) == 0);
    entry_close(&entry);
}

static void test_forwarded_for(void **state)
{
    (void)state;
    check_fields("", NULL);
    check_fields("X-Forwarded-For: 203.0.113.7\r\n", "203.0.113.7");
    check_fields("x-forwarded-FOR: 203.0.113.7\r\n", "203.0.113.7");
    check_fields("X-Forwarded-For: 2001:db8::1\r\n", "[2001:db8::1]");
    check_fields("X-Forwarded-For: [2001:db8::1]\r\n", "[2001:db8::1]");
    check_fields("X-Forwarded-For: [2001:db8::1]:77\r\n", "[2001:db8::1]:77");
    check_fields("X-Forwarded-For: 203.0.113.7:4711\r\n", "203.0.113.7:4711");
    /* what an untrusted client sent along stands before what the proxies add */
    check_fields("X-Forwarded-For: 198.51.100.1, 203.0.113.7\r\n", "203.0.113.7");
    check_fields("X-Forwarded-For: 198.51.100.1\r\nX-Forwarded-For: 203.0.113.7\r\n",
                 "203.0.113.7");
    check_fields("X-Forwarded-For: 198.51.100.1, 203.0.113.7,10.1.2.3 , 127.0.0.1\r\n",
                 "203.0.113.7");
    check_fields("X-Forwarded-For: 203.0.113.7, 2001:db8:1::5\r\nX-Forwarded-For: 10.0.0.1\r\n",
                 "203.0.113.7");
    check_fields("X-Forwarded-For: 10.0.0.1, 10.0.0.2\r\n", "10.0.0.1");
    check_fields("X-Forwarded-For: 203.0.113.7, ,\r\n", "203.0.113.7");
    check_fields("X-Forwarded-For: \r\n", NULL);
}

static void check_group(const struct front *front, bool limits_loopback, const char *address)
{
    uint8_t bytes[HOST_ADDRESS_SIZE];
    (void)host_parse(text_of(address), bytes);
    assert_true(front_group(front, limits_loopback) == address_group(bytes));
}

static void test_the_group_is_the_clients(void **state)
{
    struct entry entry;
    (void)state;
    entry_open(&entry, TRUST("127.0.0.1"));
    assert_true(front_group(&entry.front, true) == ADDRESS_GROUP_NONE); /* it has named nobody */
    assert_int_equal(send(entry.peer, TEXT_HEADER, strlen(TEXT_HEADER), 0), strlen(TEXT_HEADER));
    assert_int_equal(front_read(&entry.front, &entry.reader, entry.conn), 0);
    check_group(&entry.front, false, "203.0.113.99");
    entry_close(&entry);
    entry_open(&entry, 0);
    assert_true(front_group(&entry.front, false) == ADDRESS_GROUP_NONE); /* loopback */
    check_group(&entry.front, true, "127.0.0.1");
    entry_close(&entry);
}

static void test_forwarded_for_that_is_no_address(void **state)
{
    (void)state;
    static const char *const hops[] = {
        "unknown",
        "_hidden",
        "1.2.3",
        "203.0.113.7:",
        "203.0.113.7:x",
        "203.0.113.7/32",
        "203.0.113.7:1:2",
        "example.com",
        "203.0.113.7 1.2.3.4",
        "[::1",
        "203.0.113.7:65536",
        ":1",
        "fe80::1%lo",
    };
    for (size_t i = 0; i < sizeof hops / sizeof hops[0]; i++) {
        char fields[256];
        snprintf(fields, sizeof fields, "X-Forwarded-For: 198.51.100.1, %s\r\n", hops[i]);
        check_fields(fields, NULL);
        snprintf(fields, sizeof fields, "X-Forwarded-For: 198.51.100.1, %s, 10.0.0.1\r\n", hops[i]);
        check_fields(fields, "10.0.0.1");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_trusted_header),
        cmocka_unit_test(test_what_comes_with_the_header_stays),
        cmocka_unit_test(test_no_header),
        cmocka_unit_test(test_an_untrusted_header),
        cmocka_unit_test(test_a_wrong_header),
        cmocka_unit_test(test_the_peer_goes),
        cmocka_unit_test(test_memory_runs_out),
        cmocka_unit_test(test_forwarded_for),
        cmocka_unit_test(test_the_group_is_the_clients),
        cmocka_unit_test(test_forwarded_for_that_is_no_address),
    };
    log_set_level(LOG_ERROR);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
