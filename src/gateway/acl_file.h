/*
 * An access list that is read from a file, and again on request or when the file changes (looked at
 * twice a second; taken when it has stayed the same from one look to the next), never half: a file
 * with an error keeps the old rules. Files are read on libuv's pool of threads, not on the loop.
 * Any thread may ask.
 *
 * A file that all users may write, and one with keys in it that anybody but root and this process's
 * user may write, counts as one with an error. One that other users may write otherwise, and one
 * with keys in it that they may read, is warned of in the log.
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

/* The rules as they were read at one time, kept by the file and by those who are asking. */
struct acl_version {
    atomic_uint references;
    uint64_t number; /* that no other version of the file has */
    struct acl *acl;
};

/* Any thread: the rules of now, for one who asks them. */
struct acl_version *acl_file_hold(struct acl_file *file);
/* Any thread. NULL: nothing. */
void acl_version_drop(struct acl_version *version);

#endif
