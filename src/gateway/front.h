/*
 * What stands in front of the gateway: a proxy that says whose connection it passes on, in a header
 * of the PROXY protocol before all else or in X-Forwarded-For. Only proxies that the config trusts
 * are believed.
 */
#ifndef GATEWAY_FRONT_H
#define GATEWAY_FRONT_H

#include "codec/http1.h"
#include "http/head_reader.h"
#include "net/address.h"
#include "net/conn.h"
#include "policy/network.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct front {
    const struct network *trusted; /* borrowed */
    size_t trusted_count;
    uint8_t address[HOST_ADDRESS_SIZE]; /* whose words come next, as far as that is believed */
    char text[ADDRESS_TEXT_SIZE];       /* the same for people, with its port if that is known */
    bool has_address;                   /* the peer was still there to be asked for it */
    bool is_trusted;                    /* the address is that of a trusted proxy */
    bool is_passed;                     /* TLS or HTTP comes next */
};

/* At the peer's own address. */
void front_init(struct front *front, const struct network *trusted, size_t trusted_count,
                const struct conn *conn);

/*
 * Reads a PROXY header off a connection that is plain yet, and not a byte of what stands behind it.
 * Bytes that could have begun one and have not are kept in the reader. Returns 0: passed;
 * CULVERT_NEED_MORE: to be called again when there is more; else an error: CULVERT_ERROR_CLOSED,
 * CULVERT_ERROR_NO_MEMORY, -errno, or what was logged, for a malformed header and for any from a
 * peer that is not trusted.
 */
int front_read(struct front *front, struct head_reader *reader, struct conn *conn);

/* Follows X-Forwarded-For from its end to the first address that is not that of a trusted proxy, as
 * long as each hop is an address. */
void front_take_fields(struct front *front, const struct http1_head *head);

/* The group of addresses (gateway/address_group.h) that limits are counted against:
 * ADDRESS_GROUP_NONE for a trusted proxy that has named no client, for loopback unless
 * `limits_loopback`, and where the address is not known. */
uint64_t front_group(const struct front *front, bool limits_loopback);

#endif
