/*
 * A link outlives its carrier: it counts the messages of each direction, keeps what it sent until
 * the peer has acknowledged it, and can send it again on another carrier. It is a state machine in
 * the pure rooms: no socket, no clock; time comes in as microseconds of any monotonic clock.
 *
 * What it keeps is bounded. When the bound is reached, data waits (link_has_room says no); control
 * has a small reserve of its own, past which it waits too (link_has_control_room). Half of it may
 * be used by what is in as much of a hurry (link_has_small_room). The bound tunes
 * itself to rate times round trip between LINK_MIN_KEPT and LINK_MAX_KEPT.
 *
 * A message may come early, on another way, and again in its place on the carrier: it is acted on
 * once, whichever is first. What comes early is neither counted nor acknowledged, so nothing
 * depends on that way.
 */
#ifndef LINK_LINK_H
#define LINK_LINK_H

#include "base/account.h"
#include "base/parking.h"
#include "base/slice.h"
#include "codec/message.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    LINK_MIN_KEPT = 4 * 1024 * 1024,
    LINK_MAX_KEPT = 16 * 1024 * 1024,
    LINK_CONTROL_RESERVE = 256 * 1024,
    LINK_MESSAGE_COST = 64,            /* charged per message on top of its bytes */
    LINK_RECEIVED_BYTES = 1024 * 1024, /* a `received` is due after this much */
    LINK_RECEIVED_DELAY = 100 * 1000,  /* or after this long, in microseconds */
    LINK_QUICK_TRIP = 20 * 1000,       /* a round trip of data that is quick on any path */
    LINK_COPY_LIMIT = 1024,            /* a smaller payload is copied behind its header */
    LINK_HEAD_SIZE = 32,
    LINK_EARLY_WINDOW = 4096, /* how far ahead of those counted a message may come early */
    LINK_MAX_DATA_COST = MESSAGE_MAX_DATA + LINK_HEAD_SIZE + LINK_MESSAGE_COST,
};

/* One message as it goes on the wire: head, then body. */
struct link_entry {
    struct slice head;
    struct slice body; /* SLICE_NULL if the head is all */
};

struct link {
    struct account *account;
    struct slice_arena arena; /* heads and small messages */
    struct parking parking;   /* of the bodies kept */
    struct link_entry *ring;
    uint32_t capacity;
    uint32_t start;       /* slot of the oldest entry kept */
    uint32_t count;       /* entries kept */
    uint32_t settled;     /* of these, the first ones that pin no more than they need, */
    uint32_t marked;      /* and with those that were there when they were last looked at */
    uint32_t unsent;      /* of these, the last ones that this carrier has not been given */
    uint64_t next;        /* number of the next message appended; the first is 1 */
    size_t kept;          /* bytes, with LINK_MESSAGE_COST each */
    size_t bound;         /* what data may fill `kept` up to */
    uint64_t quiet_since; /* when it last was empty, or the peer last acknowledged something */
    uint64_t probe; /* number whose acknowledgement measures the round trip of data; 0: none */
    uint64_t probe_time;
    uint64_t smallest_trip;    /* of all probes on this carrier; UINT64_MAX before the first */
    bool was_full;             /* the bound was hit since the last probe */
    uint64_t received;         /* counted messages taken in since the link began */
    uint64_t reported;         /* the last count that we told the peer */
    size_t unreported_bytes;   /* with LINK_MESSAGE_COST each, as the sender counts them */
    uint64_t unreported_since; /* when the first unreported message came */
    uint64_t epoch;
    uint64_t expected;                      /* number of the next counted message on this carrier */
    uint64_t early[LINK_EARLY_WINDOW / 64]; /* those above `received` that came early, by number */
};

/* `pool` and `account` are borrowed and outlive the link. */
void link_init(struct link *link, struct chunk_pool *pool, struct account *account);
/* Drops all that is kept; repeatable. */
void link_deinit(struct link *link);

/* Whether a data message of any size may be appended now without going past the bound. */
bool link_has_room(const struct link *link);
/* The same for control, which has the reserve. What is not appended waits with its owner: the peer
 * makes room by `received`, which needs none. */
bool link_has_control_room(const struct link *link);

/* The same for a small message of data that is not to wait with the rest. */
bool link_has_small_room(const struct link *link);

/*
 * Counts and keeps a message: `head` is copied (at most LINK_HEAD_SIZE bytes, none if the body is
 * all), `body` is taken. `is_urgent` messages may use the reserve: control, and small ones for
 * which there is room. Returns 0, CULVERT_ERROR_LIMIT for urgent ones past the reserve and for data
 * past the bound, or CULVERT_ERROR_NO_MEMORY; the body is dropped then and the link must be cut.
 */
int link_append(struct link *link, const uint8_t *head, size_t head_size, struct slice body,
                bool is_urgent, uint64_t now);

/* The message `index` places behind the first one not yet sent on this carrier, borrowed; NULL
 * behind the last. */
const struct link_entry *link_unsent(const struct link *link, uint32_t index);

/* The first `count` unsent messages are on the carrier. */
void link_sent(struct link *link, uint32_t count);

/* The peer has taken in `count` messages: frees them. CULVERT_ERROR_PROTOCOL if that is more than
 * were sent, or fewer than it said before. */
int link_acknowledged(struct link *link, uint64_t count, uint64_t now);

/*
 * A whole counted message of `bytes` bytes came from the carrier. Returns 1: it is new, act on it;
 * 0: it was taken in before (a replay, or it came early), ignore it; CULVERT_ERROR_PROTOCOL: there
 * is a gap.
 */
int link_take(struct link *link, size_t bytes, uint64_t now);
/* The same for a skip message, which stands for `messages` messages and is not one itself; new if
 * any of them is. CULVERT_ERROR_PROTOCOL also for a number of messages that cannot be. */
int link_take_skip(struct link *link, uint64_t messages, uint64_t now);

/*
 * The message of this number came early. `before`: the number of the one that must be acted on
 * before it, 0 if none. Returns 1: act on it; 0: ignore it, since it was taken in before, or is to
 * be acted on when it comes in its place; CULVERT_ERROR_PROTOCOL: the numbers cannot be.
 */
int link_take_early(struct link *link, uint64_t number, uint64_t before);

/* Whether a `received` should go out now; the count is link->received, then call link_reported. */
bool link_report_is_due(const struct link *link, uint64_t now);
void link_reported(struct link *link);

/* When link_report_is_due becomes true by time alone; UINT64_MAX if it does not. */
uint64_t link_timeout(const struct link *link);

/*
 * A new carrier: `peer_first` is the number of the first counted message that comes on it,
 * `peer_received` what the peer has of ours. The rest counts as unsent again. Our own First is
 * link_first afterwards, and what we received counts as reported. Returns 0; CULVERT_ERROR_REFUSED
 * for an epoch that is not above the last; CULVERT_ERROR_PROTOCOL for numbers that cannot be (a
 * gap). On an error the link is as it was. A fresh link is attached with epoch 1, peer_first 1,
 * peer_received 0.
 */
int link_attach(struct link *link, uint64_t epoch, uint64_t peer_first, uint64_t peer_received);

/*
 * The number that stands as First in a handshake sent now: of the oldest message kept. The side
 * that answers a handshake attaches first and so knows what the peer has; the side that dials does
 * not. Where link_attach, called with the answer, moves this number up by n, the dialling side
 * sends a skip of n ahead of all else on the new carrier.
 */
uint64_t link_first(const struct link *link);

#endif
