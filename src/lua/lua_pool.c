#include "lua/lua_pool.h"

#include "base/error.h"
#include "base/log.h"
#include "base/memory.h"
#include "lua/answer.h"
#include "lua/confine.h"
#include "lua/crew.h"
#include "lua/question_queue.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

enum {
    MICROSECONDS = 1000000,
    DROPS_TOLD = 10, /* seconds between two entries in the log about dropped events */
};

struct event {
    struct list_node node;
    char *json;
};

struct lua_pool {
    struct loop *loop;
    struct lua_pool_config config;
    char *script;
    char *program;
    struct lua_process_group group;

    /* The loop's */
    struct list crews;
    struct crew *crew; /* at work; NULL before all have read the script, and once it is stopped */
    struct crew *next; /* loading */
    struct loop_timer patience;
    struct loop_task patience_closed;
    bool is_stopped;
    unsigned holders;          /* what must have gone before the pool is freed */
    uint64_t drops_told;       /* when */
    char why[ANSWER_WHY_SIZE]; /* for what the first crew could not start */

    _Atomic bool is_manned;
    _Atomic bool has_register;
    _Atomic bool has_on_event;

    pthread_mutex_t mutex; /* guards what follows */
    struct question_queue questions;
    struct list events;
    size_t event_count;
    uint64_t dropped_events; /* not reported in the log yet */
    uint64_t untold_events;  /* not reported to on_event yet */
    bool is_woken;           /* the message is on its way */
    struct loop_message wake;
};

/* ---- life ---- */

static void free_event(struct event *event)
{
    if (event != NULL)
        memory_free(event->json);
    memory_free(event);
}

static void release(struct lua_pool *pool)
{
    struct list_node *node;
    if (--pool->holders > 0)
        return;
    while ((node = list_pop(&pool->events)) != NULL)
        free_event(CONTAINER_OF(node, struct event, node));
    pthread_mutex_destroy(&pool->mutex);
    memory_free(pool->script);
    memory_free(pool->program);
    memory_free(pool);
}

static void crew_gone(void *context)
{
    release(context);
}

static void patience_closed(struct loop_task *task)
{
    release(CONTAINER_OF(task, struct lua_pool, patience_closed));
}

static void group_emptied(struct lua_process_group *group)
{
    struct lua_pool *pool = CONTAINER_OF(group, struct lua_pool, group);
    if (pool->is_stopped)
        release(pool);
}

/* ---- what waits ---- */

static struct lua_question *pop_question(struct lua_pool *pool)
{
    pthread_mutex_lock(&pool->mutex);
    struct lua_question *question = question_queue_pop(&pool->questions);
    pthread_mutex_unlock(&pool->mutex);
    return question;
}

static struct lua_question *next_question(void *context)
{
    return pop_question(context);
}

/* Takes out a question that has waited too long, or NULL. `*left` is how many microseconds it is
 * until another has, UINT64_MAX if none waits. */
static struct lua_question *pop_late(struct lua_pool *pool, uint64_t *left)
{
    static const uint64_t patience = (uint64_t)LUA_POOL_PATIENCE * MICROSECONDS;
    uint64_t now = uv_hrtime() / 1000;
    *left = UINT64_MAX;
    pthread_mutex_lock(&pool->mutex);
    struct lua_question *question = question_queue_oldest(&pool->questions);
    if (question != NULL && now < question->since + patience) {
        *left = question->since + patience - now;
        question = NULL;
    }
    if (question != NULL)
        question_queue_remove(&pool->questions, question);
    pthread_mutex_unlock(&pool->mutex);
    return question;
}

static void fail_questions(struct lua_pool *pool, const char *reason)
{
    struct lua_question *question;
    while ((question = pop_question(pool)) != NULL) {
        policy_fail(&question->verdict, "%s", reason);
        crew_answer(question);
    }
}

static void look_at_patience(struct lua_pool *pool)
{
    uint64_t left;
    struct lua_question *question;
    while ((question = pop_late(pool, &left)) != NULL) {
        policy_fail(&question->verdict, "no process was free for the script within %d s",
                    LUA_POOL_PATIENCE);
        crew_answer(question);
    }
    if (left != UINT64_MAX)
        loop_timer_start(&pool->patience, left / 1000 + 1);
}

static void patience_fired(struct loop_timer *timer)
{
    look_at_patience(timer->holder);
}

static void tell_drops(struct lua_pool *pool)
{
    uint64_t now = uv_hrtime() / 1000;
    if (pool->drops_told != 0 && now - pool->drops_told < (uint64_t)DROPS_TOLD * MICROSECONDS)
        return;
    pthread_mutex_lock(&pool->mutex);
    uint64_t count = pool->dropped_events;
    pool->dropped_events = 0;
    pthread_mutex_unlock(&pool->mutex);
    if (count == 0)
        return;
    pool->drops_told = now;
    log_warning("on_event is too slow: %llu events were dropped", (unsigned long long)count);
}

