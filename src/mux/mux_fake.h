/* For the tests of the mux: an end with a mux in it, and holders that note each event. */
#ifndef MUX_FAKE_H
#define MUX_FAKE_H

#include "mux/mux.h"

enum { FAKE_MAX_HOLDERS = 64 };

struct fake_end;

struct fake_holder {
    struct fake_end *end;
    struct stream *stream; /* NULL once closed */
    uint64_t id;
    struct slice_queue in; /* delivered, not yet consumed */
    char kind[MESSAGE_MAX_KIND + 1];
    int opened, fins, finished, resets;
    int code;
    char reason[MESSAGE_MAX_REASON + 1];
    size_t received, written;
    void (*hook)(struct fake_holder *holder); /* called by each event, after it was noted */
};

struct fake_end {
    struct account account;
    struct chunk_pool pool;
    struct mux mux;
    struct fake_holder holders[FAKE_MAX_HOLDERS];
    size_t holder_count;
    uint64_t now;
    int asked;         /* calls of wants_to_send */
    int refuse_code;   /* not 0: an open is answered with a reset and a close */
    bool ignore_opens; /* streams of the peer are not put down in `holders` but left without one */
};

/* A message as it was pulled, decoded; texts are borrowed from `bytes`. */
struct fake_message {
    struct message message;
    bool is_control;
    uint8_t bytes[MESSAGE_MAX_CONTROL + MESSAGE_MAX_DATA];
    size_t size;
    const uint8_t *payload;
};

void fake_end_init(struct fake_end *end, bool dials);
/* Aborts, closes and frees everything, and checks that nothing is left. */
void fake_end_deinit(struct fake_end *end);

/* `a` dials and so opens 1, 3, 5...; `b` opens 2, 4, 6... */
struct fake_pair {
    struct fake_end a, b;
};

/* A fixture's set-up, which leaves the pair in `state`, and its tear-down. */
int fake_pair_init(struct fake_pair *pair, void **state);
int fake_pair_deinit(void **state);

struct fake_holder *fake_open(struct fake_end *end);
/* A stream that `a` opened and `b` accepted; `far` is b's end of it. */
struct fake_holder *fake_join(struct fake_end *a, struct fake_end *b, struct fake_holder **far);
struct fake_holder *fake_find(struct fake_end *end, uint64_t id);
/* Writes `size` bytes 0, 1, 2... in slices of `piece` bytes. */
void fake_write_pieces(struct fake_holder *holder, size_t size, size_t piece);
void fake_write(struct fake_holder *holder, size_t size);
void fake_consume(struct fake_holder *holder);
void fake_reset(struct fake_holder *holder, int code, const char *reason);
void fake_close(struct fake_holder *holder);

/* Pulls one message; false if there is none. */
bool fake_pull(struct fake_end *end, struct fake_message *out);
/* Pulls and expects a message of this type for this stream. */
void fake_expect(struct fake_end *end, enum message_type type, uint64_t id);
void fake_expect_nothing(struct fake_end *end);
/* Feeds one message; data has `size` bytes of payload. */
int fake_receive(struct fake_end *end, const struct message *message, const void *data,
                 size_t size);
int fake_receive_data(struct fake_end *end, uint64_t id, size_t size);
int fake_receive_open(struct fake_end *end, uint64_t id);
/* Moves all messages of `from` to `to`; returns how many. */
size_t fake_deliver(struct fake_end *from, struct fake_end *to);
/* Both ways until nothing moves any more. */
void fake_settle(struct fake_end *a, struct fake_end *b);

#endif
