#include "lua/landlock.h"

#include <errno.h>
#include <linux/landlock.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

/* struct landlock_ruleset_attr of later kernels; the kernel's version says how much of it it reads.
 */
struct ruleset {
    uint64_t files;
    uint64_t network; /* from 4 on */
    uint64_t scoped;  /* from 6 on */
};

enum { FILES_ONLY = sizeof(uint64_t), WITH_REFER = 2, WITH_TRUNCATE, WITH_IOCTL = 5, WITH_SCOPES };

#define REFER    (UINT64_C(1) << 13)
#define TRUNCATE (UINT64_C(1) << 14)
#define IOCTL    (UINT64_C(1) << 15) /* on devices opened later */
#define ABSTRACT (UINT64_C(1) << 0)  /* unix sockets of processes outside */
#define SIGNALS  (UINT64_C(1) << 1)  /* to processes outside */

static int find_version(void)
{
    return (int)syscall(__NR_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
}

/* Every handled access without a rule is forbidden. */
static struct ruleset forbid_writing(int version)
{
    struct ruleset ruleset = {.files = LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_WRITE_FILE |
                                       LANDLOCK_ACCESS_FS_REMOVE_DIR |
                                       LANDLOCK_ACCESS_FS_REMOVE_FILE |
                                       LANDLOCK_ACCESS_FS_MAKE_CHAR | LANDLOCK_ACCESS_FS_MAKE_DIR |
                                       LANDLOCK_ACCESS_FS_MAKE_REG | LANDLOCK_ACCESS_FS_MAKE_SOCK |
                                       LANDLOCK_ACCESS_FS_MAKE_FIFO |
                                       LANDLOCK_ACCESS_FS_MAKE_BLOCK | LANDLOCK_ACCESS_FS_MAKE_SYM};
    if (version >= WITH_REFER)
        ruleset.files |= REFER;
    if (version >= WITH_TRUNCATE)
        ruleset.files |= TRUNCATE;
    if (version >= WITH_IOCTL)
        ruleset.files |= IOCTL;
    if (version >= WITH_SCOPES)
        ruleset.scoped = ABSTRACT | SIGNALS;
    return ruleset;
}

int landlock_apply(void)
{
    int version = find_version();
    if (version < 0)
        return -errno;
    struct ruleset ruleset = forbid_writing(version);
    size_t size = version >= WITH_SCOPES ? sizeof ruleset : (size_t)FILES_ONLY;
    int descriptor = (int)syscall(__NR_landlock_create_ruleset, &ruleset, size, 0);
    if (descriptor < 0)
        return -errno;
    int error = syscall(__NR_landlock_restrict_self, descriptor, 0) == 0 ? 0 : -errno;
    close(descriptor);
    return error;
}

bool landlock_is_available(void)
{
    return find_version() > 0;
}
