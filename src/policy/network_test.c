#include "policy/network.h"

#include "base/error.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static struct network network_of(const char *text)
{
    struct network_parts parts;
    struct network network;
    char why[256] = "";
    network_split(text_of(text), &parts);
    if (network_parse(&parts, &network, why, sizeof why) != 0)
        fail_msg("\"%s\": %s", text, why);
    return network;
}

static bool covers(const char *text, const char *address)
{
    struct network network = network_of(text);
    uint8_t bytes[HOST_ADDRESS_SIZE];
    assert_int_not_equal(host_parse(text_of(address), bytes), HOST_INVALID);
    return network_covers(&network, bytes);
}

static void check_wrong(const char *text, const char *piece_of_why)
{
    struct network_parts parts;
    struct network network;
    char why[256] = "";
    network_split(text_of(text), &parts);
    assert_int_equal(network_parse(&parts, &network, why, sizeof why), CULVERT_ERROR_INVALID);
    if (strstr(why, piece_of_why) == NULL)
        fail_msg("\"%s\", without \"%s\"", why, piece_of_why);
}

static void test_what_a_network_covers(void **state)
{
    (void)state;
    assert_true(covers("10.0.0.0/8", "10.255.0.1"));
    assert_false(covers("10.0.0.0/8", "11.0.0.0"));
    assert_true(covers("10.0.0.0/8", "::ffff:10.0.0.1"));
    assert_true(covers("192.0.2.1", "192.0.2.1"));
    assert_false(covers("192.0.2.1", "192.0.2.0"));
    assert_true(covers("0.0.0.0/0", "203.0.113.9"));
    assert_false(covers("0.0.0.0/0", "::1"));
    assert_true(covers("::/0", "2001:db8::1"));
    assert_false(covers("::/0", "203.0.113.9"));
    assert_true(covers("2001:db8::/33", "2001:db8:7fff::1"));
    assert_false(covers("2001:db8::/33", "2001:db8:8000::1"));
}

static void test_brackets(void **state)
{
    (void)state;
    assert_true(covers("[2001:db8::/32]", "2001:db8::1"));
    assert_true(covers("[2001:db8::]/32", "2001:db8::1"));
    assert_true(covers("[::1]", "::1"));
}

static void test_what_is_no_network(void **state)
{
    (void)state;
    check_wrong("10.0.0.1/8", "write 10.0.0.0/8 for the network");
    check_wrong("2001:db8::1/32", "write [2001:db8:0:0:0:0:0:0/32]");
    check_wrong("10.0.0.0/33", "prefix /33 is not a number from 0 to 32");
    check_wrong("::/129", "from 0 to 128");
    check_wrong("10.0.0.0/", "prefix / is not");
    check_wrong("a.example/8", "\"a.example\" before the /");
    check_wrong("/8", "before the /");
    check_wrong("127.1/8", "before the /");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_a_network_covers),
        cmocka_unit_test(test_brackets),
        cmocka_unit_test(test_what_is_no_network),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
