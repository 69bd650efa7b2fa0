#include "base/hash.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void what_differs_has_another_hash(void **state)
{
    (void)state;
    static const char text[] = "agent-agent-agent-agent";
    uint64_t hashes[sizeof text];
    for (size_t size = 0; size < sizeof text; size++) {
        hashes[size] = hash_bytes(7, text, size);
        assert_int_equal(hashes[size], hash_bytes(7, text, size));
        assert_int_not_equal(hashes[size], hash_bytes(8, text, size));
        for (size_t i = 0; i < size; i++)
            assert_int_not_equal(hashes[size], hashes[i]);
    }
    assert_int_not_equal(hash_bytes(7, "a", 1), hash_bytes(7, "a\0", 2));
    assert_int_not_equal(hash_number(7, 1), hash_number(7, 2));
    assert_int_not_equal(hash_number(7, 1), hash_number(8, 1));
}

static void a_text_is_its_bytes(void **state)
{
    (void)state;
    assert_int_equal(hash_text(7, "agent-12"), hash_bytes(7, "agent-12", 8));
    assert_int_equal(hash_text(7, ""), hash_bytes(7, NULL, 0));
    char shifted[] = " agent-12-and-more";
    assert_int_equal(hash_text(7, shifted + 1), hash_text(7, "agent-12-and-more"));
}

/* Every bit of the hash changes with about half of the inputs. */
static void all_bits_are_used(void **state)
{
    (void)state;
    enum { INPUTS = 4096 };
    for (unsigned bit = 0; bit < 64; bit++) {
        unsigned ones = 0;
        for (uint64_t i = 0; i < INPUTS; i++)
            ones += (hash_bytes(1, &i, sizeof i) >> bit & 1) != 0;
        assert_in_range(ones, INPUTS / 3, INPUTS / 3 * 2);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_differs_has_another_hash),
        cmocka_unit_test(a_text_is_its_bytes),
        cmocka_unit_test(all_bits_are_used),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
