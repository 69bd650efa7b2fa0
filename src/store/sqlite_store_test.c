#include "store/store.h"

#include "base/error.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

enum { NOW = 1000000, DAY = 86400 };

struct fixture {
    char root[64];      /* removed at the end */
    char directory[80]; /* of the store, in root */
    char file[100];
    struct store *store;
    char why[1024];
};

static int set_up(void **state)
{
    static struct fixture fixture;
    fixture = (struct fixture){.root = "/tmp/culvert-store-XXXXXX"};
    if (mkdtemp(fixture.root) == NULL)
        return -1;
    snprintf(fixture.directory, sizeof fixture.directory, "%s/a/b", fixture.root);
    snprintf(fixture.file, sizeof fixture.file, "%s/culvert.db", fixture.directory);
    *state = &fixture;
    return 0;
}

static int remove_entry(const char *path, const struct stat *status, int type, struct FTW *walk)
{
    (void)status;
    (void)type;
    (void)walk;
    return remove(path);
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;
    store_close(fixture->store);
    return nftw(fixture->root, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
}

static struct store *open_another(struct fixture *fixture)
{
    struct store *store = NULL;
    if (store_open(fixture->directory, &store, fixture->why, sizeof fixture->why) != 0)
        fail_msg("%s", fixture->why);
    return store;
}

static void open_store(struct fixture *fixture)
{
    fixture->store = open_another(fixture);
}

static int check_key(struct store *store, const char *name, const char *key, int64_t now)
{
    struct store_finding owner = {0};
    int error = store_check(store, name, key, strlen(key), now, &owner);
    if (error == 0)
        assert_true(owner.id > 0);
    return error;
}

static unsigned mode_of(const char *path)
{
    struct stat status;
    assert_int_equal(stat(path, &status), 0);
    return (unsigned)status.st_mode & 07777U;
}

static void test_a_key_is_added_and_checked(void **state)
{
    struct fixture *fixture = *state;
    char key[STORE_KEY_TEXT_SIZE];
    open_store(fixture);
    assert_int_equal(store_add(fixture->store, "agent1", "ada", NOW, key), 0);
    assert_int_equal(strlen(key), 47);
    assert_memory_equal(key, "cvk_", 4);
    assert_int_equal(strspn(key + 4, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
                                     "0123456789-_"),
                     43);
    assert_int_equal(check_key(fixture->store, "agent1", key, NOW), 0);
    assert_int_equal(check_key(fixture->store, "agent2", key, NOW), CULVERT_ERROR_REFUSED);
    assert_int_equal(check_key(fixture->store, "Agent1", key, NOW), CULVERT_ERROR_REFUSED);
    assert_int_equal(check_key(fixture->store, "agent1", "", NOW), CULVERT_ERROR_REFUSED);
    key[10] = (char)(key[10] == 'A' ? 'B' : 'A');
    assert_int_equal(check_key(fixture->store, "agent1", key, NOW), CULVERT_ERROR_REFUSED);
}

static void test_a_check_tells_the_user(void **state)
{
    struct fixture *fixture = *state;
    char key[STORE_KEY_TEXT_SIZE];
    char longest[STORE_NAME_SIZE] = "";
    struct store_finding owner;
    open_store(fixture);
    assert_int_equal(store_add(fixture->store, "agent1", "ada", NOW, key), 0);
    assert_int_equal(store_check(fixture->store, "agent1", key, strlen(key), NOW, &owner), 0);
    assert_string_equal(owner.user, "ada");
    assert_int_equal(store_rotate(fixture->store, "agent1", NOW, DAY, key), 0);
    owner = (struct store_finding){0};
    assert_int_equal(store_check(fixture->store, "agent1", key, strlen(key), NOW, &owner), 0);
    assert_string_equal(owner.user, "ada");

    assert_int_equal(store_add(fixture->store, "agent2", "", NOW, key), 0);
    assert_int_equal(store_check(fixture->store, "agent2", key, strlen(key), NOW, &owner), 0);
    assert_string_equal(owner.user, "");
    memset(longest, 'u', sizeof longest - 1);
    assert_int_equal(store_add(fixture->store, "agent3", longest, NOW, key), 0);
    assert_int_equal(store_check(fixture->store, "agent3", key, strlen(key), NOW, &owner), 0);
    assert_string_equal(owner.user, longest);
}

static void test_keys_differ(void **state)
{
    struct fixture *fixture = *state;
    char a[STORE_KEY_TEXT_SIZE];
    char b[STORE_KEY_TEXT_SIZE];
    open_store(fixture);
    assert_int_equal(store_add(fixture->store, "a", "", NOW, a), 0);
    assert_int_equal(store_add(fixture->store, "b", "", NOW, b), 0);
    assert_string_not_equal(a, b);
    assert_int_equal(check_key(fixture->store, "a", b, NOW), CULVERT_ERROR_REFUSED);
}

static void test_the_key_itself_is_not_in_the_file(void **state)
{
    struct fixture *fixture = *state;
    char key[STORE_KEY_TEXT_SIZE];
    static char bytes[200000];
    open_store(fixture);
    assert_int_equal(store_add(fixture->store, "agent1", "", NOW, key), 0);
    store_close(fixture->store);
    fixture->store = NULL;
    FILE *file = fopen(fixture->file, "rb");
    assert_non_null(file);
    size_t size = fread(bytes, 1, sizeof bytes, file);
    fclose(file);
    assert_non_null(memmem(bytes, size, "agent1", 6));
    assert_null(memmem(bytes, size, key + 4, 20));
    assert_null(memmem(bytes, size, "cvk_", 4));
}

static void test_a_name_has_one_key_unless_rotated(void **state)
{
    struct fixture *fixture = *state;
    char key[STORE_KEY_TEXT_SIZE];
    open_store(fixture);
    assert_int_equal(store_add(fixture->store, "agent1", "", NOW, key), 0);
    assert_int_equal(store_add(fixture->store, "agent1", "", NOW, key), CULVERT_ERROR_EXISTS);
    assert_int_equal(store_add(fixture->store, "gateway", "", NOW, key), CULVERT_ERROR_INVALID);
    assert_int_equal(store_add(fixture->store, "a b", "", NOW, key), CULVERT_ERROR_INVALID);
    assert_int_equal(store_add(fixture->store, "", "", NOW, key), CULVERT_ERROR_INVALID);
    assert_int_equal(store_add(fixture->store, "b", "a\nb", NOW, key), CULVERT_ERROR_INVALID);
    assert_true(store_message(fixture->store)[0] != '\0');
    assert_int_equal(store_rotate(fixture->store, "nobody", NOW, 0, key), CULVERT_ERROR_NOT_FOUND);
    assert_non_null(strstr(store_message(fixture->store), ": the name has no key"));
}

static void test_rotation_lets_the_old_key_live_for_the_grace(void **state)
{
    struct fixture *fixture = *state;
    char old[STORE_KEY_TEXT_SIZE];
    char new[STORE_KEY_TEXT_SIZE];
    char newest[STORE_KEY_TEXT_SIZE];
    open_store(fixture);
    assert_int_equal(store_rotate(fixture->store, "agent1", NOW, DAY, new),
                     CULVERT_ERROR_NOT_FOUND);
    assert_int_equal(store_add(fixture->store, "agent1", "", NOW, old), 0);
    assert_int_equal(store_rotate(fixture->store, "agent1", NOW, DAY, new), 0);
    assert_int_equal(check_key(fixture->store, "agent1", old, NOW + DAY - 1), 0);
    assert_int_equal(check_key(fixture->store, "agent1", old, NOW + DAY), CULVERT_ERROR_REFUSED);
    assert_int_equal(check_key(fixture->store, "agent1", new, NOW + DAY), 0);
    /* A second rotation does not lengthen the first one's grace. */
    assert_int_equal(store_rotate(fixture->store, "agent1", NOW + 10, 2 * DAY, newest), 0);
    assert_int_equal(check_key(fixture->store, "agent1", old, NOW + DAY), CULVERT_ERROR_REFUSED);
    assert_int_equal(check_key(fixture->store, "agent1", new, NOW + 9 + 2 * DAY), 0);
    assert_int_equal(check_key(fixture->store, "agent1", new, NOW + 10 + 2 * DAY),
                     CULVERT_ERROR_REFUSED);
    assert_int_equal(check_key(fixture->store, "agent1", newest, INT64_MAX), 0);
}

static void test_rotation_without_grace_and_for_ever(void **state)
{
    struct fixture *fixture = *state;
    char old[STORE_KEY_TEXT_SIZE];
    char new[STORE_KEY_TEXT_SIZE];
    open_store(fixture);
    assert_int_equal(store_add(fixture->store, "a", "", NOW, old), 0);
    assert_int_equal(store_rotate(fixture->store, "a", NOW, 0, new), 0);
    assert_int_equal(check_key(fixture->store, "a", old, NOW), CULVERT_ERROR_REFUSED);
    assert_int_equal(check_key(fixture->store, "a", new, NOW), 0);
    assert_int_equal(store_rotate(fixture->store, "a", NOW, INT64_MAX, old), 0);
    assert_int_equal(check_key(fixture->store, "a", new, INT64_MAX - 1), 0);
}

static void test_the_keys_of_a_name_are_bounded(void **state)
{
    struct fixture *fixture = *state;
    char key[STORE_KEY_TEXT_SIZE];
    open_store(fixture);
    assert_int_equal(store_add(fixture->store, "a", "", NOW, key), 0);
    for (int i = 1; i < STORE_KEYS_OF_NAME; i++)
        assert_int_equal(store_rotate(fixture->store, "a", NOW, DAY, key), 0);
    assert_int_equal(store_rotate(fixture->store, "a", NOW, DAY, key), CULVERT_ERROR_LIMIT);
    assert_int_equal(store_rotate(fixture->store, "a", NOW + DAY, DAY, key), 0);
}

static void test_revocation_is_seen_through_another_connection(void **state)
{
    struct fixture *fixture = *state;
    char key[STORE_KEY_TEXT_SIZE];
    struct store_finding owner;
    int64_t before = 0;
    int64_t after = 0;
    open_store(fixture);
    struct store *other = open_another(fixture);
    assert_int_equal(store_add(other, "agent1", "", NOW, key), 0);
    assert_int_equal(store_check(fixture->store, "agent1", key, strlen(key), NOW, &owner), 0);
    assert_int_equal(store_is_live(fixture->store, owner.id, NOW), 1);
    assert_int_equal(store_version(fixture->store, &before), 0);
    assert_int_equal(store_version(fixture->store, &after), 0);
    assert_true(before == after);

    assert_int_equal(store_revoke(other, "agent1"), 0);
    assert_int_equal(store_version(fixture->store, &after), 0);
    assert_true(before != after);
    assert_int_equal(store_is_live(fixture->store, owner.id, NOW), 0);
    assert_int_equal(check_key(fixture->store, "agent1", key, NOW), CULVERT_ERROR_REFUSED);
    assert_int_equal(store_revoke(other, "agent1"), CULVERT_ERROR_NOT_FOUND);
    store_close(other);
}

static void test_own_writes_change_the_version(void **state)
{
    struct fixture *fixture = *state;
    char key[STORE_KEY_TEXT_SIZE];
    int64_t versions[3];
    open_store(fixture);
    assert_int_equal(store_version(fixture->store, &versions[0]), 0);
    assert_int_equal(store_add(fixture->store, "a", "", NOW, key), 0);
    assert_int_equal(store_version(fixture->store, &versions[1]), 0);
    assert_int_equal(store_revoke(fixture->store, "a"), 0);
    assert_int_equal(store_version(fixture->store, &versions[2]), 0);
    assert_true(versions[0] != versions[1]);
    assert_true(versions[1] != versions[2]);
}

static void test_an_id_is_never_used_again(void **state)
{
    struct fixture *fixture = *state;
    char key[STORE_KEY_TEXT_SIZE];
    struct store_finding owners[2];
    open_store(fixture);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(store_add(fixture->store, "a", "", NOW, key), 0);
        assert_int_equal(store_check(fixture->store, "a", key, strlen(key), NOW, &owners[i]), 0);
        assert_int_equal(store_revoke(fixture->store, "a"), 0);
    }
    assert_true(owners[1].id > owners[0].id);
}