/* Returns an event with the number of events dropped since the last such event; NULL: none, or no
 * memory. The caller holds the mutex. */
static char *take_notice(struct lua_pool *pool)
{
    if (pool->untold_events == 0 || pool->config.describe_drops == NULL)
        return NULL;
    char *json = pool->config.describe_drops(pool->untold_events);
    if (json != NULL)
        pool->untold_events = 0;
    return json;
}

static char *next_event(void *context)
{
    struct lua_pool *pool = context;
    tell_drops(pool);
    pthread_mutex_lock(&pool->mutex);
    struct list_node *node = list_pop(&pool->events);
    if (node != NULL)
        pool->event_count--;
    char *notice = node == NULL ? take_notice(pool) : NULL;
    pthread_mutex_unlock(&pool->mutex);
    if (node == NULL)
        return notice;
    struct event *event = CONTAINER_OF(node, struct event, node);
    char *json = event->json;
    memory_free(event);
    return json;
}

static void look(struct loop *loop, struct loop_message *message)
{
    struct lua_pool *pool = CONTAINER_OF(message, struct lua_pool, wake);
    (void)loop;
    if (pool->is_stopped) {
        release(pool);
        return;
    }
    pthread_mutex_lock(&pool->mutex);
    pool->is_woken = false;
    pthread_mutex_unlock(&pool->mutex);
    crew_work(pool->crew);
    look_at_patience(pool);
}

/* With the mutex held. */
static void wake(struct lua_pool *pool)
{
    if (pool->is_woken)
        return;
    pool->is_woken = true;
    loop_post(pool->loop, &pool->wake);
}

int lua_pool_ask(struct lua_pool *pool, struct lua_question *question)
{
    question->since = uv_hrtime() / 1000;
    pthread_mutex_lock(&pool->mutex);
    int error = question_queue_push(&pool->questions, question);
    if (error == 0)
        wake(pool);
    pthread_mutex_unlock(&pool->mutex);
    return error;
}

/* Takes the JSON, which may be NULL, also when it fails: then it returns NULL. */
static struct event *new_event(char *json)
{
    struct event *event = json != NULL ? memory_allocate_zero(sizeof *event) : NULL;
    if (event != NULL)
        event->json = json;
    else
        memory_free(json);
    return event;
}

/* With the mutex held. */
static void append_event(struct lua_pool *pool, struct event *event)
{
    list_append(&pool->events, &event->node);
    pool->event_count++;
}

/* Queues the notice of dropped events before the next event, if there is room for both. Returns
 * whether the next event may follow. The caller holds the mutex. */
static bool append_notice(struct lua_pool *pool)
{
    if (pool->untold_events == 0 || pool->config.describe_drops == NULL)
        return pool->event_count < LUA_POOL_EVENTS;
    if (pool->event_count + 1 >= LUA_POOL_EVENTS)
        return false;
    uint64_t count = pool->untold_events;
    struct event *notice = new_event(take_notice(pool));
    pool->untold_events = notice != NULL ? 0 : count;
    if (notice != NULL)
        append_event(pool, notice);
    return notice != NULL;
}

void lua_pool_tell(struct lua_pool *pool, const char *json)
{
    if (!lua_pool_has_on_event(pool))
        return;
    struct event *event = new_event(memory_copy_text(json));
    pthread_mutex_lock(&pool->mutex);
    bool is_taken = event != NULL && append_notice(pool);
    if (is_taken) {
        append_event(pool, event);
        wake(pool);
    } else {
        pool->dropped_events++;
        pool->untold_events++;
    }
    pthread_mutex_unlock(&pool->mutex);
    if (!is_taken)
        free_event(event);
}

bool lua_pool_is_manned(struct lua_pool *pool)
{
    return pool->is_manned;
}

bool lua_pool_has_register(struct lua_pool *pool)
{
    return pool->has_register;
}

bool lua_pool_has_on_event(struct lua_pool *pool)
{
    return pool->has_on_event;
}

/* ---- the crews ---- */

static void tell_reloaded(struct lua_pool *pool, const char *why)
{
    if (why == NULL)
        log_info("the script %s was read again", pool->script);
    else if (pool->config.reloaded == NULL)
        log_warning("the old script stays in use: %s", why);
    if (pool->config.reloaded != NULL)
        pool->config.reloaded(pool->config.context, pool->script, why);
}

static void crew_loaded(void *context, struct crew *crew)
{
    struct lua_pool *pool = context;
    struct crew *old = pool->crew;
    pool->crew = crew;
    pool->next = NULL;
    pool->is_manned = true;
    pool->has_register = crew_has_register(crew);
    pool->has_on_event = crew_has_on_event(crew);
    if (old != NULL) {
        crew_retire(old);
        tell_reloaded(pool, NULL);
    }
    crew_work(crew);
}

static void crew_manned(void *context, const struct crew *crew, bool is_manned)
{
    struct lua_pool *pool = context;
    if (crew == pool->crew)
        pool->is_manned = is_manned;
}

