#include "store/watch.h"

#include "base/account.h"
#include "base/error.h"
#include "base/log.h"

#include <ftw.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

enum { PATIENCE_SECONDS = 60 };

/* A loop on a thread of its own, a watch, and a second connection that writes. */
struct fixture {
    char directory[64];
    struct account account;
    struct loop loop;
    pthread_t thread;
    struct store *store;
    struct store_watch *watch;
    sem_t changed;
    sem_t answered;
    atomic_bool is_held; /* the watch's thread stays in `changed` until `held` is posted */
    sem_t held;
};

/* ---- a clock that is set back, for all threads but the test's ---- */

static pthread_t test_thread;
static _Atomic int64_t setback; /* seconds */

/* NOLINTBEGIN(readability-inconsistent-declaration-parameter-name): the system's are reserved */
int clock_gettime(clockid_t clock, struct timespec *time)
{
    long result = syscall(SYS_clock_gettime, clock, time);
    if (result == 0 && clock == CLOCK_REALTIME && !pthread_equal(pthread_self(), test_thread))
        time->tv_sec -= setback;
    return (int)result;
}

time_t time(time_t *out)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (out != NULL)
        *out = now.tv_sec;
    return now.tv_sec;
}
/* NOLINTEND(readability-inconsistent-declaration-parameter-name) */

/* ---- the fixture ---- */

static void note_change(void *context)
{
    struct fixture *fixture = context;
    sem_post(&fixture->changed);
    if (fixture->is_held)
        sem_wait(&fixture->held);
}

static void *run_loop(void *argument)
{
    struct fixture *fixture = argument;
    loop_run(&fixture->loop);
    return NULL;
}

