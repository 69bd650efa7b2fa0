/*
 * Policy scripts (Lua 5.1) in worker processes. A question goes to a free worker and comes back as
 * a message; a worker that does not answer in time is killed and replaced, so that no script,
 * whatever it does, holds up more than its own questions. See docs/policy.md for what a script may
 * define and use.
 */
#ifndef LUA_LUA_POOL_H
#define LUA_LUA_POOL_H

#include "base/list.h"
#include "lua/worker_user.h"
#include "net/loop.h"
#include "policy/policy.h"

enum {
    LUA_POOL_WORKERS = 4,    /* by default */
    LUA_POOL_TIMEOUT = 5000, /* milliseconds for a question, by default */
    LUA_POOL_MEMORY = 64 * 1024 * 1024,
    LUA_POOL_QUESTIONS = 4096, /* that wait at most */
    LUA_POOL_PATIENCE = 60,    /* seconds that a question may wait for a free worker */
    LUA_POOL_EVENTS = 1024,    /* that wait for on_event; what is more is dropped and counted */
};

struct lua_pool;

struct lua_pool_config {
    const char *script;  /* the file */
    const char *program; /* culvert's own binary, which is started as `culvert lua-worker` */
    const char *user;    /* as which the workers run (lua/worker_user.h); NULL: the default */
    unsigned workers;    /* 1 to 64 */
    unsigned timeout;    /* milliseconds */
    size_t memory;       /* bytes that a worker may take */
    /* The script was read again: `why` is NULL when it went well, else the old one stays. On the
     * loop's thread. May be NULL. */
    void (*reloaded)(void *context, const char *script, const char *why);
    /* Any thread. Returns an event for on_event, JSON from memory_allocate, which reports `count`
     * dropped events and takes their place; NULL if there is no memory. May be NULL: then only the
     * log reports them. */
    char *(*describe_drops)(uint64_t count);
    void *context;
};

enum lua_question_kind {
    LUA_CONNECT,  /* connect(request) */
    LUA_REGISTER, /* register(agent): request.source, user and address alone */
};

/* A question, embedded in the asker's own struct: it belongs to the pool until `answered` runs. */
struct lua_question {
    enum lua_question_kind kind;
    struct loop *loop; /* `answered` runs on its thread, and may free the question */
    void (*answered)(struct loop *loop, struct lua_question *question);
    struct policy_request request; /* its texts live until `answered` runs */
    struct policy_verdict verdict; /* the answer */
    /* The pool's */
    struct loop_message message;
    struct list_node node;
    uint64_t since; /* microseconds */
    uint64_t turn;
};

/* Starts the workers and waits until all have read the script. They do not outlive the thread that
 * calls this, and are replaced when it ends before the loop does. Its sockets and timers live on
 * `loop`, which need not run yet. Returns 0, or an error with a sentence in `why` (a script that
 * does not parse, is no file). One without `connect` counts as one that does not parse. */
int lua_pool_start(struct loop *loop, const struct lua_pool_config *config, struct lua_pool **out,
                   char *why, size_t why_size);

/* Any thread. Agents (`request.source`) are served in turn when questions wait. Returns 0, or
 * CULVERT_ERROR_LIMIT if too many wait; then `answered` will not run. */
int lua_pool_ask(struct lua_pool *pool, struct lua_question *question);

/* Any thread. Whether a worker can answer, now or when it is free. False after the last one has
 * died, until a replacement has read the script. */
bool lua_pool_is_manned(struct lua_pool *pool);

/* Any thread: whether the script defines `register` and `on_event`. */
bool lua_pool_has_register(struct lua_pool *pool);
bool lua_pool_has_on_event(struct lua_pool *pool);

/* Any thread: gives the event, a JSON object, to on_event, in a worker of its own. Never waits. */
void lua_pool_tell(struct lua_pool *pool, const char *json);

/* On the loop's thread: reads the script again in new workers, which take over when all have read
 * it. */
void lua_pool_reload(struct lua_pool *pool);

/* After the loop has ended, before it is deinitialised: kills and reaps the workers; questions that
 * wait are answered as failed, by message. */
void lua_pool_stop(struct lua_pool *pool);

/* Runs `culvert lua-worker`: changes to the user, if it is another one, and serves the questions on
 * descriptor 3. Returns an exit code. */
int lua_worker_run(const struct worker_user *user);

#endif
