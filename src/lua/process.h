/*
 * A worker process and the socket to it, on a loop. A process that has ended, by itself or by our
 * hand, is reaped when its socket has; no signal and no thread is needed for that, so the program
 * around may do with SIGCHLD what it likes.
 */
#ifndef LUA_PROCESS_H
#define LUA_PROCESS_H

#include "base/list.h"
#include "lua/frame.h"
#include "lua/worker_user.h"
#include "net/loop.h"

#include <poll.h>
#include <sys/types.h>

enum { LUA_PROCESS_GRACE = 2000 /* milliseconds to end in after lua_process_retire */ };

struct lua_process;

/* All processes of a pool; they are freed in the loop's own time. */
struct lua_process_group {
    struct loop *loop;
    const char *program; /* borrowed */
    struct worker_user user;
    struct list processes;
    /* A process is freed, and `processes` is empty. */
    void (*emptied)(struct lua_process_group *group);
};

struct lua_process_handlers {
    /* A frame has come: `json` is terminated. */
    void (*received)(void *holder, const char *json, size_t size);
    /* It has ended or broken the rules of frames: it is killed and nothing more will be told. */
    void (*ended)(void *holder);
    /* The time of lua_process_expect has passed. */
    void (*late)(void *holder);
};

void lua_process_group_init(struct lua_process_group *group, struct loop *loop, const char *program,
                            const struct worker_user *user,
                            void (*emptied)(struct lua_process_group *));

/* Starts `program lua-worker` with its socket as descriptor 3, an environment of little and no
 * other descriptor than the standard ones. Linux ends it with the thread that has called this.
 * Returns 0 or an error. */
int lua_process_start(struct lua_process_group *group, const struct lua_process_handlers *handlers,
                      void *holder, struct lua_process **out);

/* Takes what is in the frame and sends it, behind nothing: one at a time is under way. An error
 * shows as `ended`. */
void lua_process_send(struct lua_process *process, struct frame *frame);
bool lua_process_is_sending(const struct lua_process *process);
/* `late` is called if this is not called again within so many milliseconds; 0 for none. */
void lua_process_expect(struct lua_process *process, uint64_t milliseconds);

/* Both give the process up: no handler is called from now on. */
void lua_process_kill(struct lua_process *process);
/* Lets it end by itself, which it does when it has no question left. */
void lua_process_retire(struct lua_process *process);

/* While the loop does not run: waits up to so many milliseconds until a process can be written to
 * or read from, and does so. */
void lua_process_group_wait(struct lua_process_group *group, int milliseconds);
/* While the loop does not run: ends all processes, which have been given up, and reaps them. */
void lua_process_group_end(struct lua_process_group *group);

#endif
