/* What a worker process gives up, once and for all, before it reads a script. */
#ifndef LUA_CONFINE_H
#define LUA_CONFINE_H

#include <stddef.h>

/* All descriptors above `last`, the right to gain rights, core files, the folder, signals that are
 * meant for the process that started it; with which it also ends. */
void confine_process(int last);

/* How much the process may allocate beyond what it has: `memory` for the script, and something for
 * the libraries that carry its requests. Does nothing under a sanitizer, which needs more. */
void confine_memory(size_t memory);

#endif
