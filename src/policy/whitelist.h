/*
 * What an agent may dial. A rule names a host and ports: HOST:PORT, CIDR:PORT, HOST:*, CIDR:LO-HI,
 * or `*`; IPv6 in brackets. A name is resolved first and the address is checked: a rule with a name
 * allows what the name resolves to, except loopback, link-local and multicast addresses (also as
 * IPv4-mapped IPv6), which only a rule that names the address, or `localhost`, allows. The
 * unspecified addresses count as loopback, for dialling them reaches this machine. `localhost`
 * stands for 127.0.0.1, ::1, and any loopback address that the name itself resolves to. An address
 * or a network allows every host name that resolves into it; but for the sake of loopback addresses
 * no name other than `localhost` is resolved. An IPv4 address in IPv6 notation (host_canonical)
 * is treated as the IPv4 address. `*` as the whole rule allows all of
 * them: it is the user's word that everything may be dialled.
 */
#ifndef POLICY_WHITELIST_H
#define POLICY_WHITELIST_H

#include "policy/network.h"
#include "policy/port_range.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

struct whitelist_rule {
    char host[256]; /* as written, lower case; "" when it is a network or `*` */
    bool any;       /* `*` */
    struct network network;
    struct port_range ports;
};

/* An address and port that is never dialled. */
struct whitelist_denial {
    struct sockaddr_storage address;
    uint64_t count; /* how often it was said */
};

/* Where the rules come from. */
enum whitelist_origin {
    WHITELIST_GIVEN,            /* the user has named what may be dialled */
    WHITELIST_DEFAULT_LOOPBACK, /* the user has named nothing: loopback targets only */
    WHITELIST_DEFAULT_NOTHING,  /* the user has named nothing: nothing may be dialled */
};

struct whitelist {
    struct whitelist_rule *rules;
    size_t count;
    enum whitelist_origin origin;
    struct whitelist_denial *denied;
    size_t denied_count;
    /* Whether an address is one of this machine's; asked only about a port that is denied on every
     * local address. NULL: only loopback addresses are. */
    bool (*is_local)(const struct sockaddr_storage *address);
};

void whitelist_init(struct whitelist *list);
void whitelist_deinit(struct whitelist *list);

/* Adds a rule. CULVERT_ERROR_INVALID with a sentence in `why`, or CULVERT_ERROR_NO_MEMORY. */
int whitelist_add(struct whitelist *list, const char *rule, char *why, size_t why_size);

/* An address and port that is never dialled, whatever the rules say: our own listeners. The
 * unspecified address (0.0.0.0, ::) stands for every local address; a port of 0 is not allowed.
 * CULVERT_ERROR_INVALID or CULVERT_ERROR_NO_MEMORY. */
int whitelist_deny(struct whitelist *list, const struct sockaddr_storage *address);

/* Takes one whitelist_deny of this address back; it stays denied for whoever else has said so. No
 * effect on one that is not denied. */
void whitelist_allow_again(struct whitelist *list, const struct sockaddr_storage *address);

/* Before resolving: whether any rule could allow this host and port at all (a name in no rule may
 * still resolve into a network, unless that is one of loopback addresses). A name for which this is
 * false must not be resolved: a look-up tells whoever serves the name. */
bool whitelist_may_resolve(const struct whitelist *list, const char *host, uint16_t port);

/* After resolving: whether this address, which `host` resolved to (or is), may be dialled. */
bool whitelist_allows(const struct whitelist *list, const char *host,
                      const struct sockaddr_storage *address);

/* Returns why `host` may not be dialled, as a sentence for the users of both agents. `address` is
 * its address, with the family AF_UNSPEC if that is not known. The sentence distinguishes a default
 * from a denial. Static storage. */
const char *whitelist_objection(const struct whitelist *list, const char *host,
                                const struct sockaddr_storage *address);

#endif
