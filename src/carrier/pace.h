/*
 * How much a carrier gives its socket at a time. Small messages wait for what was given before
 * them, so on a slow line that must be little; on a fast one much, since each write costs. A state
 * machine without a socket or a clock: times are microseconds of any monotonic clock.
 *
 * Between two moments at which the socket takes no more, all that was written has left: that is the
 * line's rate. A batch is what the line takes in PACE_TIME. What the kernel may hold unsent
 * (TCP_NOTSENT_LOWAT) is two of them, but only once the line has settled: a sender that runs dry
 * while TCP looks for the line's rate is not believed (BBR then goes on with its start, and keeps
 * the line's queue full). Until then it is 32 of them, since BBR sends three times as fast as it
 * believes the line to be.
 */
#ifndef CARRIER_PACE_H
#define CARRIER_PACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    PACE_TIME = 1000,
    PACE_FIRST_BATCH = 64 * 1024,
    PACE_LEAST_BATCH = 8 * 1024,
    PACE_MOST_BATCH = 512 * 1024,
    PACE_MOST_UNSENT = 128 * 1024,   /* a line whose batches are larger is not slow */
    PACE_START_UNSENT = 512 * 1024,  /* the same while TCP looks for the rate of one that is */
    PACE_LEAST_MEASURE = 10 * 1000,  /* of two moments that tell the rate */
    PACE_MOST_MEASURE = 1000 * 1000, /* further apart, the sender was idle for a while */
    PACE_FAR = 4 * 1000,             /* round trip of a peer that is far away */
    PACE_QUIET = 100 * 1000,         /* a socket that was not full for so long may get more */
};

struct pace {
    size_t batch;     /* bytes that the next batch should have at most */
    uint64_t since;   /* of this measure; 0: none has begun */
    uint64_t written; /* bytes since then */
    uint64_t full;    /* when the socket was full last */
    bool has_settled; /* a slow line, whose rate TCP knows as well */
};

void pace_init(struct pace *pace);

/* The socket has taken so many bytes. */
void pace_wrote(struct pace *pace, size_t bytes, uint64_t now);

/* It takes no more now. True if the line seems slow and has not settled: call pace_settle if TCP is
 * past its start. */
bool pace_is_full(struct pace *pace, uint64_t now);
void pace_settle(struct pace *pace);

/* Whether it takes noticeably long until much has crossed the line: it is slow, or the peer is far
 * away, where TCP needs time to send again what is lost. */
bool pace_is_long(const struct pace *pace, uint64_t round_trip);

/* The bytes that the kernel may hold unsent. */
size_t pace_unsent(const struct pace *pace);

#endif