static int set_up(void **state)
{
    static struct fixture fixture;
    char why[1024];
    fixture = (struct fixture){.directory = "/tmp/culvert-watch-XXXXXX"};
    *state = &fixture;
    test_thread = pthread_self();
    setback = 0;
    account_init(&fixture.account, SIZE_MAX);
    if (mkdtemp(fixture.directory) == NULL || sem_init(&fixture.changed, 0, 0) != 0 ||
        sem_init(&fixture.answered, 0, 0) != 0 || sem_init(&fixture.held, 0, 0) != 0 ||
        loop_init(&fixture.loop, 0, &fixture.account) != 0 ||
        store_open(fixture.directory, &fixture.store, why, sizeof why) != 0 ||
        store_watch_start(fixture.directory, note_change, &fixture, &fixture.watch, why,
                          sizeof why) != 0)
        return -1;
    fixture.loop.holder = &fixture;
    return pthread_create(&fixture.thread, NULL, run_loop, &fixture);
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
    if (fixture->watch != NULL)
        store_watch_stop(fixture->watch);
    loop_stop(&fixture->loop);
    pthread_join(fixture->thread, NULL);
    loop_deinit(&fixture->loop);
    store_close(fixture->store);
    sem_destroy(&fixture->changed);
    sem_destroy(&fixture->answered);
    sem_destroy(&fixture->held);
    return nftw(fixture->directory, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
}

static void wait_for(sem_t *semaphore)
{
    struct timespec limit;
    clock_gettime(CLOCK_REALTIME, &limit);
    limit.tv_sec += PATIENCE_SECONDS;
    assert_int_equal(sem_timedwait(semaphore, &limit), 0);
}

static void note_answer(struct loop *loop, struct store_question *question)
{
    struct fixture *fixture = loop->holder;
    (void)question;
    sem_post(&fixture->answered);
}

static int check_key(struct fixture *fixture, const char *name, const char *key, int64_t *id)
{
    struct store_question question = {.loop = &fixture->loop, .answered = note_answer};
    assert_int_equal(store_watch_check(fixture->watch, &question, name, text_of(key)), 0);
    wait_for(&fixture->answered);
    for (size_t i = 0; i < sizeof question.key; i++)
        assert_int_equal(question.key[i], 0);
    if (id != NULL)
        *id = question.key_id;
    return question.error;
}

static void test_an_answer_tells_the_user(void **state)
{
    struct fixture *fixture = *state;
    struct store_question question = {.loop = &fixture->loop, .answered = note_answer};
    char key[STORE_KEY_TEXT_SIZE];
    assert_int_equal(store_add(fixture->store, "a", "ada", time(NULL), key), 0);
    assert_int_equal(store_watch_check(fixture->watch, &question, "a", text_of(key)), 0);
    wait_for(&fixture->answered);
    assert_int_equal(question.error, 0);
    assert_string_equal(question.user, "ada");
}

static int recheck_key(struct fixture *fixture, int64_t id)
{
    struct store_question question = {.loop = &fixture->loop, .answered = note_answer};
    assert_int_equal(store_watch_recheck(fixture->watch, &question, id), 0);
    wait_for(&fixture->answered);
    return question.error;
}

static void test_questions_are_answered_on_their_loop(void **state)
{
    struct fixture *fixture = *state;
    char key[STORE_KEY_TEXT_SIZE];
    int64_t id = 0;
    assert_int_equal(store_add(fixture->store, "a", "", time(NULL), key), 0);
    assert_int_equal(check_key(fixture, "a", key, &id), 0);
    assert_true(id > 0);
    assert_int_equal(recheck_key(fixture, id), 0);
    assert_int_equal(check_key(fixture, "a", "cvk_wrong", NULL), CULVERT_ERROR_REFUSED);
    assert_int_equal(check_key(fixture, "b", key, NULL), CULVERT_ERROR_REFUSED);
    assert_int_equal(recheck_key(fixture, id + 1), CULVERT_ERROR_REFUSED);
}

static void test_a_revocation_is_noticed(void **state)
{
    struct fixture *fixture = *state;
    char key[STORE_KEY_TEXT_SIZE];
    int64_t id = 0;
    assert_int_equal(store_add(fixture->store, "a", "", time(NULL), key), 0);
    wait_for(&fixture->changed);
    assert_int_equal(check_key(fixture, "a", key, &id), 0);
    assert_int_equal(store_revoke(fixture->store, "a"), 0);
    wait_for(&fixture->changed);
    assert_int_equal(recheck_key(fixture, id), CULVERT_ERROR_REFUSED);
}

static void test_an_expiry_is_noticed(void **state)
{
    struct fixture *fixture = *state;
    char old[STORE_KEY_TEXT_SIZE];
    char new[STORE_KEY_TEXT_SIZE];
    int64_t id = 0;
    assert_int_equal(store_add(fixture->store, "a", "", time(NULL), old), 0);
    wait_for(&fixture->changed);
    assert_int_equal(check_key(fixture, "a", old, &id), 0);
    /* Once for the rotation, and once more when the grace is over; a slow machine notices both at
     * once. */
    assert_int_equal(store_rotate(fixture->store, "a", time(NULL), 2, new), 0);
    do
        wait_for(&fixture->changed);
    while (recheck_key(fixture, id) == 0);
    assert_int_equal(recheck_key(fixture, id), CULVERT_ERROR_REFUSED);
    assert_int_equal(check_key(fixture, "a", new, NULL), 0);
}

static atomic_int complaints;

static bool note_log(enum log_level level, const char *message)
{
    if (level == LOG_ERROR && strncmp(message, "cannot watch for revoked keys: ", 31) == 0)
        complaints++;
    return true;
}

static void wait_until_broken(const struct fixture *fixture, bool is_broken)
{
    uint64_t limit = uv_hrtime() / 1000000000 + PATIENCE_SECONDS;
    while (store_watch_is_broken(fixture->watch) != is_broken) {
        assert_true(uv_hrtime() / 1000000000 < limit);
        sched_yield();
    }
}

/* While nobody can say whether a key is valid. */
static void test_a_store_that_breaks_is_told_once(void **state)
{
    struct fixture *fixture = *state;
    char path[128];
    char moved[128];
    wait_until_broken(fixture, false);
    snprintf(path, sizeof path, "%s/culvert.db", fixture->directory);
    snprintf(moved, sizeof moved, "%s/moved", fixture->directory);
    complaints = 0;
    assert_int_equal(rename(path, moved), 0);
    wait_until_broken(fixture, true);
    assert_int_equal(complaints, 1);
    assert_int_equal(rename(moved, path), 0);
    wait_until_broken(fixture, false);
    assert_int_equal(complaints, 1);
}

static void test_a_clock_set_back_delays_no_expiry(void **state)
{
    struct fixture *fixture = *state;
    char old[STORE_KEY_TEXT_SIZE];
    char new[STORE_KEY_TEXT_SIZE];
    int64_t id = 0;
    assert_int_equal(store_add(fixture->store, "a", "", time(NULL), old), 0);
    wait_for(&fixture->changed);
    assert_int_equal(check_key(fixture, "a", old, &id), 0);
    assert_int_equal(store_rotate(fixture->store, "a", time(NULL), 2, new), 0);
    setback = 24 * 60 * 60;
    uint64_t limit = uv_hrtime() / 1000000000 + PATIENCE_SECONDS;
    while (recheck_key(fixture, id) == 0)
        assert_true(uv_hrtime() / 1000000000 < limit);
    /* Whose links are ended. */
    wait_for(&fixture->changed);
    assert_int_equal(check_key(fixture, "a", old, NULL), CULVERT_ERROR_REFUSED);
    assert_int_equal(check_key(fixture, "a", new, NULL), 0);
}

static void test_what_is_too_long(void **state)
{
    struct fixture *fixture = *state;
    char text[STORE_WATCH_KEY_SIZE + 1];
    memset(text, 'a', sizeof text);
    text[STORE_WATCH_KEY_SIZE] = '\0';
    struct store_question question = {.loop = &fixture->loop, .answered = note_answer};
    assert_int_equal(store_watch_check(fixture->watch, &question, "a", text_of(text)),
                     CULVERT_ERROR_TOO_LARGE);
    assert_int_equal(store_watch_check(fixture->watch, &question, text, text_of("a")),
                     CULVERT_ERROR_TOO_LARGE);
}

/* Many questions at once, from here while the loop's thread takes the answers. */

struct flood {
    struct store_question question;
    struct flood_counts *counts;
};

struct flood_counts {
    atomic_uint refused;
    atomic_uint closed;
    atomic_uint others;
};

static void count_answer(struct loop *loop, struct store_question *question)
{
    struct flood *flood = CONTAINER_OF(question, struct flood, question);
    (void)loop;
    if (question->error == CULVERT_ERROR_REFUSED)
        flood->counts->refused++;
    else if (question->error == CULVERT_ERROR_CLOSED)
        flood->counts->closed++;
    else
        flood->counts->others++;
    free(flood);
}

static int ask_flood(struct fixture *fixture, struct flood_counts *counts, bool is_check)
{
    struct flood *flood = calloc(1, sizeof *flood);
    assert_non_null(flood);
    flood->counts = counts;
    flood->question.loop = &fixture->loop;
    flood->question.answered = count_answer;
    int error = is_check ? store_watch_check(fixture->watch, &flood->question, "b", text_of("k"))
                         : store_watch_recheck(fixture->watch, &flood->question, 12345);
    if (error != 0)
        free(flood);
    return error;
}

static void test_a_flood_is_bounded_and_all_are_answered(void **state)
{
    struct fixture *fixture = *state;
    struct flood_counts counts = {0};
    char key[STORE_KEY_TEXT_SIZE];
    fixture->is_held = true;
    assert_int_equal(store_add(fixture->store, "a", "", time(NULL), key), 0);
    wait_for(&fixture->changed);
    for (unsigned i = 0; i < STORE_WATCH_CHECKS; i++)
        assert_int_equal(ask_flood(fixture, &counts, true), 0);
    assert_int_equal(ask_flood(fixture, &counts, true), CULVERT_ERROR_LIMIT);
    for (unsigned i = 0; i < STORE_WATCH_CHECKS; i++)
        assert_int_equal(ask_flood(fixture, &counts, false), 0);
    fixture->is_held = false;
    sem_post(&fixture->held);
    store_watch_stop(fixture->watch);
    fixture->watch = NULL;
    loop_stop(&fixture->loop);
    pthread_join(fixture->thread, NULL);
    loop_deinit(&fixture->loop);
    assert_int_equal(counts.refused + counts.closed, 2 * STORE_WATCH_CHECKS);
    assert_int_equal(counts.others, 0);

    assert_int_equal(loop_init(&fixture->loop, 0, &fixture->account), 0);
    assert_int_equal(pthread_create(&fixture->thread, NULL, run_loop, fixture), 0);
}

static void test_a_store_that_cannot_be_opened(void **state)
{
    (void)state;
    struct store_watch *watch = NULL;
    char why[1024] = "";
    assert_true(store_watch_start("/proc/culvert", note_change, NULL, &watch, why, sizeof why) < 0);
    assert_non_null(strstr(why, "/proc/culvert"));
    assert_null(watch);
}

#define WITH_FIXTURE(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_FIXTURE(test_questions_are_answered_on_their_loop),
        WITH_FIXTURE(test_an_answer_tells_the_user),
        WITH_FIXTURE(test_a_revocation_is_noticed),
        WITH_FIXTURE(test_an_expiry_is_noticed),
        WITH_FIXTURE(test_a_store_that_breaks_is_told_once),
        WITH_FIXTURE(test_a_clock_set_back_delays_no_expiry),
        WITH_FIXTURE(test_what_is_too_long),
        WITH_FIXTURE(test_a_flood_is_bounded_and_all_are_answered),
        cmocka_unit_test(test_a_store_that_cannot_be_opened),
    };
    log_init(LOG_ERROR, LOG_TEXT, "test");
    log_set_receiver(note_log);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
