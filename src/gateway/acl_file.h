/*
 * An access list that is read from a file, and again on request or when the file changes (looked at
 * twice a second; taken when it has stayed the same from one look to the next), never half: a file
 * with an error keeps the old rules. Files are read on libuv's pool of threads, not on the loop.
 * Any thread may ask.
 *
 * A file that all users may write counts as wrong, and so does a file with keys that any user other
 * than root and this process's may write. The log has a warning about any other file that others
 * may write, and about a file with keys that others may read.
 */
#ifndef GATEWAY_ACL_FILE_H
#define GATEWAY_ACL_FILE_H

#include "net/loop.h"
#include "policy/acl.h"

#include <stdatomic.h>

enum { ACL_FILE_LOOK_MILLISECONDS = 500 };

struct acl_file;

/* What became of reading it again; `why` is NULL when it went well, else "FILE:LINE: what" or
 * another sentence. On the loop's thread. Said for each request, and else once for each change,
 * unless the file's text is the same as before. Telling the log is up to the one who is told. */
typedef void acl_file_reloaded(void *context, const char *path, const char *why);

/* Reads a file once. 0, or an error with a sentence in `why`: as acl_parse, -errno, or
 * CULVERT_ERROR_INVALID for what is no regular file. */
int acl_file_read(const char *path, struct acl **acl, char *why, size_t why_size);

/* Reads a file once, for its wrong lines. Returns how many there are: as acl_check, or an error as
 * acl_file_read. */
int acl_file_check(const char *path, const struct acl_complaints *complaints, char *why,
                   size_t why_size);

/* Reads the file; the loop is the one that watches it. `path` is copied. Returns 0, or an error
 * with a sentence in `why`. */
int acl_file_open(struct loop *loop, const char *path, acl_file_reloaded *reloaded, void *context,
                  struct acl_file **out, char *why, size_t why_size);
/* Reads it again, changed or not. On the loop's thread. */
void acl_file_reload(struct acl_file *file);
/* After the loop has ended, before it is deinitialised, which frees the file. Nobody may ask any
 * more, and `reloaded` is not called. NULL: nothing. */
void acl_file_close(struct acl_file *file);

/* The rules of one version of the file. The file and open questions hold references. */
struct acl_version {
    atomic_uint references;
    uint64_t number; /* unique among the versions of the file */
    struct acl *acl;
};

/* Any thread. Returns a reference to the current rules. */
struct acl_version *acl_file_hold(struct acl_file *file);
/* Any thread. Drops a reference; NULL has no effect. */
void acl_version_drop(struct acl_version *version);

#endif