static void test_expiry(void **state)
{
    struct fixture *fixture = *state;
    char key[STORE_KEY_TEXT_SIZE];
    struct store_finding owner;
    int64_t when = 0;
    open_store(fixture);
    assert_int_equal(store_add(fixture->store, "a", "", NOW, key), 0);
    assert_int_equal(store_check(fixture->store, "a", key, strlen(key), NOW, &owner), 0);
    assert_int_equal(store_next_expiry(fixture->store, NOW, &when), 0);
    assert_true(when == INT64_MAX);
    assert_int_equal(store_rotate(fixture->store, "a", NOW, DAY, key), 0);
    assert_int_equal(store_next_expiry(fixture->store, NOW, &when), 0);
    assert_true(when == NOW + DAY);
    assert_int_equal(store_next_expiry(fixture->store, NOW + DAY, &when), 0);
    assert_true(when == INT64_MAX);
    assert_int_equal(store_is_live(fixture->store, owner.id, NOW + DAY - 1), 1);
    assert_int_equal(store_is_live(fixture->store, owner.id, NOW + DAY), 0);
}

struct listing {
    size_t count;
    struct store_key keys[8];
};

static void note_key(void *context, const struct store_key *key)
{
    struct listing *listing = context;
    assert_true(listing->count < 8);
    listing->keys[listing->count++] = *key;
}

