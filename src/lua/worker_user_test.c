#include "lua/worker_user.h"

#include "base/error.h"
#include "base/log.h"

#include <pwd.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static int find(const char *name, struct worker_user *user, char why[static 256])
{
    why[0] = '\0';
    return worker_user_find(name, user, why, 256);
}

static void test_the_default(void **state)
{
    (void)state;
    struct worker_user user;
    char why[256];
    assert_int_equal(find(NULL, &user, why), 0);
    if (geteuid() != 0)
        assert_false(user.is_other);
    /* Root in a namespace without other users keeps its own. */
    if (!user.is_other)
        return;
    const struct passwd *entry = getpwnam("culvert-lua");
    if (entry == NULL)
        entry = getpwnam("nobody");
    assert_int_equal(user.user, entry != NULL ? entry->pw_uid : 65534);
    assert_int_equal(user.group, entry != NULL ? entry->pw_gid : 65534);
}

static void test_the_own_user_needs_no_rights(void **state)
{
    (void)state;
    struct worker_user user;
    char why[256];
    const struct passwd *entry = getpwuid(geteuid());
    if (entry == NULL)
        return;
    assert_int_equal(find(entry->pw_name, &user, why), 0);
    assert_false(user.is_other);
}

static void test_a_user_that_is_not_there(void **state)
{
    (void)state;
    struct worker_user user;
    char why[256];
    assert_int_equal(find("no-such-user", &user, why), CULVERT_ERROR_NOT_FOUND);
    assert_non_null(strstr(why, "--lua-user: there is no user \"no-such-user\""));
    assert_int_equal(find("", &user, why), CULVERT_ERROR_NOT_FOUND);
}

static void test_another_user_needs_root(void **state)
{
    (void)state;
    struct worker_user user;
    char why[256];
    if (getpwnam("nobody") == NULL || getpwnam("nobody")->pw_uid == geteuid())
        return;
    int error = find("nobody", &user, why);
    if (error == 0) {
        assert_int_equal(geteuid(), 0);
        assert_true(user.is_other);
        assert_int_equal(user.user, getpwnam("nobody")->pw_uid);
    } else {
        assert_int_equal(error, CULVERT_ERROR_PERMISSION);
        assert_non_null(strstr(why, "cannot run as nobody"));
        assert_non_null(strstr(why, "start it as root"));
    }
}

static void test_numbers(void **state)
{
    (void)state;
    static const char *const wrong[] = {"",     ":",   "1",     "1:",           ":1",
                                        "1:-1", "a:1", "1:1:1", "4294967295:1", "1:4294967296",
                                        " 1:1", "1:1 "};
    struct worker_user user;
    assert_int_equal(worker_user_parse("65534:100", &user), 0);
    assert_true(user.is_other);
    assert_int_equal(user.user, 65534);
    assert_int_equal(user.group, 100);
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        if (worker_user_parse(wrong[i], &user) != CULVERT_ERROR_INVALID)
            fail_msg("\"%s\" was taken", wrong[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_default),
        cmocka_unit_test(test_the_own_user_needs_no_rights),
        cmocka_unit_test(test_a_user_that_is_not_there),
        cmocka_unit_test(test_another_user_needs_root),
        cmocka_unit_test(test_numbers),
    };
    log_init(LOG_ERROR, LOG_TEXT, "test");
    return cmocka_run_group_tests(tests, NULL, NULL);
}
