/*
 * Whether a file that holds a secret is safe from other users. Its owner must be root or the user
 * that runs the process; others may neither read nor write it; a group may read it, not write it,
 * and only if the process runs in that group. This covers what systemd hands over as credentials
 * (owner root, mode 0440, an ACL entry for the service's user) and keys of a group such as
 * ssl-cert (mode 0640). A POSIX ACL counts entry by entry: the group bits of the mode are then its
 * mask (acl(5)).
 */
#ifndef BASE_FILE_ACCESS_H
#define BASE_FILE_ACCESS_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Who may do what with a file. */
struct file_access {
    uid_t owner;
    gid_t group;
    mode_t mode;
    const uint8_t *acl; /* the attribute system.posix_acl_access; NULL: none */
    size_t acl_size;
};

/* Whom a process runs as. */
struct file_reader {
    uid_t user;
    const gid_t *groups;
    size_t group_count;
};

/* Judges without a look at the system. Returns 0, or CULVERT_ERROR_PERMISSION with a sentence in
 * `why` that says who else has access and what to do; it does not name the file. */
int file_access_judge(const struct file_access *access, const struct file_reader *reader, char *why,
                      size_t why_size);

/* The same for an open file and this process. Also -errno, with `why` set. */
int file_access_check(int descriptor, char *why, size_t why_size);

/* As file_access_judge, for a file whose readers do not matter: checks whether any user other than
 * root and the process's can write it. `why` also names the command that removes this access to the
 * file at `path`. */
int file_access_judge_writers(const struct file_access *access, const struct file_reader *reader,
                              const char *path, char *why, size_t why_size);

/* The same for an open file or directory and this process. Also -errno, with `why` set. */
int file_access_check_writers(int descriptor, const char *path, char *why, size_t why_size);

#endif
