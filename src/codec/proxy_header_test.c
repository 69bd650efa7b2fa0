#include "codec/proxy_header.h"

#include "base/error.h"
#include "codec/guarded_page.h"
#include "codec/message_hex.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define P CULVERT_ERROR_PROTOCOL
#define L CULVERT_ERROR_TOO_LARGE
#define N CULVERT_ERROR_NOT_FOUND

#define SIGNATURE "0d0a0d0a000d0a515549540a "

static struct guarded_page page;

static int parse(const void *wire, size_t size, struct proxy_header *header, size_t *used)
{
    return proxy_header_parse(guarded_page_put(&page, wire, size), size, header, used);
}

/* The whole gives the result; each part of it asks for more, or fails as the whole does. What
 * stands behind a header changes nothing. */
static void check_wire(const uint8_t *wire, size_t size, int expected, struct proxy_header *header)
{
    struct proxy_header other = {.kind = PROXY_HEADER_IPV6, .source_port = 4711};
    size_t used = 4711;
    for (size_t part = 0; part < size; part++) {
        int result = parse(wire, part, &other, &used);
        if (result != CULVERT_NEED_MORE && (expected == 0 || result != expected))
            fail_msg("%zu of %zu bytes give %d, not %d", part, size, result, expected);
        assert_int_equal(used, 4711);
        assert_int_equal(other.source_port, 4711);
    }
    assert_int_equal(parse(wire, size, header, &used), expected);
    assert_int_equal(used, expected == 0 ? size : 4711);
    if (expected != 0)
        return;
    uint8_t longer[PROXY_HEADER_MAX_SIZE + 3];
    memcpy(longer, wire, size);
    memcpy(longer + size, "GET", 3);
    assert_int_equal(parse(longer, size + 3, &other, &used), 0);
    assert_int_equal(used, size);
    assert_int_equal(other.source_port, header->source_port);
}

static struct proxy_header parse_text(const char *text, int expected)
{
    struct proxy_header header = {.kind = PROXY_HEADER_NONE};
    check_wire((const uint8_t *)text, strlen(text), expected, &header);
    return header;
}

static struct proxy_header parse_hex(const char *digits, int expected)
{
    struct proxy_header header = {.kind = PROXY_HEADER_NONE};
    uint8_t wire[PROXY_HEADER_MAX_SIZE + 16];
    size_t size = message_hex(digits, wire, sizeof wire);
    check_wire(wire, size, expected, &header);
    return header;
}

static void check_ipv4(const struct proxy_header *header, const char *source, uint16_t port)
{
    assert_int_equal(header->kind, PROXY_HEADER_IPV4);
    assert_memory_equal(header->source, source, 4);
    assert_int_equal(header->source_port, port);
}

static void test_version_1(void **state)
{
    (void)state;
    struct proxy_header header = parse_text("PROXY TCP4 203.0.113.7 192.0.2.1 50110 443\r\n", 0);
    check_ipv4(&header, "\xcb\x00\x71\x07", 50110);
    header = parse_text("PROXY TCP4 255.255.255.255 255.255.255.255 65535 0\r\n", 0);
    check_ipv4(&header, "\xff\xff\xff\xff", 65535);
    header = parse_text("PROXY TCP6 2001:db8::1 ::1 1 65535\r\n", 0);
    assert_int_equal(header.kind, PROXY_HEADER_IPV6);
    assert_memory_equal(header.source, "\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01", 16);
    assert_int_equal(header.source_port, 1);
    header = parse_text("PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff "
                        "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n",
                        0);
    assert_int_equal(header.kind, PROXY_HEADER_IPV6);
}

static void test_version_1_unknown(void **state)
{
    (void)state;
    assert_int_equal(parse_text("PROXY UNKNOWN\r\n", 0).kind, PROXY_HEADER_NONE);
    struct proxy_header header = parse_text("PROXY UNKNOWN 1.2.3.4 what ever\r\n", 0);
    assert_int_equal(header.kind, PROXY_HEADER_NONE);
    assert_int_equal(header.source_port, 0);
}

static void test_version_1_hostile(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "PROXY \r\n",
        "PROXY TCP4\r\n",
        "PROXY TCP4 \r\n",
        "PROXY TCP5 1.2.3.4 1.2.3.4 1 2\r\n",
        "PROXY tcp4 1.2.3.4 1.2.3.4 1 2\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 1\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 1 \r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 1 2 \r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 1 2 3\r\n",
        "PROXY  TCP4 1.2.3.4 1.2.3.4 1 2\r\n",
        "PROXY TCP4  1.2.3.4 1.2.3.4 1 2\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 65536 2\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 01 2\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 1 -2\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 1 2x\r\n",
        "PROXY TCP4 1.2.3.256 1.2.3.4 1 2\r\n",
        "PROXY TCP4 1.2.3 1.2.3.4 1 2\r\n",
        "PROXY TCP4 ::1 ::1 1 2\r\n",
        "PROXY TCP6 1.2.3.4 1.2.3.4 1 2\r\n",
        "PROXY TCP6 ::1%lo ::1 1 2\r\n",
        "PROXY TCP6 11111:: ::1 1 2\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 1 2\rx",
        "PROXY UNKNOWNS\r\n",
        "PROXY / HTTP/1.1\r\n",
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        parse_text(texts[i], P);
    struct proxy_header header;
    static const char zero[] = "PROXY TCP4 1.2.3.4\0 1.2.3.4 1 2\r\n";
    check_wire((const uint8_t *)zero, sizeof zero - 1, P, &header);
}

