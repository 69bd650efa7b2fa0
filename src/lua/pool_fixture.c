#include "lua/pool_fixture.h"

#include "base/account.h"
#include "base/log.h"

#include <glob.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

static void note_reload(void *context, const char *script, const char *why)
{
    struct pool_fixture *fixture = context;
    assert_string_equal(script, fixture->script);
    snprintf(fixture->reload_why, sizeof fixture->reload_why, "%s", why != NULL ? why : "");
    sem_post(&fixture->reloaded);
}

int pool_fixture_set_up(void **state)
{
    struct pool_fixture *fixture = calloc(1, sizeof *fixture);
    const char *program = getenv("CULVERT");
    if (fixture == NULL || program == NULL) {
        fprintf(stderr, "CULVERT must name the program\n");
        free(fixture);
        return -1;
    }
    *state = fixture;
    snprintf(fixture->directory, sizeof fixture->directory, "/tmp/culvert-lua-XXXXXX");
    if (mkdtemp(fixture->directory) == NULL || sem_init(&fixture->reloaded, 0, 0) != 0)
        return -1;
    snprintf(fixture->script, sizeof fixture->script, "%s/policy.lua", fixture->directory);
    account_init(&fixture->account, SIZE_MAX);
    fixture->config = (struct lua_pool_config){
        .script = fixture->script,
        .program = program,
        .workers = 1,
        .timeout = LUA_POOL_TIMEOUT,
        .memory = LUA_POOL_MEMORY,
        .reloaded = note_reload,
        .context = fixture,
    };
    return loop_init(&fixture->loop, 0, &fixture->account);
}

int pool_fixture_tear_down(void **state)
{
    struct pool_fixture *fixture = *state;
    pool_fixture_stop(fixture);
    loop_deinit(&fixture->loop);
    sem_destroy(&fixture->reloaded);
    unlink(fixture->script);
    int error = rmdir(fixture->directory);
    free(fixture);
    return error;
}

void pool_fixture_write(struct pool_fixture *fixture, const char *script)
{
    FILE *file = fopen(fixture->script, "w");
    assert_non_null(file);
    assert_true(fputs(script, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static void *run_loop(void *argument)
{
    struct pool_fixture *fixture = argument;
    loop_run(&fixture->loop);
    return NULL;
}

int pool_fixture_try(struct pool_fixture *fixture, const char *script)
{
    pool_fixture_write(fixture, script);
    int error = lua_pool_start(&fixture->loop, &fixture->config, &fixture->pool, fixture->why,
                               sizeof fixture->why);
    if (error != 0)
        return error;
    assert_int_equal(pthread_create(&fixture->thread, NULL, run_loop, fixture), 0);
    fixture->is_running = true;
    return 0;
}

void pool_fixture_start(struct pool_fixture *fixture, const char *script)
{
    int error = pool_fixture_try(fixture, script);
    if (error != 0)
        fail_msg("the pool did not start: %s", fixture->why);
}

void pool_fixture_stop(struct pool_fixture *fixture)
{
    if (!fixture->is_running)
        return;
    fixture->is_running = false;
    loop_stop(&fixture->loop);
    pthread_join(fixture->thread, NULL);
    lua_pool_stop(fixture->pool);
    assert_int_equal(pool_fixture_workers(NULL, 0), 0);
}

static void wait_for(sem_t *semaphore)
{
    struct timespec limit;
    clock_gettime(CLOCK_REALTIME, &limit);
    limit.tv_sec += FIXTURE_PATIENCE;
    if (sem_timedwait(semaphore, &limit) != 0)
        fail_msg("nothing came within %d s", FIXTURE_PATIENCE);
}

static void run_reload(struct loop *loop, struct loop_message *message)
{
    (void)loop;
    (void)message;
    struct pool_fixture *fixture = loop->holder;
    lua_pool_reload(fixture->pool);
}

void pool_fixture_reload(struct pool_fixture *fixture, const char *script)
{
    struct loop_message message = {.run = run_reload};
    if (script != NULL)
        pool_fixture_write(fixture, script);
    else
        assert_int_equal(unlink(fixture->script), 0);
    fixture->loop.holder = fixture;
    loop_post(&fixture->loop, &message);
    wait_for(&fixture->reloaded);
}

static void note_answer(struct loop *loop, struct lua_question *question)
{
    (void)loop;
    sem_post(&CONTAINER_OF(question, struct fixture_question, question)->answered);
}

void pool_fixture_ask(struct pool_fixture *fixture, struct fixture_question *question,
                      const char *host)
{
    *question = (struct fixture_question){.question = {.kind = LUA_CONNECT,
                                                       .loop = &fixture->loop,
                                                       .answered = note_answer,
                                                       .request = {.source = "bob",
                                                                   .user = "Bob",
                                                                   .address = "192.0.2.1:4711",
                                                                   .kind = "tcp",
                                                                   .agent = "alice",
                                                                   .host = host,
                                                                   .port = 22,
                                                                   .key = "sesame"}}};
    assert_int_equal(sem_init(&question->answered, 0, 0), 0);
    assert_int_equal(lua_pool_ask(fixture->pool, &question->question), 0);
}

const struct policy_verdict *pool_fixture_wait(struct fixture_question *question)
{
    wait_for(&question->answered);
    sem_destroy(&question->answered);
    return &question->question.verdict;
}

struct policy_verdict pool_fixture_answer(struct pool_fixture *fixture, const char *host)
{
    struct fixture_question question;
    pool_fixture_ask(fixture, &question, host);
    return *pool_fixture_wait(&question);
}

static bool is_worker(pid_t process)
{
    char path[64];
    char name[16] = "";
    snprintf(path, sizeof path, "/proc/%d/comm", (int)process);
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return false;
    bool is_ours = fgets(name, sizeof name, file) != NULL && strncmp(name, "culvert", 7) == 0;
    fclose(file);
    return is_ours;
}

/* Of one thread. */
static void count_children(const char *path, pid_t *workers, size_t size, size_t *count)
{
    char line[4096] = "";
    char *place = line;
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return;
    if (fgets(line, sizeof line, file) == NULL)
        line[0] = '\0';
    fclose(file);
    for (pid_t child; (child = (pid_t)strtol(place, &place, 10)) != 0;) {
        if (!is_worker(child))
            continue;
        if (*count < size)
            workers[*count] = child;
        ++*count;
    }
}

size_t pool_fixture_workers(pid_t *workers, size_t size)
{
    size_t count = 0;
    glob_t threads;
    assert_int_equal(glob("/proc/self/task/*/children", 0, NULL, &threads), 0);
    for (size_t i = 0; i < threads.gl_pathc; i++)
        count_children(threads.gl_pathv[i], workers, size, &count);
    globfree(&threads);
    return count;
}

void pool_fixture_expect_workers(size_t count)
{
    uint64_t limit = uv_hrtime() / 1000000000 + FIXTURE_PATIENCE;
    while (pool_fixture_workers(NULL, 0) != count) {
        if (uv_hrtime() / 1000000000 > limit)
            fail_msg("there are not %zu workers after %d s", count, FIXTURE_PATIENCE);
        poll(NULL, 0, 10);
    }
}
