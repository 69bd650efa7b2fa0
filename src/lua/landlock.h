/* Forbids the process to create, change, remove and execute files (landlock(7)). Reading stays
 * allowed, for libraries, certificates and the files of name services. */
#ifndef LUA_LANDLOCK_H
#define LUA_LANDLOCK_H

#include <stdbool.h>

/* Applies to the calling thread and those that it starts, irrevocably. Needs PR_SET_NO_NEW_PRIVS.
 * Returns 0 or -errno: -ENOSYS or -EOPNOTSUPP where the kernel has no Landlock. */
int landlock_apply(void);

/* Whether the kernel has Landlock. */
bool landlock_is_available(void);

#endif
