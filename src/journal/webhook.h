/*
 * Events to a web server (docs/events.md, "Webhook"), on a thread of its own: what waits goes in
 * batches, is tried again with growing pauses, and dropped and counted where the queue has no room
 * for it (journal/room.h).
 */
#ifndef JOURNAL_WEBHOOK_H
#define JOURNAL_WEBHOOK_H

#include "journal/room.h"

#include <stddef.h>
#include <stdint.h>

enum {
    WEBHOOK_BATCH_BYTES = 512 * 1024, /* in one POST, unless one event is larger */
    WEBHOOK_RETRY_MIN = 1000,         /* milliseconds */
    WEBHOOK_RETRY_MAX = 60000,
};

struct webhook;

struct webhook_config {
    const char *url;
    const char *secret;      /* of the signature; NULL: none */
    const char *secret_file; /* checked before each POST, and read again when it has changed; the
                                secret stays if the file cannot be read. NULL: none */
    const char *journal;     /* names this run to the receiver */
};

/* Texts are copied. Returns 0, or an error with a sentence in `why`. */
int webhook_start(const struct webhook_config *config, struct webhook **out, char *why,
                  size_t why_size);

/* Queues a copy of an event's JSON in this place. Never waits for the network. */
void webhook_push(struct webhook *webhook, const char *json, size_t size, struct room_place place);

/* Sends what is left until `deadline` (milliseconds of a monotonic clock), trying nothing twice any
 * more; says what was not delivered, and frees. NULL: nothing. */
void webhook_stop(struct webhook *webhook, int64_t deadline);

#endif
