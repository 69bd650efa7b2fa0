/*
 * System calls that a worker is refused (seccomp(2)): those that start programs, look into other
 * processes, or reach parts of the kernel that no script needs. They fail with EPERM, clone3 with
 * ENOSYS, so that the C library falls back to clone. All others stay allowed: LuaJIT, libcurl's
 * threads and name services need more than a list of ours could know.
 */
#ifndef LUA_SYSCALL_FILTER_H
#define LUA_SYSCALL_FILTER_H

#include <stdbool.h>

/* For all threads of the process, for good. Needs PR_SET_NO_NEW_PRIVS. Under a sanitizer what its
 * checks need at the end (clone, ptrace) is left out. Returns 0 or -errno: -ENOSYS where the
 * kernel, or this processor's list, has no filters. */
int syscall_filter_apply(void);

/* Whether the kernel has what syscall_filter_apply needs. */
bool syscall_filter_is_available(void);

#endif
