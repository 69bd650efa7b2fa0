/* The user as which the workers run where root starts them. */
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

/* Finds the user of this name; with NULL the user culvert-lua where there is one, else nobody, and
 * none where this process is not root or may not change its user (in a container without that
 * right, or a namespace that has no other users), of which the log tells. Returns 0, or
 * CULVERT_ERROR_NOT_FOUND, CULVERT_ERROR_PERMISSION or -errno with a sentence in `why`. */
int worker_user_find(const char *name, struct worker_user *user, char *why, size_t why_size);

/* As `culvert lua-worker --user` takes it: "UID:GID". Returns 0 or CULVERT_ERROR_INVALID. */
int worker_user_parse(const char *text, struct worker_user *user);

#endif
