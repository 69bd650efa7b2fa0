#include "base/error.h"
#include "base/memory.h"
#include "gateway/chains.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static const uint8_t HERE[MESSAGE_PLACE_SIZE] = {1};
static const uint8_t THERE[MESSAGE_PLACE_SIZE] = {2};
static const uint8_t NOWHERE[MESSAGE_PLACE_SIZE];

static struct chains chains;

static int set_up(void **state)
{
    (void)state;
    chains_init(&chains, 7);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    assert_int_equal(chains.pairs.count, 0);
    chains_deinit(&chains);
    return 0;
}

/* Begins a session of a rule, which its port names, whose client has this connection. */
static int begin(unsigned rule, const uint8_t *place, const char *pair, struct chain **chain)
{
    const struct request_source source = {"agent1", "", "192.0.2.1:1", place};
    const struct message_open open = {
        .kind = text_of("tcp"),
        .agent = text_of("agent2"),
        .host = text_of("127.0.0.1"),
        .port = (uint16_t)rule,
        .pair = text_of(pair),
    };
    int code = 0;
    const char *why = NULL;
    struct request *request = request_new(1, &source, &open, &code, &why);
    assert_non_null(request);
    int error = chain_begin(&chains, request, chain, &why);
    assert_int_equal(error == CULVERT_ERROR_LIMIT, why != NULL);
    assert_int_equal(error == 0, *chain != NULL);
    request_unref(request);
    return error;
}

static struct chain *begun(unsigned rule, const uint8_t *place, const char *pair)
{
    struct chain *chain = NULL;
    assert_int_equal(begin(rule, place, pair, &chain), 0);
    return chain;
}

static void test_the_second_visit_of_a_rule_is_refused(void **state)
{
    struct chain *refused = NULL;
    (void)state;
    struct chain *first = begun(1, HERE, "client a");
    chain_dialled(first, HERE, "dialled b");
    assert_int_equal(begin(1, HERE, "dialled b", &refused), CULVERT_ERROR_LIMIT);
    struct chain *second = begun(2, HERE, "dialled b");
    chain_dialled(second, HERE, "dialled c");
    assert_int_equal(begin(1, HERE, "dialled c", &refused), CULVERT_ERROR_LIMIT);
    assert_int_equal(begin(2, HERE, "dialled c", &refused), CULVERT_ERROR_LIMIT);
    chain_end(begun(1, HERE, "another"));
    chain_end(first);
    chain_end(second);
}

static void test_a_chain_has_eight_sessions_at_most(void **state)
{
    struct chain *links[CHAINS_MAX];
    struct chain *refused = NULL;
    char pair[32] = "client";
    (void)state;
    for (unsigned i = 0; i < CHAINS_MAX; i++) {
        links[i] = begun(i + 1, HERE, pair);
        snprintf(pair, sizeof(pair), "dialled %u", i);
        chain_dialled(links[i], HERE, pair);
    }
    assert_int_equal(begin(100, HERE, pair, &refused), CULVERT_ERROR_LIMIT);
    for (unsigned i = 0; i < CHAINS_MAX; i++)
        chain_end(links[i]);
}

/* The ack of the first comes after the open of the second. */
static void test_a_late_ack_counts_for_what_comes_next(void **state)
{
    struct chain *refused = NULL;
    (void)state;
    struct chain *first = begun(1, HERE, "client a");
    struct chain *second = begun(2, HERE, "dialled b");
    chain_dialled(second, HERE, "dialled c");
    chain_dialled(first, HERE, "dialled b");
    assert_int_equal(begin(1, HERE, "dialled c", &refused), CULVERT_ERROR_LIMIT);
    chain_end(first);
    /* It still counts for the session that continues it. */
    assert_int_equal(begin(1, HERE, "dialled c", &refused), CULVERT_ERROR_LIMIT);
    chain_end(second);
}

static void test_other_places_are_others(void **state)
{
    (void)state;
    struct chain *first = begun(1, HERE, "client a");
    chain_dialled(first, HERE, "dialled b");
    chain_end(begun(1, THERE, "dialled b"));
    chain_end(begun(1, NOWHERE, "dialled b"));
    chain_end(begun(1, NULL, "dialled b"));
    chain_end(begun(1, HERE, ""));
    chain_end(first);
    chain_end(begun(1, HERE, "dialled b"));
}

/* Agents may tell what they like: circles, and the same of several sessions. */
static void test_circles_and_claims(void **state)
{
    char far_too_long[400];
    (void)state;
    struct chain *first = begun(1, HERE, "p");
    struct chain *second = begun(2, HERE, "q");
    struct chain *twin = begun(3, HERE, "q");
    chain_dialled(first, HERE, "q");
    chain_dialled(first, HERE, "r");
    chain_dialled(twin, HERE, "q");
    chain_dialled(second, HERE, "p"); /* would close the circle */
    struct chain *own = begun(4, HERE, "s");
    chain_dialled(own, HERE, "s");
    memset(far_too_long, 'x', sizeof(far_too_long) - 1);
    far_too_long[sizeof(far_too_long) - 1] = '\0';
    chain_dialled(own, HERE, far_too_long);
    chain_dialled(own, NOWHERE, "t");
    chain_dialled(NULL, HERE, "t");
    chain_dialled(own, HERE, NULL);
    chain_end(own);
    chain_end(first);
    chain_end(second);
    chain_end(twin);
}

static void test_both_halves_end_once(void **state)
{
    (void)state;
    struct chain *chain = begun(1, HERE, "a");
    struct chain *half = chain_ref(chain);
    chain_dialled(half, HERE, "b");
    chain_end(chain);
    assert_int_equal(chains.pairs.count, 0);
    chain_end(half);
    assert_null(chain_ref(NULL));
    chain_end(NULL);
}

static void test_no_memory(void **state)
{
    (void)state;
    for (size_t i = 1;; i++) {
        struct chain *chain = NULL;
        const struct request_source source = {"agent1", "", "192.0.2.1:1", HERE};
        const struct message_open open = {.kind = text_of("tcp"),
                                          .agent = text_of("agent2"),
                                          .host = text_of("127.0.0.1"),
                                          .port = 1,
                                          .pair = text_of("a b")};
        int code = 0;
        const char *why = NULL;
        struct request *request = request_new(1, &source, &open, &code, &why);
        memory_fail_after(i);
        int error = chain_begin(&chains, request, &chain, &why);
        bool is_over = memory_fail_is_pending();
        memory_fail_after(0);
        assert_int_equal(error, is_over ? 0 : CULVERT_ERROR_NO_MEMORY);
        request_unref(request);
        chain_end(chain);
        if (is_over)
            break;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_the_second_visit_of_a_rule_is_refused, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_a_chain_has_eight_sessions_at_most, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_late_ack_counts_for_what_comes_next, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_other_places_are_others, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_circles_and_claims, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_both_halves_end_once, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_no_memory, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
