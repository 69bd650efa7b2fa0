/*
 * The workers that run one text of the script. A worker that dies is replaced by one with the same
 * text, at once if it has served, else after a delay that grows. Belongs to its loop's thread.
 */
#ifndef LUA_CREW_H
#define LUA_CREW_H

#include "lua/lua_pool.h"
#include "lua/process.h"

enum {
    CREW_SEATS = 64,
    CREW_LOAD_MILLISECONDS = 10000, /* to read the script in */
    CREW_DELAY_MIN = 100,           /* milliseconds before a worker is replaced that did nothing */
    CREW_DELAY_MAX = 10000,
};

struct crew;
struct seat;

struct crew_owner {
    /* Once: all workers have read the script. */
    void (*loaded)(void *context, struct crew *crew);
    /* Or once: one of them has not. All are ended, and the crew is not to be used any more. */
    void (*broken)(void *context, struct crew *crew, const char *why);
    /* Reports whether a loaded crew has any worker for questions. A dead worker counts again when
     * its replacement has read the script. */
    void (*manned)(void *context, const struct crew *crew, bool is_manned);
    /* A worker is free: the next question for it, or NULL. */
    struct lua_question *(*next_question)(void *context);
    /* The worker for events is free: the next one as JSON, taken from memory_allocate, or NULL. */
    char *(*next_event)(void *context);
    /* The crew's memory has gone. */
    void (*gone)(void *context);
};

struct crew_script {
    char *path; /* as given on the command line */
    char *text;
    size_t size;
};

/* Reads the file. Returns 0, or an error with a sentence in `why`. */
int crew_script_read(const char *path, struct crew_script *script, char *why, size_t why_size);
void crew_script_free(struct crew_script *script);

struct crew_config {
    struct lua_process_group *group;
    struct list *crews; /* of the owner: all that are not gone, retired ones too */
    const struct crew_owner *owner;
    void *context;
    unsigned workers;
    unsigned timeout; /* milliseconds */
    size_t memory;
};

/* Starts the workers, which begin to read. Takes the script, also when it fails. Returns 0 or an
 * error; `broken` may be called before it returns 0. */
int crew_start(const struct crew_config *config, struct crew_script *script, struct crew **out);
bool crew_is_loading(const struct crew *crew);
const char *crew_path(const struct crew *crew);
bool crew_has_register(const struct crew *crew);
bool crew_has_on_event(const struct crew *crew);

/* Once it is loaded: gives the workers that are free what there is for them, now and whenever one
 * becomes free. */
void crew_work(struct crew *crew);

/* Lets the workers end what they do and no more; `gone` follows in its time. */
void crew_retire(struct crew *crew);
/* The same at once: questions are answered as failed, with this reason. */
void crew_end(struct crew *crew, const char *reason);
void crew_end_all(struct list *crews, const char *reason);

/* Sends the answer, which is the question's verdict, to its asker. */
void crew_answer(struct lua_question *question);

#endif
