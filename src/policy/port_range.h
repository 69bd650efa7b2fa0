/* Ports as a rule names them: one, LO-HI, or `*`. */
#ifndef POLICY_PORT_RANGE_H
#define POLICY_PORT_RANGE_H

#include "base/str.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct port_range {
    uint16_t low, high; /* both belong to it; never 0 */
};

/* CULVERT_ERROR_INVALID with a sentence in `why`. */
int port_range_parse(struct text text, struct port_range *range, char *why, size_t why_size);

static inline bool port_range_holds(const struct port_range *range, uint16_t port)
{
    return port >= range->low && port <= range->high;
}

#endif
