#include "gateway/payer_name.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void names_group_owners_and_networks(void **state)
{
    static const uint8_t v4[16] = {[10] = 0xff, 0xff, 192, 0, 2, 1};
    static const uint8_t v4_beside[16] = {[10] = 0xff, 0xff, 192, 0, 2, 200};
    static const uint8_t v4_other[16] = {[10] = 0xff, 0xff, 192, 0, 3, 1};
    static const uint8_t v6[16] = {0x20, 1, 0xd, 0xb8, 1, 2, 3, 4, 5};
    static const uint8_t v6_beside[16] = {0x20, 1, 0xd, 0xb8, 1, 2, 3, 5};
    static const uint8_t v6_other[16] = {0x20, 1, 0xd, 0xb8, 1, 2, 4};
    char a[PAYER_NAME_SIZE], b[PAYER_NAME_SIZE];
    (void)state;
    payer_name(7, "ann", "a1", v4, a);
    payer_name(8, "ann", "a2", v6, b);
    assert_string_equal(a, b);
    payer_name(7, "", "a1", v4, a);
    payer_name(8, "", "a2", v4, b);
    assert_string_not_equal(a, b);
    payer_name(0, "", "a1", v4, a);
    payer_name(0, "", "a2", v4_beside, b);
    assert_string_equal(a, b);
    payer_name(0, "", "a1", v4_other, b);
    assert_string_not_equal(a, b);
    payer_name(0, "", "a1", v6, a);
    payer_name(0, "", "a2", v6_beside, b);
    assert_string_equal(a, b);
    payer_name(0, "", "a1", v6_other, b);
    assert_string_not_equal(a, b);
    /* The names that people choose are no networks. */
    payer_name(7, "", "network 20", v4, a);
    assert_string_equal(a, "agent network 20");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_group_owners_and_networks),
    };
    return cmocka_run_group_tests_name("payer_name", tests, NULL, NULL);
}
