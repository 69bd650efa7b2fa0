#include "base/file_access.h"

#include "base/error.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

enum { US = 998, OUR_GROUP = 998, SSL_CERT = 109, OTHER = 1000 };

static const gid_t groups[] = {OUR_GROUP, SSL_CERT};
static const struct file_reader reader = {US, groups, 2};

static void judge(struct file_access access, const char *objection)
{
    char why[256] = "";
    int error = file_access_judge(&access, &reader, why, sizeof why);
    assert_int_equal(error, objection == NULL ? 0 : CULVERT_ERROR_PERMISSION);
    if (objection == NULL)
        assert_string_equal(why, "");
    else if (strstr(why, objection) == NULL)
        fail_msg("\"%s\" does not say \"%s\"", why, objection);
}

static void judge_mode(uid_t owner, gid_t group, mode_t mode, const char *objection)
{
    judge((struct file_access){.owner = owner, .group = group, .mode = S_IFREG | mode}, objection);
}

static void test_an_owner_is_root_or_the_reader(void **state)
{
    (void)state;
    judge_mode(US, OUR_GROUP, 0600, NULL);
    judge_mode(US, OTHER, 0400, NULL);
    judge_mode(0, 0, 0600, NULL);
    judge_mode(OTHER, OTHER, 0600, "belongs to user 1000");
    judge_mode(OTHER, OUR_GROUP, 0040, "belongs to user 1000");
}

static void test_others_have_no_access(void **state)
{
    (void)state;
    judge_mode(US, OUR_GROUP, 0644, "all users may read it (mode 0644)");
    judge_mode(0, 0, 0604, "all users may read it");
    judge_mode(US, OUR_GROUP, 0602, "all users may write it");
    judge_mode(US, OUR_GROUP, 0711, NULL);
}

static void test_a_group_of_the_readers_may_read(void **state)
{
    (void)state;
    judge_mode(0, SSL_CERT, 0640, NULL);
    judge_mode(US, OUR_GROUP, 0440, NULL);
    judge_mode(0, 0, 0440, "group 0 may read it");
    judge_mode(US, OTHER, 0640, "group 1000 may read it");
    judge_mode(0, SSL_CERT, 0660, "group 109 may write it");
    judge_mode(US, OTHER, 0620, "group 1000 may write it");
}

/* ---- ACLs ---- */

struct entry {
    unsigned tag, permissions;
    uint32_t id;
};

enum { USER_OWNER = 1, USER = 2, GROUP_OWNER = 4, GROUP = 8, MASK = 16, OTHERS = 32 };

static size_t encode(const struct entry *entries, uint8_t *out)
{
    size_t size = 4;
    memcpy(out, "\2\0\0\0", 4);
    for (; entries->tag != 0; entries++) {
        const uint8_t bytes[] = {(uint8_t)entries->tag,         0,
                                 (uint8_t)entries->permissions, 0,
                                 (uint8_t)entries->id,          (uint8_t)(entries->id >> 8),
                                 (uint8_t)(entries->id >> 16),  (uint8_t)(entries->id >> 24)};
        memcpy(out + size, bytes, sizeof bytes);
        size += sizeof bytes;
    }
    return size;
}

static void judge_acl(const struct entry *entries, const char *objection)
{
    uint8_t acl[128];
    size_t size = encode(entries, acl);
    judge((struct file_access){.mode = S_IFREG | 0440, .acl = acl, .acl_size = size}, objection);
}

static void test_a_systemd_credential(void **state)
{
    (void)state;
    judge_acl((const struct entry[]){{USER_OWNER, 4, 0},
                                     {USER, 4, US},
                                     {GROUP_OWNER, 0, 0},
                                     {MASK, 4, 0},
                                     {OTHERS, 0, 0},
                                     {0, 0, 0}},
              NULL);
}

static void test_an_acl_that_lets_others_in(void **state)
{
    (void)state;
    judge_acl((const struct entry[]){{USER, 4, US}, {USER, 4, OTHER}, {MASK, 4, 0}, {0, 0, 0}},
              "lets user 1000 read it");
    judge_acl((const struct entry[]){{USER, 2, OTHER}, {MASK, 7, 0}, {0, 0, 0}},
              "lets user 1000 write it");
    judge_acl((const struct entry[]){{GROUP_OWNER, 4, 0}, {MASK, 4, 0}, {0, 0, 0}},
              "group 0 may read it");
    judge_acl((const struct entry[]){{GROUP, 4, OTHER}, {MASK, 4, 0}, {0, 0, 0}},
              "group 1000 may read it");
    judge_acl((const struct entry[]){{GROUP, 6, SSL_CERT}, {MASK, 6, 0}, {0, 0, 0}},
              "group 109 may write it");
}

static void test_what_a_mask_takes_away(void **state)
{
    (void)state;
    judge_acl((const struct entry[]){{USER, 6, OTHER}, {MASK, 0, 0}, {0, 0, 0}}, NULL);
    judge_acl((const struct entry[]){{GROUP, 6, SSL_CERT}, {MASK, 4, 0}, {0, 0, 0}}, NULL);
    judge_acl((const struct entry[]){{GROUP_OWNER, 4, 0}, {0, 0, 0}}, "group 0 may read it");
}

