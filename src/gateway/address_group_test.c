#include "gateway/address_group.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static const uint8_t *parse(const char *text)
{
    static uint8_t addresses[2][HOST_ADDRESS_SIZE];
    static unsigned next;
    uint8_t *address = addresses[next++ % 2];
    enum host_kind kind = host_parse(text_of(text), address);
    assert_true(kind == HOST_IPV4 || kind == HOST_IPV6);
    return address;
}

static void check(const char *one, const char *other, bool are_one)
{
    const uint8_t *a = parse(one);
    const uint8_t *b = parse(other);
    assert_int_equal(address_group(a) == address_group(b), are_one);
    assert_true(address_group(a) != ADDRESS_GROUP_NONE);
}

static void test_groups(void **state)
{
    (void)state;
    check("192.0.2.1", "192.0.2.255", true);
    check("192.0.2.1", "192.0.3.1", false);
    check("192.0.2.1", "193.0.2.1", false);
    check("2001:db8:0:ff00::1", "2001:db8:0:ffff:ffff::2", true);
    check("2001:db8:0:ff00::1", "2001:db8:0:fe00::1", false);
    check("::", "0.0.0.0", false);
    check("::ffff:192.0.2.1", "192.0.2.7", true);
    check("0.0.0.0", "0.0.0.1", true);
}

static void test_loopback(void **state)
{
    (void)state;
    assert_true(address_group_is_loopback(parse("127.0.0.1")));
    assert_true(address_group_is_loopback(parse("127.9.8.7")));
    assert_true(address_group_is_loopback(parse("::1")));
    assert_false(address_group_is_loopback(parse("128.0.0.1")));
    assert_false(address_group_is_loopback(parse("::2")));
    assert_false(address_group_is_loopback(parse("::")));
    assert_false(address_group_is_loopback(parse("1::1")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_groups),
        cmocka_unit_test(test_loopback),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