static void test_list(void **state)
{
    struct fixture *fixture = *state;
    char key[STORE_KEY_TEXT_SIZE];
    struct listing listing = {0};
    open_store(fixture);
    assert_int_equal(store_add(fixture->store, "b", "", NOW, key), 0);
    assert_int_equal(store_add(fixture->store, "a", "ada", NOW + 1, key), 0);
    assert_int_equal(store_rotate(fixture->store, "a", NOW + 2, DAY, key), 0);
    assert_int_equal(store_list(fixture->store, NOW + 3, note_key, &listing), 0);
    assert_int_equal(listing.count, 3);
    assert_string_equal(listing.keys[0].name, "a");
    assert_string_equal(listing.keys[0].user, "ada");
    assert_int_equal(listing.keys[0].created, NOW + 1);
    assert_int_equal(listing.keys[0].expires, NOW + 2 + DAY);
    assert_string_equal(listing.keys[1].user, "ada");
    assert_int_equal(listing.keys[1].expires, 0);
    assert_string_equal(listing.keys[2].name, "b");
    listing.count = 0;
    assert_int_equal(store_list(fixture->store, NOW + 2 + DAY, note_key, &listing), 0);
    assert_int_equal(listing.count, 2);
}

static void test_modes_whatever_the_umask(void **state)
{
    struct fixture *fixture = *state;
    static const mode_t masks[] = {0, 0777};
    char path[128];
    char key[STORE_KEY_TEXT_SIZE];
    for (size_t i = 0; i < 2; i++) {
        snprintf(fixture->directory, sizeof fixture->directory, "%s/%zu/b", fixture->root, i);
        mode_t before = umask(masks[i]);
        struct store *store = open_another(fixture);
        assert_int_equal(store_add(store, "a", "", NOW, key), 0);
        umask(before);
        assert_int_equal(mode_of(fixture->directory), 0700);
        snprintf(path, sizeof path, "%s/culvert.db", fixture->directory);
        assert_int_equal(mode_of(path), 0600);
        snprintf(path, sizeof path, "%s/culvert.db-wal", fixture->directory);
        assert_int_equal(mode_of(path), 0600);
        snprintf(path, sizeof path, "%s/culvert.db-shm", fixture->directory);
        assert_int_equal(mode_of(path), 0600);
        store_close(store);
    }
}

