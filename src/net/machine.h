/* What the machine has, for defaults. */
#ifndef NET_MACHINE_H
#define NET_MACHINE_H

#include <stddef.h>

enum { MACHINE_CORES_MAX = 256, MACHINE_MEMORY_MIN = 16 * 1024 * 1024 };

/* The cores that this process may run on, 1 to MACHINE_CORES_MAX. */
unsigned machine_cores(void);

/* Half of the memory in bytes, at least MACHINE_MEMORY_MIN; SIZE_MAX if nobody knows. */
size_t machine_half_memory(void);

#endif
