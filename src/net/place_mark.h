/*
 * Where this process is, as a number that tells nothing else: two processes with the same mark are
 * on the same host and in the same network namespace, so that an address means the same to both.
 */
#ifndef NET_PLACE_MARK_H
#define NET_PLACE_MARK_H

#include <stdint.h>

enum { PLACE_MARK_SIZE = 16 };

/* SHA-256 over the boot id of the kernel and the number of the network namespace, cut. All zeros
 * where the system does not tell them. */
void place_mark(uint8_t mark[static PLACE_MARK_SIZE]);

#endif
