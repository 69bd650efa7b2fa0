/*
 * An event loop and its thread's belongings: a libuv loop, a pool of chunks, the shared read
 * chunk, a mailbox for other threads, and what is to be done when the turn ends. What a loop owns,
 * only its thread touches; other threads only call loop_post and loop_stop.
 */
#ifndef NET_LOOP_H
#define NET_LOOP_H

#include "base/account.h"
#include "base/chunk.h"
#include "base/list.h"
#include "base/slice.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

struct loop;
struct resolver;

enum {
    LOOP_RESET_PATIENCE = 30, /* seconds */
    LOOP_MAX_RESETS = 1024,   /* of a process; who runs several loops divides it */
};

/* Something to do once at the end of this turn: embedded in its owner. */
struct loop_task {
    struct list_node node;
    void (*run)(struct loop_task *task);
};

/* A message to a loop's thread: embedded in or allocated by the sender, the receiver's `run`
 * disposes of it. */
struct loop_message {
    struct loop_message *next;
    void (*run)(struct loop *loop, struct loop_message *message);
};

struct loop {
    uv_loop_t uv;
    unsigned index; /* its place among the process's loops */
    void *holder;   /* for the owner's use */
    struct account *account;
    struct chunk_pool pool;
    struct chunk *read_chunk;
    size_t read_used;
    uv_prepare_t prepare;
    uv_check_t check;
    uv_async_t wake;
    _Atomic(struct loop_message *) mailbox;
    _Atomic(bool) is_stopping;
    struct list tasks;       /* flushes and the like */
    struct list burial;      /* frees; run after all tasks */
    struct list next;        /* for the next turn */
    struct list endings;     /* for when the loop has ended */
    uint64_t reset_patience; /* microseconds without progress that a reset waits for data before it
                                to be taken: LOOP_RESET_PATIENCE at least */
    struct list resets;      /* of ends/lingering_reset.h, oldest first */
    unsigned reset_count;
    unsigned max_resets;
    uv_timer_t settling;       /* for what is parked on the pool (base/parking.h) */
    uv_timer_t returning;      /* gives the heap's pages back after a burst */
    uv_idle_t idle;            /* runs while `next` holds any, so that the turn does not wait */
    uint64_t now;              /* 0: to be read anew */
    struct resolver *resolver; /* of host names; NULL until one is looked up */
};

/* `account` is borrowed. To be called on the thread that will run it, or before any other thread
 * knows it. Returns 0 or an error. */
int loop_init(struct loop *loop, unsigned index, struct account *account);

/* A link that this loop's streams may cross can wait `seconds` for its next carrier; data before a
 * reset may wait as long. */
static inline void loop_be_patient(struct loop *loop, unsigned seconds)
{
    uint64_t patience = (uint64_t)seconds * 1000000;
    if (patience > loop->reset_patience)
        loop->reset_patience = patience;
}

/* Runs on the calling thread until loop_stop. Returns 0 or an error. */
int loop_run(struct loop *loop);

/* Any thread: loop_run returns at the end of its turn. */
void loop_stop(struct loop *loop);

/* After loop_run, on any one thread: runs what is in the mailbox, closes its own handles, runs what
 * closing handles still need, frees. Asserts that its owner closed all others. Chunks of its pool
 * that others hold must have been dropped before. */
void loop_deinit(struct loop *loop);

/* Microseconds of a monotonic clock, read once a turn. */
uint64_t loop_now(struct loop *loop);

/* Runs the task at the end of this turn (after all sockets that are ready have been read), once
 * however often it is asked for. Tasks may defer further tasks; they run in the same turn. */
void loop_defer(struct loop *loop, struct loop_task *task);
/* The same in the next turn, which then does not wait for sockets: for work that must be left for
 * the sake of others. */
void loop_defer_next(struct loop *loop, struct loop_task *task);
/* The same as loop_defer after all tasks: to free what callers up the stack may still look at. */
void loop_bury(struct loop *loop, struct loop_task *task);
/* Runs the task in loop_deinit: for what has no owner any more who could close it. */
void loop_at_end(struct loop *loop, struct loop_task *task);
/* Takes a task off before it ran. */
void loop_task_cancel(struct loop_task *task);

/* Any thread: the loop's thread runs the message; messages from one thread keep their order. One
 * wake-up stands for all that are posted before the loop looks. Never fails. */
void loop_post(struct loop *loop, struct loop_message *message);

/* Room to read into: at least 64 KiB of the loop's read chunk, `*size` set to what there is (up to
 * CHUNK_LARGE_SIZE). NULL when memory has run out. The bytes may be changed in place until the next
 * call. */
uint8_t *loop_read_space(struct loop *loop, size_t *size);
/* The first `size` bytes of that room as a slice with a reference of its own. May be called several
 * times, for consecutive pieces of the room: keep all of what was read within commits or it is
 * overwritten. */
struct slice loop_read_commit(struct loop *loop, size_t size);

/* A timer of milliseconds on a loop; embedded, closed asynchronously. */
struct loop_timer {
    uv_timer_t uv;
    void (*fired)(struct loop_timer *timer);
    void *holder;
    struct loop_task *closed; /* buried once libuv lets go */
    bool is_open;
};

int loop_timer_init(struct loop *loop, struct loop_timer *timer, void (*fired)(struct loop_timer *),
                    void *holder);
/* (Re)starts; once after `milliseconds`, never in the same turn. */
void loop_timer_start(struct loop_timer *timer, uint64_t milliseconds);
void loop_timer_stop(struct loop_timer *timer);
/* Closes an open timer; when libuv lets go, `closed` (may be NULL) is buried: free the memory
 * there. */
void loop_timer_close(struct loop_timer *timer, struct loop_task *closed);

#endif
