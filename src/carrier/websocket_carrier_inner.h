/* What the files of the WebSocket carrier share. */
#ifndef CARRIER_WEBSOCKET_CARRIER_INNER_H
#define CARRIER_WEBSOCKET_CARRIER_INNER_H

#include "base/parking.h"
#include "carrier/pace.h"
#include "carrier/websocket_carrier.h"

enum { WEBSOCKET_RANDOM_POOL = 256 };

struct websocket_carrier {
    struct carrier base;
    struct conn *conn;
    struct loop *loop;
    struct websocket_decoder decoder;
    struct slice_queue out; /* frames, partly written */
    struct slice_arena arena;
    struct chunk *masked; /* what is sent masked is written here; NULL while nothing waits */
    size_t masked_used;
    struct loop_task task; /* tells what was read ahead, later buries */
    struct slice ahead;
    struct parking parking; /* of `out` and `ahead` */
    struct pace pace;
    size_t unsent_limit; /* what the kernel was told */
    enum websocket_role role;
    uint8_t pong[WEBSOCKET_MAX_CONTROL];
    uint8_t pong_size;
    bool pong_due;
    bool ping_due;
    bool out_was_short; /* the socket took less than all: waiting for it */
    bool reading;
    bool is_behind; /* `ahead`, though it may be empty, is still to be told */
    bool failed;    /* lost was told */
    bool closed;
    uint8_t random_used;
    uint8_t random[WEBSOCKET_RANDOM_POOL];
};

/* Frees it, without its connection, at the end of the turn; no event follows. */
void websocket_carrier_bury(struct websocket_carrier *self);

/* websocket_cargo.c */
struct carrier_cargo *websocket_carrier_depart(struct carrier *carrier);

#endif
