/* Logins with keys: whose key counts, and how long. */
#include "base/reason.h"
#include "gateway/probe.h"
#include "gateway/test_gateway.h"
#include "net/test_certificates.h"
#include "store/store.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

struct keys {
    struct test_gateway test;
    struct test_agent agent, other;
    struct store *store;
    char directory[TEST_PATH_SIZE];
    char key[STORE_KEY_TEXT_SIZE];
    char key_of_other[STORE_KEY_TEXT_SIZE];
};

static void begin(struct keys *keys)
{
    char why[512];
    memset(keys, 0, sizeof(*keys));
    test_certificates_open(keys->directory);
    assert_int_equal(store_open(keys->directory, &keys->store, why, sizeof(why)), 0);
    assert_int_equal(store_add(keys->store, "one", "alice", time(NULL), keys->key), 0);
    assert_int_equal(store_add(keys->store, "two", "bob", time(NULL), keys->key_of_other), 0);
    test_gateway_prepare(&keys->test);
    keys->test.config.open = false;
    keys->test.config.data = keys->directory;
    test_gateway_open(&keys->test);
    keys->agent.key = keys->other.key = keys->key;
}

static void end(struct keys *keys)
{
    test_agent_close(&keys->other);
    test_agent_close(&keys->agent);
    test_gateway_close(&keys->test);
    store_close(keys->store);
    test_certificates_close(keys->directory);
}

static void register_it(struct keys *keys)
{
    test_agent_register(&keys->agent, &keys->test, "one");
    assert_int_equal(keys->agent.welcomes, 1);
}

static struct member *member_of(struct keys *keys)
{
    return test_gateway_member(&keys->test, "one");
}

static void freeze(struct keys *keys)
{
    struct carrier *carrier = keys->agent.tunnel->carrier;
    carrier->operations->read(carrier, false);
}

static bool is_asked(void *holder)
{
    struct keys *keys = holder;
    return member_of(keys)->probes.is_out;
}

static bool other_is_answered(void *holder)
{
    const struct keys *keys = holder;
    return keys->other.welcomes > 0 || keys->other.lost != 0;
}

static bool nobody_is_there(void *holder)
{
    return member_of(holder) == NULL;
}

static void a_key_opens_its_own_name(void **state)
{
    (void)state;
    struct keys keys;
    begin(&keys);
    register_it(&keys);
    assert_string_equal(member_of(&keys)->user, "alice");
    assert_true(member_of(&keys)->key_id != 0);
    end(&keys);
}

static void other_keys_are_refused_alike(void **state)
{
    (void)state;
    for (int i = 0; i < 3; i++) {
        struct keys keys;
        begin(&keys);
        char wrong[STORE_KEY_TEXT_SIZE];
        memcpy(wrong, keys.key, sizeof(wrong));
        wrong[10] = wrong[10] == 'A' ? 'B' : 'A';
        const char *const tries[] = {NULL, wrong, keys.key_of_other};
        keys.agent.key = tries[i];
        test_agent_register(&keys.agent, &keys.test, "one");
        assert_int_equal(keys.agent.welcomes, 0);
        assert_int_equal(keys.agent.refused, REASON_FORBIDDEN);
        assert_string_equal(keys.agent.refusal, "the key is not valid for this name");
        assert_null(member_of(&keys));
        end(&keys);
    }
}

/* The holder of the name does not answer: the other's key is looked at once more. */
static void a_name_that_became_free_needs_the_key_still(void **state)
{
    (void)state;
    struct keys keys;
    begin(&keys);
    register_it(&keys);
    freeze(&keys);
    test_agent_dial(&keys.other, &keys.test, "one");
    test_gateway_run(&keys.test, is_asked, &keys);
    struct member *member = member_of(&keys);
    uint64_t id = member->id;
    member->timer.fired(&member->timer);
    test_gateway_run(&keys.test, other_is_answered, &keys);
    assert_int_equal(keys.other.welcomes, 1);
    assert_int_not_equal(member_of(&keys)->id, id);
    end(&keys);
}

static void a_key_that_is_revoked_meanwhile_opens_nothing(void **state)
{
    (void)state;
    struct keys keys;
    begin(&keys);
    register_it(&keys);
    freeze(&keys);
    test_agent_dial(&keys.other, &keys.test, "one");
    test_gateway_run(&keys.test, is_asked, &keys);
    assert_int_equal(store_revoke(keys.store, "one"), 0);
    /* The holder loses its key, the name is free, and the other's key is none any more. */
    test_gateway_run(&keys.test, other_is_answered, &keys);
    assert_int_equal(keys.other.welcomes, 0);
    assert_int_equal(keys.other.refused, REASON_FORBIDDEN);
    assert_null(member_of(&keys));
    end(&keys);
}

static void a_revoked_key_ends_its_agent_alone(void **state)
{
    (void)state;
    struct keys keys;
    begin(&keys);
    register_it(&keys);
    keys.other.key = keys.key_of_other;
    test_agent_register(&keys.other, &keys.test, "two");
    assert_int_equal(store_revoke(keys.store, "one"), 0);
    test_gateway_run(&keys.test, nobody_is_there, &keys);
    test_gateway_settle(&keys.test);
    assert_string_equal(keys.agent.why, "its key was revoked or has expired");
    assert_non_null(test_gateway_member(&keys.test, "two"));
    assert_int_equal(keys.other.lost, 0);
    end(&keys);
}

static bool is_resumed(void *holder)
{
    const struct keys *keys = holder;
    return keys->agent.welcomes == 2;
}

static void a_link_goes_on_with_another_key_of_its_name(void **state)
{
    (void)state;
    struct keys keys;
    char second[STORE_KEY_TEXT_SIZE];
    begin(&keys);
    register_it(&keys);
    int64_t before = member_of(&keys)->key_id;
    assert_int_equal(store_rotate(keys.store, "one", time(NULL), 3600, second), 0);
    test_agent_cut(&keys.agent);
    keys.agent.key = second;
    test_agent_rejoin(&keys.agent);
    test_gateway_run(&keys.test, is_resumed, &keys);
    assert_true(member_of(&keys)->key_id != before);
    assert_string_equal(member_of(&keys)->user, "alice");
    end(&keys);
}

static bool is_refused(void *holder)
{
    const struct keys *keys = holder;
    return keys->agent.refused != 0;
}

static void a_link_does_not_go_on_with_a_wrong_key(void **state)
{
    (void)state;
    struct keys keys;
    begin(&keys);
    register_it(&keys);
    test_agent_cut(&keys.agent);
    keys.agent.key = keys.key_of_other;
    test_agent_rejoin(&keys.agent);
    test_gateway_run(&keys.test, is_refused, &keys);
    assert_int_equal(keys.agent.refused, REASON_FORBIDDEN);
    assert_int_equal(keys.agent.welcomes, 1);
    assert_true(member_of(&keys)->detached != 0);
    end(&keys);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_key_opens_its_own_name),
        cmocka_unit_test(other_keys_are_refused_alike),
        cmocka_unit_test(a_name_that_became_free_needs_the_key_still),
        cmocka_unit_test(a_key_that_is_revoked_meanwhile_opens_nothing),
        cmocka_unit_test(a_revoked_key_ends_its_agent_alone),
        cmocka_unit_test(a_link_goes_on_with_another_key_of_its_name),
        cmocka_unit_test(a_link_does_not_go_on_with_a_wrong_key),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
