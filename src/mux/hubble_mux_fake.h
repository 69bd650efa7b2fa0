/*
 * For the tests of Hubble's mux: an end with a mux in it, and holders that note each event. What
 * was sent and what was told are texts, so that a test reads like a script:
 *
 *   02 s1 west [::1]:22   03 s1 #1 hello   04 s1   05 s1   ff s1 yes   ff s1 no Unauthorized
 *   s1 opened   s1 data hello   s1 fin   s1 reset 16   s1 written 5   s1 finished
 *
 * each followed by "; ". A payload of more than 16 bytes is shown as its size.
 */
#ifndef MUX_HUBBLE_MUX_FAKE_H
#define MUX_HUBBLE_MUX_FAKE_H

#include "mux/hubble_mux_internal.h"

enum { HUBBLE_FAKE_HOLDERS = 64, HUBBLE_FAKE_TEXT = 8192 };

struct hubble_fake;

struct hubble_fake_holder {
    struct hubble_fake *end;
    struct stream *stream; /* NULL once closed */
    char guid[HUBBLE_MAX_GUID + 1];
    struct slice_queue in; /* delivered, not yet consumed */
    char reason[MESSAGE_MAX_REASON + 1];
    int resets;
    void (*hook)(struct hubble_fake_holder *holder); /* called by each event, after it was noted */
};

struct hubble_fake {
    struct account account;
    struct chunk_pool pool;
    struct hubble_mux mux;
    struct hubble_fake_holder holders[HUBBLE_FAKE_HOLDERS];
    size_t holder_count;
    uint64_t now;
    int asked, pings;
    bool is_stopped;
    bool keeps;                      /* holders do not consume what comes at once */
    int refuse;                      /* not 0: the peer's opens are answered with this */
    bool ignores_opens;              /* and left without a holder */
    char host[MESSAGE_MAX_HOST + 1]; /* of the last open of the peer's */
    char told[HUBBLE_FAKE_TEXT];
    char sent[HUBBLE_FAKE_TEXT];
};

void hubble_fake_init(struct hubble_fake *end, enum hubble_role role);
/* Aborts, closes and frees everything, and checks that nothing is left. */
void hubble_fake_deinit(struct hubble_fake *end);

/* We open. */
struct hubble_fake_holder *hubble_fake_open(struct hubble_fake *end, const char *guid);
/* The youngest holder of a session with this GUID. */
struct hubble_fake_holder *hubble_fake_find(struct hubble_fake *end, const char *guid);

/* The peer's messages; `end` is 05 from an agent, 04 from a proxy. */
void hubble_fake_peer_opens(struct hubble_fake *end, const char *guid);
void hubble_fake_peer_opens_host(struct hubble_fake *end, const char *guid, const char *host);
void hubble_fake_peer_sends(struct hubble_fake *end, const char *guid, int64_t order,
                            const char *text);
void hubble_fake_peer_sends_size(struct hubble_fake *end, const char *guid, int64_t order,
                                 size_t size);
void hubble_fake_peer_ends(struct hubble_fake *end, const char *guid);
/* NULL: yes. */
void hubble_fake_peer_answers(struct hubble_fake *end, const char *guid, const char *refusal);
int hubble_fake_receive(struct hubble_fake *end, const struct message *message, const void *data,
                        size_t size);

/* The holder's operations. */
void hubble_fake_accept(struct hubble_fake_holder *holder);
void hubble_fake_write(struct hubble_fake_holder *holder, const char *text);
/* `size` bytes in slices of `piece` bytes. */
void hubble_fake_write_size(struct hubble_fake_holder *holder, size_t size, size_t piece);
void hubble_fake_finish(struct hubble_fake_holder *holder);
void hubble_fake_reset(struct hubble_fake_holder *holder, int code, const char *reason);
void hubble_fake_consume(struct hubble_fake_holder *holder);
void hubble_fake_close(struct hubble_fake_holder *holder);

/* Lets `seconds` pass; the timers are looked at as often as the mux asks for it. */
void hubble_fake_wait(struct hubble_fake *end, double seconds);

/* All that is sent now; then the turn ends. */
const char *hubble_fake_sent(struct hubble_fake *end);
/* The events since the last call. */
const char *hubble_fake_told(struct hubble_fake *end);

/* Pulls one message and puts it, whole, into `bytes`; 0 if there is none. */
size_t hubble_fake_pull(struct hubble_fake *end, uint8_t *bytes, size_t room);

#endif