static void crew_broken(void *context, struct crew *crew, const char *why)
{
    struct lua_pool *pool = context;
    (void)crew;
    pool->next = NULL;
    if (pool->crew == NULL)
        snprintf(pool->why, sizeof pool->why, "%s", why);
    else
        tell_reloaded(pool, why);
}

static const struct crew_owner CREW_OWNER = {
    .loaded = crew_loaded,
    .broken = crew_broken,
    .manned = crew_manned,
    .next_question = next_question,
    .next_event = next_event,
    .gone = crew_gone,
};

/* Whether a crew has begun to read the script; if it gave up at once, `broken` has told. */
static int load(struct lua_pool *pool, char *why, size_t why_size)
{
    struct crew_script script;
    struct crew_config config = {
        .group = &pool->group,
        .crews = &pool->crews,
        .owner = &CREW_OWNER,
        .context = pool,
        .workers = pool->config.workers,
        .timeout = pool->config.timeout,
        .memory = pool->config.memory,
    };
    int error = crew_script_read(pool->script, &script, why, why_size);
    if (error != 0)
        return error;
    pool->holders++;
    error = crew_start(&config, &script, &pool->next);
    if (error != 0) {
        pool->holders--;
        snprintf(why, why_size, "%s: %s", pool->script, error_text(error));
    }
    return error;
}

void lua_pool_reload(struct lua_pool *pool)
{
    char why[ANSWER_WHY_SIZE];
    /* What is being read may be older than what is there now. */
    if (pool->next != NULL) {
        struct crew *next = pool->next;
        pool->next = NULL;
        crew_end(next, "");
    }
    if (load(pool, why, sizeof why) != 0)
        tell_reloaded(pool, why);
}

/* ---- start and stop ---- */

void lua_pool_stop(struct lua_pool *pool)
{
    static const char reason[] = "the gateway is stopping";
    pool->is_stopped = true;
    crew_end_all(&pool->crews, reason);
    fail_questions(pool, reason);
    lua_process_group_end(&pool->group);
    /* What the loop still knows of lets go of the pool when it is deinitialised. */
    if (!list_is_empty(&pool->group.processes))
        pool->holders++;
    if (pool->is_woken)
        pool->holders++;
    pool->patience_closed.run = patience_closed;
    loop_timer_close(&pool->patience, &pool->patience_closed);
}

static int new_pool(struct loop *loop, const struct lua_pool_config *config,
                    const struct worker_user *user, struct lua_pool **out)
{
    struct lua_pool *pool = memory_allocate_zero(sizeof *pool);
    if (pool == NULL)
        return CULVERT_ERROR_NO_MEMORY;
    pool->loop = loop;
    pool->config = *config;
    pool->script = memory_copy_text(config->script);
    pool->program = memory_copy_text(config->program);
    pool->holders = 1;
    pool->wake.run = look;
    list_init(&pool->crews);
    question_queue_init(&pool->questions);
    list_init(&pool->events);
    int error = pool->script == NULL || pool->program == NULL
                    ? CULVERT_ERROR_NO_MEMORY
                    : -pthread_mutex_init(&pool->mutex, NULL);
    if (error != 0) {
        memory_free(pool->script);
        memory_free(pool->program);
        memory_free(pool);
        return error;
    }
    lua_process_group_init(&pool->group, loop, pool->program, user, group_emptied);
    /* Cannot fail in libuv: a timer takes nothing from the system. */
    loop_timer_init(loop, &pool->patience, patience_fired, pool);
    *out = pool;
    return 0;
}

/* The loop does not run yet, so that its timers do not fire either. */
static int await_first_crew(struct lua_pool *pool)
{
    uint64_t limit = uv_hrtime() / 1000000 + CREW_LOAD_MILLISECONDS;
    while (pool->next != NULL) {
        uint64_t now = uv_hrtime() / 1000000;
        if (now >= limit) {
            snprintf(pool->why, sizeof pool->why, "%s: was not read within %d s", pool->script,
                     CREW_LOAD_MILLISECONDS / 1000);
            return CULVERT_ERROR_TIMED_OUT;
        }
        lua_process_group_wait(&pool->group, (int)(limit - now));
    }
    return pool->crew != NULL ? 0 : CULVERT_ERROR_INVALID;
}

int lua_pool_start(struct loop *loop, const struct lua_pool_config *config, struct lua_pool **out,
                   char *why, size_t why_size)
{
    struct lua_pool *pool = NULL;
    struct worker_user user;
    int error = worker_user_find(config->user, &user, why, why_size);
    if (error != 0)
        return error;
    confine_tell_missing();
    error = new_pool(loop, config, &user, &pool);
    if (error != 0) {
        snprintf(why, why_size, "cannot start the script's processes: %s", error_text(error));
        return error;
    }
    error = load(pool, pool->why, sizeof pool->why);
    if (error == 0)
        error = await_first_crew(pool);
    if (error != 0) {
        snprintf(why, why_size, "%s", pool->why);
        lua_pool_stop(pool);
        return error;
    }
    *out = pool;
    return 0;
}
