/*
 * Outlets: ways out. Dialling gives a stream at once; it takes writes while it is connecting,
 * reports `opened` when the target is there, or `reset` with the reason when it is not.
 */
#ifndef ENDS_OUTLET_H
#define ENDS_OUTLET_H

#include "net/asker.h"
#include "net/loop.h"
#include "policy/whitelist.h"
#include "relay/stream.h"

#include <stdint.h>

struct outlet_target {
    const char *kind; /* "tcp" */
    const char *host; /* terminated; copied */
    uint16_t port;
    struct asker *asker; /* who is charged while it is pending; NULL: nobody */
    unsigned timeout;    /* milliseconds; 0: OUTLET_TIMEOUT */
};

enum { OUTLET_TIMEOUT = 10 * 1000 };

/* The whitelist is borrowed and must outlive the dialling. Returns 0, CULVERT_ERROR_UNSUPPORTED for
 * a kind that is not known, CULVERT_ERROR_NO_MEMORY. A target that the whitelist forbids is
 * refused by a `reset` event with REASON_NOT_ALLOWED and a reason, in a later turn; an asker that
 * has all it may have, with REASON_LIMIT. */
int outlet_dial(struct loop *loop, const struct outlet_target *target,
                const struct whitelist *whitelist, struct stream **stream);

#endif