static void test_an_acl_of_another_form(void **state)
{
    (void)state;
    static const uint8_t acl[12] = {3};
    static const uint8_t cut[11] = {2};
    struct file_access access = {.mode = S_IFREG | 0400, .acl = acl, .acl_size = sizeof acl};
    judge(access, "unknown form");
    access.acl = cut;
    access.acl_size = sizeof cut;
    judge(access, "unknown form");
    access.acl_size = 3;
    judge(access, "unknown form");
}

/* ---- writers ---- */

static void judge_writers(struct file_access access, const char *objection)
{
    char why[256] = "";
    int error = file_access_judge_writers(&access, &reader, "/etc/p.acl", why, sizeof why);
    assert_int_equal(error, objection == NULL ? 0 : CULVERT_ERROR_PERMISSION);
    if (objection == NULL)
        assert_string_equal(why, "");
    else
        assert_non_null(strstr(why, objection));
}

static void judge_writers_of_mode(uid_t owner, gid_t group, mode_t mode, const char *objection)
{
    judge_writers((struct file_access){.owner = owner, .group = group, .mode = S_IFREG | mode},
                  objection);
}

static void test_who_may_write(void **state)
{
    (void)state;
    judge_writers_of_mode(US, OUR_GROUP, 0644, NULL);
    judge_writers_of_mode(0, OTHER, 0755, NULL);
    judge_writers_of_mode(US, OUR_GROUP, 0666,
                          "all users may write it (mode 0666): run chmod go-w /etc/p.acl");
    judge_writers_of_mode(US, OUR_GROUP, 0602, "all users may write it (mode 0602)");
    /* Also a group of ours: its other members are others. */
    judge_writers_of_mode(US, OUR_GROUP, 0664,
                          "group 998 may write it (mode 0664): run chmod go-w /etc/p.acl");
    judge_writers_of_mode(0, OTHER, 0620, "group 1000 may write it");
    judge_writers_of_mode(OTHER, OUR_GROUP, 0600, "belongs to user 1000");
    judge_writers_of_mode(OTHER, OUR_GROUP, 0600, "run chown 998 /etc/p.acl");
}

static void judge_acl_writers(const struct entry *entries, const char *objection)
{
    uint8_t acl[128];
    size_t size = encode(entries, acl);
    judge_writers((struct file_access){.mode = S_IFREG | 0460, .acl = acl, .acl_size = size},
                  objection);
}

static void test_who_may_write_by_an_acl(void **state)
{
    (void)state;
    static const uint8_t unknown[12] = {3};
    judge_acl_writers(
        (const struct entry[]){
            {USER, 6, US}, {USER, 6, 0}, {USER, 4, OTHER}, {MASK, 6, 0}, {0, 0, 0}},
        NULL);
    judge_acl_writers((const struct entry[]){{USER, 6, OTHER}, {MASK, 4, 0}, {0, 0, 0}}, NULL);
    judge_acl_writers((const struct entry[]){{USER, 6, OTHER}, {MASK, 6, 0}, {0, 0, 0}},
                      "user 1000 may write it");
    judge_acl_writers((const struct entry[]){{GROUP, 2, OTHER}, {MASK, 6, 0}, {0, 0, 0}},
                      "group 1000 may write it");
    judge_acl_writers((const struct entry[]){{GROUP_OWNER, 2, 0}, {0, 0, 0}},
                      "group 0 may write it");
    judge_writers((struct file_access){.mode = 0400, .acl = unknown, .acl_size = sizeof unknown},
                  "setfacl -b /etc/p.acl");
}

/* ---- files ---- */

static void test_a_file_of_this_process(void **state)
{
    (void)state;
    char path[] = "/tmp/culvert-access-XXXXXX";
    char why[256] = "";
    int file = mkstemp(path);
    assert_true(file >= 0);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(file_access_check(file, why, sizeof why), 0);
    assert_int_equal(fchmod(file, 0640), 0);
    assert_int_equal(file_access_check(file, why, sizeof why), 0);
    assert_int_equal(fchmod(file, 0644), 0);
    assert_int_equal(file_access_check(file, why, sizeof why), CULVERT_ERROR_PERMISSION);
    assert_non_null(strstr(why, "0644"));
    assert_int_equal(file_access_check_writers(file, path, why, sizeof why), 0);
    assert_int_equal(fchmod(file, 0622), 0);
    assert_int_equal(file_access_check_writers(file, path, why, sizeof why),
                     CULVERT_ERROR_PERMISSION);
    assert_non_null(strstr(why, "chmod go-w"));
    close(file);
    assert_true(file_access_check(file, why, sizeof why) < 0);
    assert_true(file_access_check_writers(file, path, why, sizeof why) < 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_an_owner_is_root_or_the_reader),
        cmocka_unit_test(test_others_have_no_access),
        cmocka_unit_test(test_a_group_of_the_readers_may_read),
        cmocka_unit_test(test_a_systemd_credential),
        cmocka_unit_test(test_an_acl_that_lets_others_in),
        cmocka_unit_test(test_what_a_mask_takes_away),
        cmocka_unit_test(test_an_acl_of_another_form),
        cmocka_unit_test(test_who_may_write),
        cmocka_unit_test(test_who_may_write_by_an_acl),
        cmocka_unit_test(test_a_file_of_this_process),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
