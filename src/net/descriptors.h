/*
 * The process's descriptors. The last ones are kept for what the process itself needs (its link,
 * its API, files): what peers make us open must leave them free.
 */
#ifndef NET_DESCRIPTORS_H
#define NET_DESCRIPTORS_H

enum { DESCRIPTORS_RESERVE = 64 }; /* an eighth of all if that is less */

/* How many more descriptors peers may make us open, the just opened `fd` included; 0 or less: it is
 * one of the reserve and is to be closed. As the kernel gives the lowest number that is free, all
 * below `fd` are in use. */
int descriptors_left(int fd);

#endif
