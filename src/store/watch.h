/*
 * The store's own thread in a gateway: it answers the loops' questions by message, so that no loop
 * waits for a disk, and it notices changes of the store by any process, and expired keys, within a
 * quarter of a second. Keys also expire if the clock is set back (store/expiry_clock.h).
 */
#ifndef STORE_WATCH_H
#define STORE_WATCH_H

#include "base/list.h"
#include "base/str.h"
#include "net/loop.h"
#include "store/store.h"

#include <stddef.h>
#include <stdint.h>

enum {
    STORE_WATCH_CHECKS = 10000, /* checks that wait at most */
    STORE_WATCH_MILLISECONDS = 250,
    STORE_WATCH_KEY_SIZE = 257, /* with a zero */
};

struct store_watch;

/* A question, embedded in the asker's own struct. The asker sets `loop` and `answered`. From the
 * moment that the question was taken until `answered` runs it belongs to the watch: the asker
 * neither changes nor frees it, also when it has lost interest. */
struct store_question {
    struct loop *loop; /* `answered` runs on its thread, and may free the question */
    void (*answered)(struct loop *loop, struct store_question *question);

    /* The answer: 0, CULVERT_ERROR_REFUSED, CULVERT_ERROR_STORE if the store could not tell, or
     * CULVERT_ERROR_CLOSED if the watch was stopped before. */
    int error;
    int64_t key_id;             /* of the key, where error is 0 */
    char user[STORE_NAME_SIZE]; /* noted with the key, where a check's error is 0; may be "" */
    enum store_denial denial;   /* where it is CULVERT_ERROR_REFUSED */

    /* The watch's */
    struct loop_message message;
    struct list_node node;
    char name[STORE_NAME_SIZE];
    char key[STORE_WATCH_KEY_SIZE]; /* wiped once it has been checked */
    size_t key_size;
};

/* Opens the store in `directory` (NULL: the default one) and starts the thread. `changed` is called
 * on that thread after the store has changed or a key has expired: what was right may be so no
 * more, so whoever holds ids asks again. It must not block, nor stop the watch. Returns what
 * store_open does, or -errno, with a sentence in `why`. */
int store_watch_start(const char *directory, void (*changed)(void *context), void *context,
                      struct store_watch **out, char *why, size_t why_size);

/* The directory of the store, and how many keys were live in it when the watch started. */
const char *store_watch_directory(const struct store_watch *watch);
int64_t store_watch_count(const struct store_watch *watch);
/* Whether the store could not be read when it was looked at last. Any thread. */
bool store_watch_is_broken(const struct store_watch *watch);
/* Whether the watch has made the store. */
bool store_watch_is_new(const struct store_watch *watch);

/* Asks whether `key` is a live key of `name`; both are copied. Any thread. Returns 0 if the
 * question was taken, else (`answered` will not run) CULVERT_ERROR_LIMIT if too many wait, or
 * CULVERT_ERROR_TOO_LARGE for a name or key that is longer than any. */
int store_watch_check(struct store_watch *watch, struct store_question *question, const char *name,
                      struct text key);

/* Asks whether the key with this id is live still. Goes before all checks, so that a flood of
 * logins does not put off a revocation, and has no bound but the number of those who were let in.
 * Any thread. Returns 0. */
int store_watch_recheck(struct store_watch *watch, struct store_question *question, int64_t key_id);

/* Ends the thread, answers what waits with CULVERT_ERROR_CLOSED, and frees. Nobody may ask from the
 * moment that it is called; the loops that have asked must still run, or be drained afterwards. */
void store_watch_stop(struct store_watch *watch);

#endif
