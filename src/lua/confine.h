/* Confines a worker process, irrevocably, before it reads a script. */
#ifndef LUA_CONFINE_H
#define LUA_CONFINE_H

#include "lua/worker_user.h"

#include <stddef.h>

/*
 * Closes all descriptors above `last`, changes to `user` and its group, leaves the working
 * directory, drops all capabilities and the right to gain privileges, and forbids writing files,
 * core dumps, and system calls that no script needs (lua/syscall_filter.h). The process ignores
 * signals that are meant for its parent, and ends with it. Protections that the kernel does not
 * support are left out. Returns 0, or -errno with a sentence in `why` if the user cannot be
 * changed.
 */
int confine_process(int last, const struct worker_user *user, char *why, size_t why_size);

/* Logs, at level debug, which of these protections the kernel does not support. */
void confine_tell_missing(void);

/* Limits further allocations of the process to `memory` bytes for the script plus an allowance for
 * the libraries that send its requests. Has no effect under a sanitizer, which needs more. */
void confine_memory(size_t memory);

#endif
