/*
 * Credit: how many bytes a stream may send, and how many more its receiver lets come. Two value
 * types without a stream around them. Windows grow while a stream uses its window up within a
 * few round trips; credit is never taken back.
 */
#ifndef MUX_CREDIT_H
#define MUX_CREDIT_H

#include "base/account.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    CREDIT_MAX_WINDOW = 16 * 1024 * 1024,
    CREDIT_EPOCH_TRIPS = 8,
    CREDIT_SCHEDULING = 1000, /* microseconds of a round trip that are no line's */
};

struct credit_sender {
    uint64_t available; /* bytes that may be sent now */
    uint64_t withheld;  /* bytes that the ack will release */
    bool is_accepted;
};

/* Before its ack a stream may send at most `early` bytes of `window`; what is granted before the
 * ack is withheld too. */
void credit_sender_init(struct credit_sender *sender, uint32_t window, uint32_t early);
void credit_sender_accepted(struct credit_sender *sender);
/* `bytes` is at most what is available. */
void credit_sender_spend(struct credit_sender *sender, size_t bytes);
/* CULVERT_ERROR_PROTOCOL if the sum passes 2^31. */
int credit_sender_grant(struct credit_sender *sender, uint64_t bytes);

struct credit_receiver {
    uint64_t outstanding; /* credit that the peer holds: granted and not yet used */
    uint64_t undelivered; /* came in, not yet reported as consumed */
    uint64_t window;      /* what outstanding + undelivered + due adds up to */
    uint64_t due;         /* consumed, to be granted by the next credit message */
    uint64_t base_window; /* what is beyond is promised to the account */
    uint64_t epoch_bytes; /* consumed since epoch_start */
    uint64_t epoch_start; /* microseconds */
};

void credit_receiver_init(struct credit_receiver *receiver, uint32_t window, uint64_t now);
/* CULVERT_ERROR_PROTOCOL for data beyond credit. */
int credit_receiver_arrived(struct credit_receiver *receiver, size_t bytes);
/* Returns whether a credit message is worth sending now (a quarter of the window is due). May grow
 * the window, and promise the growth to the account, if the account allows it. */
bool credit_receiver_consumed(struct credit_receiver *receiver, size_t bytes, uint64_t now,
                              uint64_t round_trip, struct account *account);
/* Takes what is due, for the credit message. */
uint64_t credit_receiver_take_due(struct credit_receiver *receiver);
/* Takes back the promises of growth. */
void credit_receiver_deinit(struct credit_receiver *receiver, struct account *account);

#endif
