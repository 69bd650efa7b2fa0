/*
 * Denies a worker the system calls (seccomp(2)) that start programs, inspect other processes, or
 * use parts of the kernel that no script needs. They fail with EPERM; clone3 fails with ENOSYS, so
 * that the C library falls back to clone. All others stay allowed, because the calls that LuaJIT,
 * libcurl's threads and name services need change from version to version.
 */
#ifndef LUA_SYSCALL_FILTER_H
#define LUA_SYSCALL_FILTER_H

#include <stdbool.h>

/* Applies to all threads of the process, irrevocably. Needs PR_SET_NO_NEW_PRIVS. Under a sanitizer
 * clone and ptrace stay allowed, which its leak checker needs at the end. Returns 0 or -errno:
 * -ENOSYS if the kernel has no filters, or the list does not cover this processor. */
int syscall_filter_apply(void);

/* Whether the kernel supports syscall_filter_apply. */
bool syscall_filter_is_available(void);

#endif
