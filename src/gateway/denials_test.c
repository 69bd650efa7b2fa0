#include "gateway/denials.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

static const struct policy_request asked = {.source = "a",
                                            .user = "",
                                            .address = "192.0.2.1:1",
                                            .kind = "tcp",
                                            .agent = "b",
                                            .host = "h",
                                            .port = 80,
                                            .key = "k"};

static struct denials *denials_new(uint64_t seed)
{
    struct denials *denials = malloc(sizeof *denials);
    assert_non_null(denials);
    denials_init(denials, seed);
    return denials;
}

static void only_the_same_question_is_found(void **state)
{
    (void)state;
    struct denials *denials = denials_new(7);
    struct denials *others = denials_new(8);
    struct policy_request request = asked;
    unsigned line = 1;
    uint64_t hash = denials_hash(denials, 3, &asked);
    assert_false(denials_find(denials, hash, &line));
    denials_add(denials, hash, 12);
    assert_true(denials_find(denials, denials_hash(denials, 3, &request), &line));
    assert_int_equal(line, 12);
    assert_false(denials_find(denials, denials_hash(denials, 4, &request), &line));
    request.source = "ab";
    request.agent = "";
    assert_false(denials_find(denials, denials_hash(denials, 3, &request), &line));
    request = asked;
    request.host = "i";
    assert_false(denials_find(denials, denials_hash(denials, 3, &request), &line));
    request = asked;
    request.port = 81;
    assert_false(denials_find(denials, denials_hash(denials, 3, &request), &line));
    /* One who names the right key the second time. */
    request = asked;
    request.key = "";
    assert_false(denials_find(denials, denials_hash(denials, 3, &request), &line));
    assert_int_not_equal(hash, denials_hash(others, 3, &asked));
    free(others);
    free(denials);
}

/* However many there are: the last is known, and there is room for no more than it has. */
static void the_newest_stay(void **state)
{
    (void)state;
    struct denials *denials = denials_new(9);
    struct policy_request request = asked;
    unsigned line = 0;
    unsigned known = 0;
    for (unsigned i = 0; i < 4 * DENIALS; i++) {
        request.port = (uint16_t)(i + 1);
        denials_add(denials, denials_hash(denials, 1, &request), i + 1);
        assert_true(denials_find(denials, denials_hash(denials, 1, &request), &line));
        assert_int_equal(line, i + 1);
    }
    for (unsigned i = 0; i < 4 * DENIALS; i++) {
        request.port = (uint16_t)(i + 1);
        known += denials_find(denials, denials_hash(denials, 1, &request), &line);
    }
    assert_in_range(known, DENIALS / 2, DENIALS);
    /* The first of four in a set is the last to go. */
    denials_init(denials, 9);
    for (uint64_t i = 0; i <= DENIALS_SET; i++) {
        assert_int_equal(denials_find(denials, 5, &line), i > 0);
        denials_add(denials, 5 + i * DENIALS, 1);
        assert_true(denials_find(denials, 5 + i * DENIALS, &line));
    }
    assert_false(denials_find(denials, 5, &line));
    assert_true(denials_find(denials, 5 + (uint64_t)DENIALS, &line));
    free(denials);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_the_same_question_is_found),
        cmocka_unit_test(the_newest_stay),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