static void check_cannot_open(struct fixture *fixture, int expected, const char *piece_of_why)
{
    struct store *store = NULL;
    int error = store_open(fixture->directory, &store, fixture->why, sizeof fixture->why);
    if (error != expected || strstr(fixture->why, piece_of_why) == NULL)
        fail_msg("%d, \"%s\"", error, fixture->why);
    assert_null(store);
}

static void test_a_file_that_others_may_read_is_refused(void **state)
{
    struct fixture *fixture = *state;
    open_store(fixture);
    assert_int_equal(chmod(fixture->file, 0640), 0);
    check_cannot_open(fixture, CULVERT_ERROR_PERMISSION, "0600");
    assert_non_null(strstr(fixture->why, fixture->file));
    assert_int_equal(chmod(fixture->file, 0604), 0);
    check_cannot_open(fixture, CULVERT_ERROR_PERMISSION, "0600");
    assert_int_equal(chmod(fixture->file, 0600), 0);
    store_close(open_another(fixture));
}

static void test_a_directory_that_others_may_write_is_refused(void **state)
{
    struct fixture *fixture = *state;
    open_store(fixture);
    assert_int_equal(chmod(fixture->directory, 0777), 0);
    check_cannot_open(fixture, CULVERT_ERROR_PERMISSION, "(mode 0777): run chmod go-w");
    assert_non_null(strstr(fixture->why, fixture->directory));
    assert_int_equal(chmod(fixture->directory, 0770), 0);
    check_cannot_open(fixture, CULVERT_ERROR_PERMISSION, "group");
    assert_int_equal(chmod(fixture->directory, 0755), 0);
    store_close(open_another(fixture));
}

