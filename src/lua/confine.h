/* What a worker process gives up, once and for all, before it reads a script. */
#ifndef LUA_CONFINE_H
#define LUA_CONFINE_H

#include "lua/worker_user.h"

#include <stddef.h>

/* All descriptors above `last`, its user and groups for others, all capabilities, the right to gain
 * rights, writing files, core files, the folder, system calls that no script needs
 * (lua/syscall_filter.h), and signals that are meant for the process that started it; with which it
 * also ends. What the kernel does not have is left out. Returns 0, or -errno with a sentence in
 * `why` if the user cannot be changed. */
int confine_process(int last, const struct worker_user *user, char *why, size_t why_size);

/* Writes to the log, at level debug, which of these the kernel does not have. */
void confine_tell_missing(void);

/* How much the process may allocate beyond what it has: `memory` for the script, and something for
 * the libraries that carry its requests. Does nothing under a sanitizer, which needs more. */
void confine_memory(size_t memory);

#endif
