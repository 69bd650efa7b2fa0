#include "policy/host.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void check_kind(const char *text, enum host_kind kind)
{
    enum host_kind found = host_parse(text_of(text), NULL);
    if (found != kind)
        fail_msg("\"%s\" is %d, not %d", text, (int)found, (int)kind);
}

static void test_names(void **state)
{
    (void)state;
    check_kind("localhost", HOST_NAME);
    check_kind("a.example", HOST_NAME);
    check_kind("A.Example.", HOST_NAME);
    check_kind("db_1-x.internal", HOST_NAME);
    check_kind("1password.example", HOST_NAME);
    check_kind("10.example", HOST_NAME);
    check_kind("0x.g", HOST_NAME);
    check_kind("", HOST_INVALID);
    check_kind(".", HOST_INVALID);
    check_kind("..", HOST_INVALID);
    check_kind("a..b", HOST_INVALID);
    check_kind(".a", HOST_INVALID);
    check_kind("a..", HOST_INVALID);
    check_kind("a b", HOST_INVALID);
    check_kind("a/b", HOST_INVALID);
    check_kind("a@b", HOST_INVALID);
    check_kind("*", HOST_INVALID);
    check_kind("caf\xc3\xa9.example", HOST_INVALID);
}

static void test_what_a_resolver_reads_as_an_address(void **state)
{
    (void)state;
    check_kind("127.1", HOST_INVALID);
    check_kind("2130706433", HOST_INVALID);
    check_kind("0x7f000001", HOST_INVALID);
    check_kind("0X7F.0x1", HOST_INVALID);
    check_kind("10.0.0.256", HOST_INVALID);
    check_kind("10.0.0", HOST_INVALID);
    check_kind("127.0.0.1.", HOST_INVALID);
    check_kind("0x", HOST_INVALID);
    check_kind("010.0.0.1", HOST_INVALID);
}

static void check_port_text(const char *host, const char *wanted)
{
    char text[HOST_PORT_TEXT_SIZE];
    assert_string_equal(host_port_text(host, 41581, text), wanted);
}

static void test_a_host_with_its_port(void **state)
{
    (void)state;
    char name[300];
    check_port_text("127.0.0.1", "127.0.0.1:41581");
    check_port_text("::", "[::]:41581");
    check_port_text("fd00::1", "[fd00::1]:41581");
    check_port_text("a.example", "a.example:41581");
    memset(name, 'a', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    char text[HOST_PORT_TEXT_SIZE];
    assert_int_equal(strlen(host_port_text(name, 41581, text)), 255 + 6);
}

static void test_lengths(void **state)
{
    (void)state;
    char name[300];
    memset(name, 'a', sizeof name);
    assert_int_equal(host_parse((struct text){name, 63}, NULL), HOST_NAME);
    assert_int_equal(host_parse((struct text){name, 64}, NULL), HOST_INVALID);
    for (size_t i = 50; i < sizeof name; i += 51)
        name[i] = '.';
    assert_int_equal(host_parse((struct text){name, 253}, NULL), HOST_NAME);
    assert_int_equal(host_parse((struct text){name, 254}, NULL), HOST_INVALID);
}

static void test_addresses(void **state)
{
    (void)state;
    static const uint8_t four[16] = {[10] = 0xff, [11] = 0xff, [12] = 192, [14] = 2, [15] = 1};
    static const uint8_t six[16] = {0x20, 0x01, 0x0d, 0xb8, [15] = 1};
    uint8_t address[16];
    assert_int_equal(host_parse(text_of("192.0.2.1"), address), HOST_IPV4);
    assert_memory_equal(address, four, 16);
    assert_int_equal(host_parse(text_of("2001:db8::1"), address), HOST_IPV6);
    assert_memory_equal(address, six, 16);
    assert_int_equal(host_parse(text_of("::ffff:192.0.2.1"), address), HOST_IPV6);
    assert_memory_equal(address, four, 16);
    check_kind("::", HOST_IPV6);
    check_kind("fe80::1%eth0", HOST_INVALID);
    check_kind("[::1]", HOST_INVALID);
    check_kind(":::", HOST_INVALID);
    assert_int_equal(host_parse((struct text){"::1\0x", 5}, NULL), HOST_INVALID);
}

static void check_canonical(const char *host, const char *wanted, enum host_kind kind)
{
    char text[HOST_NAME_SIZE];
    assert_int_equal(host_canonical_text(text_of(host), text), kind);
    assert_string_equal(text, wanted);
}

static void test_a_host_has_one_form(void **state)
{
    (void)state;
    static const char *const loopback[] = {"::",        "::1",        "::ffff:0.0.0.0", "::0.0.0.0",
                                           "64:ff9b::", "0:0::0:0:1", "64:ff9b::7f00:1"};
    char name[300];
    for (size_t i = 0; i < sizeof loopback / sizeof *loopback; i++)
        check_canonical(loopback[i], "127.0.0.1", HOST_IPV6);
    check_canonical("0.0.0.0", "127.0.0.1", HOST_IPV4);
    check_canonical("127.0.0.2", "127.0.0.2", HOST_IPV4);
    check_canonical("::ffff:a01:203", "10.1.2.3", HOST_IPV6);
    check_canonical("2001:DB8:0::1", "2001:db8::1", HOST_IPV6);
    check_canonical("DB.Internal.", "db.internal", HOST_NAME);
    check_canonical("localhost", "localhost", HOST_NAME);
    check_canonical("127.1", "127.1", HOST_INVALID);
    check_canonical("[::1]", "[::1]", HOST_INVALID);
    check_canonical("A B.", "A B.", HOST_INVALID);
    check_canonical("", "", HOST_INVALID);
    memset(name, 'A', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    char text[HOST_NAME_SIZE];
    assert_int_equal(host_canonical_text(text_of(name), text), HOST_INVALID);
    assert_int_equal(strlen(text), HOST_NAME_SIZE - 1);
}

static void test_same_name(void **state)
{
    (void)state;
    assert_true(host_same_name(text_of("Db.Example."), text_of("dB.example")));
    assert_false(host_same_name(text_of("db.example"), text_of("db.example.org")));
    assert_false(host_same_name(text_of("db"), text_of("dc")));
}

static void test_parts(void **state)
{
    (void)state;
    struct text rest = text_of("a:[::1]/64:b");
    struct text part;
    assert_true(host_take_part(&rest, &part));
    assert_true(text_equals(part, "a"));
    assert_true(host_take_part(&rest, &part));
    assert_true(text_equals(part, "[::1]/64"));
    assert_false(host_strip_brackets(&part));
    assert_false(host_take_part(&rest, &part));
    assert_true(text_equals(part, "b"));
    assert_int_equal(rest.size, 0);
    rest = text_of("[::1");
    assert_false(host_take_part(&rest, &part));
    assert_false(host_strip_brackets(&part));
    part = text_of("[::1]");
    assert_true(host_strip_brackets(&part));
    assert_true(text_equals(part, "::1"));
    part = text_of("[");
    assert_false(host_strip_brackets(&part));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_what_a_resolver_reads_as_an_address),
        cmocka_unit_test(test_a_host_with_its_port),
        cmocka_unit_test(test_lengths),
        cmocka_unit_test(test_addresses),
        cmocka_unit_test(test_a_host_has_one_form),
        cmocka_unit_test(test_same_name),
        cmocka_unit_test(test_parts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