/* As root, to whom every file is open. */
static void test_a_store_of_another_user_is_refused(void **state)
{
    struct fixture *fixture = *state;
    open_store(fixture);
    if (geteuid() != 0)
        return;
    assert_int_equal(chown(fixture->file, 64001, 0), 0);
    check_cannot_open(fixture, CULVERT_ERROR_PERMISSION, "belongs to user 64001");
    assert_non_null(strstr(fixture->why, fixture->file));
    assert_int_equal(chown(fixture->file, 0, 64001), 0);
    store_close(open_another(fixture));
    assert_int_equal(chown(fixture->directory, 64001, 0), 0);
    check_cannot_open(fixture, CULVERT_ERROR_PERMISSION, "it belongs to user 64001");
    assert_non_null(strstr(fixture->why, fixture->directory));
}

static void write_file(const char *path, size_t offset, const char *bytes, size_t size)
{
    int file = open(path, O_WRONLY | O_CREAT, 0600);
    assert_true(file >= 0);
    assert_int_equal(pwrite(file, bytes, size, (off_t)offset), size);
    close(file);
}

static void test_a_damaged_file_is_told(void **state)
{
    struct fixture *fixture = *state;
    static char garbage[8192];
    memset(garbage, 'x', sizeof garbage);
    store_close(open_another(fixture));
    write_file(fixture->file, 0, garbage, sizeof garbage);
    check_cannot_open(fixture, CULVERT_ERROR_STORE, "damaged");
    assert_non_null(strstr(fixture->why, fixture->file));
}

static void test_damaged_pages_are_told(void **state)
{
    struct fixture *fixture = *state;
    static char garbage[8192];
    char key[STORE_KEY_TEXT_SIZE];
    memset(garbage, 'x', sizeof garbage);
    store_close(open_another(fixture));
    write_file(fixture->file, 4096, garbage, sizeof garbage);
    open_store(fixture);
    assert_int_equal(store_add(fixture->store, "a", "", NOW, key), CULVERT_ERROR_STORE);
    assert_non_null(strstr(store_message(fixture->store), "damaged"));
}

static void test_what_is_no_store_is_left_alone(void **state)
{
    struct fixture *fixture = *state;
    /* user_version stands big-endian at 60, application_id at 68 of the header (SQLite's file
     * format, §1.3). */
    store_close(open_another(fixture));
    write_file(fixture->file, 60, "\0\0\0\2", 4);
    check_cannot_open(fixture, CULVERT_ERROR_STORE, "newer culvert");
    write_file(fixture->file, 68, "\1\1\1\1", 4);
    check_cannot_open(fixture, CULVERT_ERROR_STORE, "another program");
    write_file(fixture->file, 60, "\0\0\0\0\0\0\0\0\0\0\0\0", 12);
    check_cannot_open(fixture, CULVERT_ERROR_STORE, "another program");
}

