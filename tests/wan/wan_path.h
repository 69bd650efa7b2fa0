/*
 * One direction of a wide-area line: a queue of so many bytes, behind it a sender of so many bits a
 * second, behind that a wire on which packets take their time and some get lost. It reads no clock:
 * time comes in as nanoseconds.
 */
#ifndef WAN_PATH_H
#define WAN_PATH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct wan_packet {
    struct wan_packet *next;
    uint64_t time; /* when it came, later when it is there */
    size_t size;
    uint8_t data[];
};

/* First in, first out. */
struct wan_train {
    struct wan_packet *first;
    struct wan_packet *last;
};

struct wan_counts {
    uint64_t delivered;
    uint64_t overflowed; /* found the queue full */
    uint64_t lost;       /* at random */
    uint64_t swallowed;  /* by the blackhole */
};

struct wan_path {
    uint64_t delay; /* nanoseconds on the wire */
    double rate;    /* bits a second, counted from the IP header on; 0: all at once */
    size_t limit;   /* bytes that may wait */
    double loss;    /* share of packets, 0 to 1 */
    bool is_blackhole;
    uint64_t random;
    struct wan_train queue;
    struct wan_train wire;
    size_t waiting;     /* bytes in the queue */
    uint64_t sent_last; /* when the sender is done with the packet before the queue's first */
    struct wan_counts counts;
};

/* No delay, no bound of the rate, a queue of a megabyte. The seed decides which packets get lost.
 */
void wan_path_init(struct wan_path *path, uint64_t seed);
/* Forgets what is on the way; repeatable. */
void wan_path_clear(struct wan_path *path);

/* A packet comes in: it is copied, or dropped. */
void wan_path_take(struct wan_path *path, const uint8_t *data, size_t size, uint64_t now);
/* The next packet that has arrived by now, to be freed with free(), or NULL. */
struct wan_packet *wan_path_give(struct wan_path *path, uint64_t now);
/* When wan_path_give may have something; UINT64_MAX if nothing is on the way. */
uint64_t wan_path_next(struct wan_path *path, uint64_t now);

#endif
