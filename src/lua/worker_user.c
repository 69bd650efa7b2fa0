#include "lua/worker_user.h"

#include "base/error.h"
#include "base/log.h"
#include "base/str.h"

#include <errno.h>
#include <linux/capability.h>
#include <pwd.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { ENTRY_SIZE = 16384, LINE_SIZE = 128, ID_NOBODY = 65534 };

static const char OWN_USER[] = "culvert-lua";
static const char NOBODY[] = "nobody";

/* Returns 0, CULVERT_ERROR_NOT_FOUND or -errno. */
static int look_up(const char *name, struct worker_user *user)
{
    struct passwd entry;
    struct passwd *found = NULL;
    char text[ENTRY_SIZE];
    int error = getpwnam_r(name, &entry, text, sizeof text, &found);
    if (found == NULL)
        return error == 0 || error == ENOENT || error == ESRCH ? CULVERT_ERROR_NOT_FOUND : -error;
    *user = (struct worker_user){
        .is_other = entry.pw_uid != geteuid(), .user = entry.pw_uid, .group = entry.pw_gid};
    return 0;
}

/* Also works in a container without a passwd file. */
static void choose(struct worker_user *user)
{
    if (look_up(OWN_USER, user) != 0 && look_up(NOBODY, user) != 0)
        *user = (struct worker_user){true, ID_NOBODY, ID_NOBODY};
}

/* ---- what root may do here ---- */

/* Whether this process's user namespace maps this id (user_namespaces(7)). */
static bool is_mapped(const char *map, unsigned id)
{
    char line[LINE_SIZE];
    bool is_found = false;
    FILE *file = fopen(map, "re");
    if (file == NULL)
        return true; /* a kernel without user namespaces */
    while (!is_found && fgets(line, sizeof line, file) != NULL) {
        char *rest = line;
        unsigned long first = strtoul(rest, &rest, 10);
        (void)strtoul(rest, &rest, 10); /* the same id outside */
        unsigned long count = strtoul(rest, &rest, 10);
        is_found = id >= first && id - first < count;
    }
    fclose(file);
    return is_found;
}

static bool may_change_user(void)
{
    const uint32_t needed = 1U << CAP_SETUID | 1U << CAP_SETGID;
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];
    return syscall(SYS_capget, &header, data) == 0 && (data[0].effective & needed) == needed;
}

static bool is_possible(const struct worker_user *user)
{
    return may_change_user() && is_mapped("/proc/self/uid_map", user->user) &&
           is_mapped("/proc/self/gid_map", user->group);
}

/* ---- choice ---- */

static int find_named(const char *name, struct worker_user *user, char *why, size_t why_size)
{
    int error = look_up(name, user);
    if (error == CULVERT_ERROR_NOT_FOUND) {
        snprintf(why, why_size,
                 "--lua-user: there is no user \"%.100s\"; `useradd --system --shell "
                 "/usr/sbin/nologin NAME` makes one",
                 name);
    } else if (error != 0) {
        snprintf(why, why_size, "--lua-user: cannot look up the user %.100s: %s", name,
                 error_text(error));
    } else if (user->is_other && !is_possible(user)) {
        error = CULVERT_ERROR_PERMISSION;
        snprintf(why, why_size,
                 "--lua-user: the script cannot run as %.100s, since culvert runs as user %u "
                 "without the right to change its user; start it as root, or leave the option out",
                 name, (unsigned)geteuid());
    }
    return error;
}

int worker_user_find(const char *name, struct worker_user *user, char *why, size_t why_size)
{
    *user = (struct worker_user){.is_other = false};
    if (name != NULL)
        return find_named(name, user, why, why_size);
    if (geteuid() != 0)
        return 0;
    choose(user);
    if (!is_possible(user)) {
        log_info("the script runs as user 0, because culvert may not change its user here");
        *user = (struct worker_user){.is_other = false};
    }
    return 0;
}

int worker_user_parse(const char *text, struct worker_user *user)
{
    uint64_t id[2];
    const char *colon = strchr(text, ':');
    if (colon == NULL ||
        str_parse_number((struct text){text, (size_t)(colon - text)}, UINT32_MAX - 1, &id[0]) !=
            0 ||
        str_parse_number(text_of(colon + 1), UINT32_MAX - 1, &id[1]) != 0)
        return CULVERT_ERROR_INVALID;
    *user = (struct worker_user){true, (uid_t)id[0], (gid_t)id[1]};
    return 0;
}
