/* The TCP connections that cross the line, so that all of them can be cut: each side gets a reset
 * that it believes (RFC 5961 §3.2: the sequence number must be the very next). */
#ifndef WAN_FLOWS_H
#define WAN_FLOWS_H

#include "wan_packet.h"

enum { WAN_FLOWS = 4096, WAN_SIDES = 2 };

struct wan_flow {
    uint32_t address[WAN_SIDES];
    uint16_t port[WAN_SIDES];
    uint32_t next[WAN_SIDES]; /* the sequence number behind all that this side has sent */
    bool is_used;
    bool is_cut;
};

struct wan_flows {
    struct wan_flow all[WAN_FLOWS];
};

/* A segment comes from `side`. True if it may pass. False if it is of a connection that was cut;
 * then `answer` is for that side, unless its flags are 0. */
bool wan_flows_see(struct wan_flows *flows, int side, const struct wan_segment *segment,
                   struct wan_segment *answer);

/* Cuts all connections. `tell` gets a reset for each side of each; it may not change the flows. */
void wan_flows_cut(struct wan_flows *flows,
                   void (*tell)(void *context, int side, const struct wan_segment *reset),
                   void *context);

#endif
