/*
 * The charge of an open stream to the account of its process, in addition to its data: its own
 * record, and its share of a session's records (the relay, the request, the chain, slots of
 * slices). Measured at a gateway: an idle session, which has two streams, takes 1.6 KB.
 */
#ifndef MUX_RECORD_COST_H
#define MUX_RECORD_COST_H

enum {
    MUX_RECORD_COST = 1024, /* bytes */
    /* While a gateway is at its memory limit, a peer with this many open streams opens no more. */
    MUX_STREAMS_WITHOUT_MEMORY = 256,
};

#endif
