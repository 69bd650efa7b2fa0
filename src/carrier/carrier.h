/*
 * A carrier takes the messages of a link from here to the peer and back: a WebSocket, or HTTP long
 * poll. It knows nothing of what it carries. It belongs to one loop; to continue on another it
 * departs from the one as cargo, which a message takes across, and arrives on the other.
 */
#ifndef CARRIER_CARRIER_H
#define CARRIER_CARRIER_H

#include "base/slice.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Bytes of the random nonce that a gateway makes for each carrier. What an agent proves on a
 * carrier is bound to it. */
enum { CARRIER_NONCE_SIZE = 16 };

struct carrier;
struct carrier_cargo;
struct loop;

struct carrier_cargo_operations {
    /* Goes on on this loop, whose thread this is: a paused carrier with no events yet, as after
     * its making, so the holder sets `events` before it returns to the loop. Frees the cargo also
     * when it fails, with an error. */
    int (*arrive)(struct carrier_cargo *cargo, struct loop *loop, struct carrier **carrier);
    /* Closes what nobody took up. Any thread. */
    void (*drop)(struct carrier_cargo *cargo);
};

/* A carrier between two loops. */
struct carrier_cargo {
    const struct carrier_cargo_operations *operations;
};

struct carrier_operations {
    /* `send` takes one message, the last before `close`, also while is_ready says no: it leaves
     * when all before it has been taken. */
    bool takes_last;
    /* Takes the batch's slices as one message. Only while is_ready says so; further messages may
     * follow at once, until `flush`. */
    void (*send)(struct carrier *carrier, struct slice_queue *batch);
    /* Writes what was given to `send`. */
    void (*flush)(struct carrier *carrier);
    /* Whether all that was given has left, so that more may be. */
    bool (*is_ready)(const struct carrier *carrier);
    /* How many bytes the next batch should hold at most: what the line takes in about a
     * millisecond, so that a small message never waits long behind a large one. */
    size_t (*batch_limit)(const struct carrier *carrier);
    /* Whether it takes noticeably long until much has crossed, to a peer that is so many
     * microseconds away (0: not known). NULL: it does not matter, nothing else would pass. */
    bool (*is_long)(const struct carrier *carrier, uint64_t round_trip);
    /* Microseconds for which the peer's system has acknowledged nothing of what is on its way to
     * it; 0 when nothing is. NULL where that cannot be known. */
    uint64_t (*unacknowledged)(const struct carrier *carrier);
    /* Asks the peer for a sign of life below the messages; `ponged` tells of the answer. */
    void (*ping)(struct carrier *carrier);
    /* Reads no more until it is turned on again. */
    void (*read)(struct carrier *carrier, bool on);
    /* Takes a paused carrier off its loop; it is gone afterwards, and no event follows. NULL when
     * memory has run out or the carrier is lost: then it is as it was and the holder closes it. */
    struct carrier_cargo *(*depart)(struct carrier *carrier);
    /* Tells the peer `reason` if it can and closes; frees the carrier at the end of the turn. No
     * event follows. */
    void (*close)(struct carrier *carrier, int error, const char *reason);
};

struct carrier_events {
    /* A piece of a message; the receiver takes the slice. */
    void (*data)(struct carrier *carrier, struct slice piece);
    /* The message is complete. */
    void (*message_end)(struct carrier *carrier);
    /* All that one read brought has been told. */
    void (*read_end)(struct carrier *carrier);
    /* is_ready has become true again. */
    void (*ready)(struct carrier *carrier);
    /* The peer has answered a ping. NULL for who never pings. */
    void (*ponged)(struct carrier *carrier);
    /* The carrier is of no more use; the holder closes it. `why` is a sentence's end, borrowed. */
    void (*lost)(struct carrier *carrier, int error, const char *why);
};

struct carrier {
    const struct carrier_operations *operations;
    const struct carrier_events *events;
    void *holder;
};

static inline void carrier_close(struct carrier *carrier, int error, const char *reason)
{
    carrier->operations->close(carrier, error, reason);
}

#endif
