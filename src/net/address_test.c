#include "net/address.h"

#include "base/error.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static struct sockaddr_storage parsed(const char *host)
{
    struct sockaddr_storage address;
    assert_int_equal(address_parse(host, 80, &address), 0);
    return address;
}

static void test_addresses_go_to_text_and_back(void **state)
{
    (void)state;
    static const struct {
        const char *host;
        const char *text;
    } cases[] = {
        {"127.0.0.1", "127.0.0.1:80"},
        {"255.255.255.255", "255.255.255.255:80"},
        {"::1", "[::1]:80"},
        {"2001:DB8::0:1", "[2001:db8::1]:80"},
        {"::ffff:192.0.2.1", "[::ffff:192.0.2.1]:80"},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct sockaddr_storage address = parsed(cases[i].host);
        char text[ADDRESS_TEXT_SIZE];
        address_text(&address, text);
        assert_string_equal(text, cases[i].text);
        assert_int_equal(address_port(&address), 80);
    }
}

static void test_names_are_no_addresses(void **state)
{
    (void)state;
    static const char *const hosts[] = {"",          "localhost", "127.0.0", "127.0.0.1.5",
                                        "256.0.0.1", "[::1]",     "1::2::3", "127.0.0.1 "};

    for (size_t i = 0; i < sizeof(hosts) / sizeof(hosts[0]); i++) {
        struct sockaddr_storage address = {.ss_family = 99};
        assert_int_equal(address_parse(hosts[i], 1, &address), CULVERT_ERROR_INVALID);
        assert_int_equal(address.ss_family, 99);
    }
}

static void test_loopback(void **state)
{
    (void)state;
    static const char *const loopback[] = {"127.0.0.1", "127.255.1.2", "::1", "::ffff:127.0.0.1"};
    static const char *const others[] = {"128.0.0.1", "0.0.0.0", "::", "::2", "::ffff:10.0.0.1"};

    for (size_t i = 0; i < sizeof(loopback) / sizeof(loopback[0]); i++) {
        struct sockaddr_storage address = parsed(loopback[i]);
        assert_true(address_is_loopback(&address));
    }
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
        struct sockaddr_storage address = parsed(others[i]);
        assert_false(address_is_loopback(&address));
    }
}

static void test_mapped_addresses_are_the_same_host(void **state)
{
    (void)state;
    struct sockaddr_storage ipv4 = parsed("192.0.2.1");
    struct sockaddr_storage mapped = parsed("::ffff:192.0.2.1");
    struct sockaddr_storage other = parsed("192.0.2.2");
    struct sockaddr_storage ipv6 = parsed("2001:db8::1");

    assert_true(address_equals_host(&ipv4, &mapped));
    assert_true(address_equals_host(&mapped, &ipv4));
    assert_true(address_equals_host(&ipv6, &ipv6));
    assert_false(address_equals_host(&ipv4, &other));
    assert_false(address_equals_host(&ipv4, &ipv6));
    assert_false(address_equals_host(&mapped, &ipv6));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_addresses_go_to_text_and_back),
        cmocka_unit_test(test_names_are_no_addresses),
        cmocka_unit_test(test_loopback),
        cmocka_unit_test(test_mapped_addresses_are_the_same_host),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
