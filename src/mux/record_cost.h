/*
 * What an open stream is counted with in the account of its process, beside the bytes that it
 * holds: its own record, and its part of what a session has besides (the relay, the request, the
 * chain, slots of slices). Measured at a gateway: an idle session, which has two streams, takes
 * 1.6 KB.
 */
#ifndef MUX_RECORD_COST_H
#define MUX_RECORD_COST_H

enum {
    MUX_RECORD_COST = 1024, /* bytes */
    /* While a gateway's memory is at its limit, a peer with so many open streams opens no more. */
    MUX_STREAMS_WITHOUT_MEMORY = 256,
};

#endif
