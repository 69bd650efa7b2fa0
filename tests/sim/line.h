/*
 * A carrier in virtual time: two ends that are `struct carrier`, and between them a line with a
 * rate and a delay, which brings batches in pieces, and can be held up, go silent, or break with a
 * part of what was under way delivered.
 */
#ifndef LINE_H
#define LINE_H

#include "base/list.h"
#include "carrier/carrier.h"
#include "trial.h"

enum {
    LINE_NOT_SENT = 64 * 1024, /* bytes that an end takes beyond what is on the line */
    LINE_NONCE_SIZE = 16,
};

struct line;

struct line_end {
    struct carrier carrier;
    struct line *line;
    struct chunk_pool *pool; /* what comes in is read to its chunks */
    struct chunk *reading;
    size_t read;
    struct list pieces; /* on the way to this end */
    /* Of what this end sends: */
    uint64_t free_at; /* nanoseconds: when the line has sent all that it was given */
    size_t stuck;     /* bytes that it holds because the other end does not hear any */
    /* Of what comes to this end: */
    bool is_deaf;       /* nothing comes any more, and nobody says so */
    uint64_t held_till; /* nothing comes before */
    uint64_t lost_time; /* when it will be told that the carrier is dead */
    bool is_reading, is_closed;
    bool is_full; /* it took no more, and is to be told when it does */
};

struct line {
    struct list_node node; /* for whoever made it */
    struct trial *trial;
    uint64_t rate;  /* bytes a second */
    uint64_t delay; /* microseconds */
    size_t batch;
    uint8_t nonce[LINE_NONCE_SIZE];
    struct line_end ends[2];
};

/* As dialled by side 0; its numbers are chosen at random. NULL when memory has run out. */
struct line *line_new(struct trial *trial, struct chunk_pool *const pools[2]);
/* Both ends are closed. */
void line_free(struct line *line);

static inline struct line_end *line_end_of(struct carrier *carrier)
{
    return CONTAINER_OF(carrier, struct line_end, carrier);
}

/* Both ends learn of it at once or soon; of what is under way a part may still arrive. */
void line_break(struct line *line);
/* Nothing comes any more to the end, which is not told. */
void line_silence(struct line *line, int end);
/* Nothing comes to the ends for so long, then all of it. */
void line_hold_up(struct line *line, uint64_t duration);

/* When something happens on it by itself; TRIAL_NEVER if nothing does. */
uint64_t line_next(const struct line *line);
/* Tells the ends what has happened by now. */
void line_run(struct line *line);
/* Nothing is under way. */
bool line_is_quiet(const struct line *line);

#endif
