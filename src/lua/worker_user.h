/* The user that the workers run as if root starts them. */
#ifndef LUA_WORKER_USER_H
#define LUA_WORKER_USER_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct worker_user {
    bool is_other; /* than the one that this process runs as */
    uid_t user;
    gid_t group;
};

/* Finds the user of this name. With NULL a process without root keeps its user. Root changes to
 * culvert-lua if that exists, otherwise to nobody; if root may not change its user (in a container
 * without that right, or a namespace without other users), it stays root, and the log says so.
 * Returns 0, or CULVERT_ERROR_NOT_FOUND, CULVERT_ERROR_PERMISSION or -errno with a sentence in
 * `why`. */
int worker_user_find(const char *name, struct worker_user *user, char *why, size_t why_size);

/* Parses "UID:GID", the value of `culvert lua-worker --user`. Returns 0 or CULVERT_ERROR_INVALID.
 */
int worker_user_parse(const char *text, struct worker_user *user);

#endif