static void test_version_1_is_bounded(void **state)
{
    (void)state;
    char text[PROXY_HEADER_TEXT_SIZE + 2];
    struct proxy_header header;
    memset(text, 'x', sizeof text);
    memcpy(text, "PROXY UNKNOWN ", 14);
    check_wire((const uint8_t *)text, PROXY_HEADER_TEXT_SIZE, L, &header);
    memcpy(text + PROXY_HEADER_TEXT_SIZE - 1, "\r\n", 2);
    check_wire((const uint8_t *)text, PROXY_HEADER_TEXT_SIZE + 1, L, &header);
    memcpy(text + PROXY_HEADER_TEXT_SIZE - 2, "\r\n", 2);
    check_wire((const uint8_t *)text, PROXY_HEADER_TEXT_SIZE, 0, &header);
}

static void test_version_2(void **state)
{
    (void)state;
    struct proxy_header header = parse_hex(SIGNATURE "21 11 000c cb007107 c0000201 c3be 01bb", 0);
    check_ipv4(&header, "\xcb\x00\x71\x07", 50110);
    header = parse_hex(SIGNATURE "21 21 0024 20010db8000000000000000000000001"
                                 "00000000000000000000000000000001 0001 ffff",
                       0);
    assert_int_equal(header.kind, PROXY_HEADER_IPV6);
    assert_memory_equal(header.source, "\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01", 16);
    assert_int_equal(header.source_port, 1);
    /* with TLVs: an empty NOOP, and one that claims more than there is, which is not looked at */
    header = parse_hex(SIGNATURE "21 11 0012 cb007107 c0000201 c3be 01bb 040000 04ffff", 0);
    check_ipv4(&header, "\xcb\x00\x71\x07", 50110);
}

static void test_version_2_without_an_address(void **state)
{
    (void)state;
    static const char *const wires[] = {
        SIGNATURE "20 00 0000",                             /* LOCAL */
        SIGNATURE "20 11 000c cb007107 c0000201 c3be 01bb", /* whose addresses are to be ignored */
        SIGNATURE "20 ff 0001 00",
        SIGNATURE "21 00 0000", /* UNSPEC */
        SIGNATURE "21 00 0003 010203",
        SIGNATURE "21 12 000c cb007107 c0000201 c3be 01bb", /* UDP */
        SIGNATURE "21 31 0000",                             /* a local socket */
    };
    for (size_t i = 0; i < sizeof wires / sizeof wires[0]; i++) {
        struct proxy_header header = parse_hex(wires[i], 0);
        assert_int_equal(header.kind, PROXY_HEADER_NONE);
        assert_int_equal(header.source_port, 0);
        assert_int_equal(header.source[0], 0);
    }
}

static void test_version_2_hostile(void **state)
{
    (void)state;
    static const struct {
        const char *wire;
        int result;
    } rows[] = {
        {SIGNATURE "11 11 000c cb007107 c0000201 c3be 01bb", P}, /* version 1 */
        {SIGNATURE "31 11 000c cb007107 c0000201 c3be 01bb", P},
        {SIGNATURE "22 11 000c cb007107 c0000201 c3be 01bb", P}, /* no such command */
        {SIGNATURE "21 13 000c cb007107 c0000201 c3be 01bb", P}, /* no such transport */
        {SIGNATURE "21 41 000c cb007107 c0000201 c3be 01bb", P}, /* no such family */
        {SIGNATURE "21 11 000b cb007107 c0000201 c3be 01", P},   /* too short for its addresses */
        {SIGNATURE "21 11 0000", P},
        {SIGNATURE "21 21 0023", P},
        {SIGNATURE "21 11 0ff1", L},
        {SIGNATURE "21 11 ffff", L},
        {SIGNATURE "20 00 ffff", L},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        parse_hex(rows[i].wire, rows[i].result);
}

static void test_version_2_may_be_long(void **state)
{
    (void)state;
    uint8_t wire[PROXY_HEADER_MAX_SIZE] = {0};
    message_hex(SIGNATURE "21 11 0ff0 cb007107 c0000201 c3be 01bb", wire, sizeof wire);
    struct proxy_header header;
    check_wire(wire, sizeof wire, 0, &header);
    check_ipv4(&header, "\xcb\x00\x71\x07", 50110);
}

static void test_others(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "GET / HTTP/1.1\r\n", "POST ", "PROPFIND /", "PROXY\t", "PROXYS ", "\r\nGET",
        "\x16\x03\x01",       "proxy "};
    struct proxy_header header;
    size_t used;
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        size_t size = strlen(texts[i]);
        assert_int_equal(parse(texts[i], size, &header, &used), N);
        assert_int_equal(proxy_header_find((const uint8_t *)texts[i], size), N);
    }
    uint8_t wire[12];
    message_hex("0d0a0d0a000d0a515549540b", wire, sizeof wire);
    assert_int_equal(parse(wire, sizeof wire, &header, &used), N);
    assert_int_equal(proxy_header_find((const uint8_t *)"PROXY ?", 7), 0);
    assert_int_equal(proxy_header_find((const uint8_t *)"PROXY", 5), CULVERT_NEED_MORE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_version_1),
        cmocka_unit_test(test_version_1_unknown),
        cmocka_unit_test(test_version_1_hostile),
        cmocka_unit_test(test_version_1_is_bounded),
        cmocka_unit_test(test_version_2),
        cmocka_unit_test(test_version_2_without_an_address),
        cmocka_unit_test(test_version_2_hostile),
        cmocka_unit_test(test_version_2_may_be_long),
        cmocka_unit_test(test_others),
    };
    page = guarded_page_new(2 * PROXY_HEADER_MAX_SIZE);
    int result = cmocka_run_group_tests(tests, NULL, NULL);
    guarded_page_free(&page);
    return result;
}