static void test_a_removed_file_is_told(void **state)
{
    struct fixture *fixture = *state;
    int64_t version;
    open_store(fixture);
    assert_int_equal(store_version(fixture->store, &version), 0);
    assert_int_equal(remove(fixture->file), 0);
    assert_int_equal(store_version(fixture->store, &version), CULVERT_ERROR_STORE);
    assert_non_null(strstr(store_message(fixture->store), "moved or removed"));
}

static void test_a_directory_that_cannot_be(void **state)
{
    struct fixture *fixture = *state;
    snprintf(fixture->directory, sizeof fixture->directory, "%s/file", fixture->root);
    write_file(fixture->directory, 0, "x", 1);
    check_cannot_open(fixture, -ENOTDIR, "cannot make the store in");
    snprintf(fixture->directory, sizeof fixture->directory, "%s/file/b", fixture->root);
    check_cannot_open(fixture, -ENOTDIR, fixture->directory);
}

static void test_a_directory_that_is_not_writable(void **state)
{
    struct fixture *fixture = *state;
    int status = 0;
    /* Root may write everywhere, so the attempt is made as another user, in a process of its own.
     */
    assert_int_equal(chmod(fixture->root, 0755), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        struct store *store;
        if (geteuid() == 0 && setuid(65534) != 0)
            _exit(2);
        snprintf(fixture->directory, sizeof fixture->directory, "%s", fixture->root);
        if (chmod(fixture->root, 0555) != 0 && geteuid() != 65534)
            _exit(3);
        int error = store_open(fixture->directory, &store, fixture->why, sizeof fixture->why);
        _exit(error == -EACCES && strstr(fixture->why, fixture->root) != NULL ? 0 : 1);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(chmod(fixture->root, 0700), 0);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

static void test_the_default_directory(void **state)
{
    (void)state;
    char path[64];
    assert_int_equal(setenv("XDG_STATE_HOME", "/x", 1), 0);
    assert_int_equal(store_default_directory(path, sizeof path), 0);
    assert_string_equal(path, "/x/culvert");
    assert_int_equal(store_default_directory(path, 10), CULVERT_ERROR_TOO_LARGE);
    assert_int_equal(setenv("XDG_STATE_HOME", "relative", 1), 0);
    assert_int_equal(setenv("HOME", "/home/ada", 1), 0);
    assert_int_equal(store_default_directory(path, sizeof path), 0);
    assert_string_equal(path,
                        geteuid() == 0 ? "/var/lib/culvert" : "/home/ada/.local/state/culvert");
}

#define WITH_FIXTURE(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_FIXTURE(test_a_key_is_added_and_checked),
        WITH_FIXTURE(test_a_check_tells_the_user),
        WITH_FIXTURE(test_keys_differ),
        WITH_FIXTURE(test_the_key_itself_is_not_in_the_file),
        WITH_FIXTURE(test_a_name_has_one_key_unless_rotated),
        WITH_FIXTURE(test_rotation_lets_the_old_key_live_for_the_grace),
        WITH_FIXTURE(test_rotation_without_grace_and_for_ever),
        WITH_FIXTURE(test_the_keys_of_a_name_are_bounded),
        WITH_FIXTURE(test_revocation_is_seen_through_another_connection),
        WITH_FIXTURE(test_own_writes_change_the_version),
        WITH_FIXTURE(test_an_id_is_never_used_again),
        WITH_FIXTURE(test_expiry),
        WITH_FIXTURE(test_list),
        WITH_FIXTURE(test_modes_whatever_the_umask),
        WITH_FIXTURE(test_a_file_that_others_may_read_is_refused),
        WITH_FIXTURE(test_a_directory_that_others_may_write_is_refused),
        WITH_FIXTURE(test_a_store_of_another_user_is_refused),
        WITH_FIXTURE(test_a_damaged_file_is_told),
        WITH_FIXTURE(test_damaged_pages_are_told),
        WITH_FIXTURE(test_what_is_no_store_is_left_alone),
        WITH_FIXTURE(test_a_removed_file_is_told),
        WITH_FIXTURE(test_a_directory_that_cannot_be),
        WITH_FIXTURE(test_a_directory_that_is_not_writable),
        cmocka_unit_test(test_the_default_directory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
