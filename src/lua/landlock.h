/* No writing (Landlock, landlock(7)): the process can create, change and remove no file, and run
 * none. Reading stays, for libraries, certificates and the files of name services. */
#ifndef LUA_LANDLOCK_H
#define LUA_LANDLOCK_H

#include <stdbool.h>

/* For the calling thread and those that it starts, for good. Needs PR_SET_NO_NEW_PRIVS. Returns 0
 * or -errno: -ENOSYS or -EOPNOTSUPP where the kernel has no Landlock. */
int landlock_apply(void);

/* Whether the kernel has Landlock. */
bool landlock_is_available(void);

#endif
