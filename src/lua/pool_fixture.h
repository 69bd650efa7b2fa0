/* For tests: a pool with the real program as its worker, on a loop with a thread of its own. */
#ifndef LUA_POOL_FIXTURE_H
#define LUA_POOL_FIXTURE_H

#include "lua/lua_pool.h"

#include <pthread.h>
#include <semaphore.h>

enum { FIXTURE_PATIENCE = 120 /* seconds */ };

struct pool_fixture {
    char directory[64];
    char script[96];
    struct account account;
    struct loop loop;
    pthread_t thread;
    bool is_running;
    struct lua_pool *pool;
    struct lua_pool_config config;
    char why[1024];
    sem_t reloaded;
    char reload_why[1024]; /* "" when it went well */
};

struct fixture_question {
    struct lua_question question;
    sem_t answered;
};

/* For cmocka. The configuration has one worker, 5 s, and may be changed before the start. */
int pool_fixture_set_up(void **state);
int pool_fixture_tear_down(void **state);

void pool_fixture_write(struct pool_fixture *fixture, const char *script);
/* Writes the script and starts the pool; the loop does not run after an error, which is returned.
 */
int pool_fixture_try(struct pool_fixture *fixture, const char *script);
/* The same, which must go well. */
void pool_fixture_start(struct pool_fixture *fixture, const char *script);
/* Ends the loop and then the pool, as a gateway does. */
void pool_fixture_stop(struct pool_fixture *fixture);
/* Writes the script (NULL: removes it), has it read again and waits until that is done. */
void pool_fixture_reload(struct pool_fixture *fixture, const char *script);

/* Asks for alice:host:22, with key "sesame", without waiting. */
void pool_fixture_ask(struct pool_fixture *fixture, struct fixture_question *question,
                      const char *host);
/* The answer. */
const struct policy_verdict *pool_fixture_wait(struct fixture_question *question);
/* Both. */
struct policy_verdict pool_fixture_answer(struct pool_fixture *fixture, const char *host);

/* How many worker processes there are, and their ids, at most `size`. */
size_t pool_fixture_workers(pid_t *workers, size_t size);
/* Waits until there are so many: those that were killed take a moment to die. */
void pool_fixture_expect_workers(size_t count);

#endif
