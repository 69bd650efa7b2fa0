/*
 * An access list that is read from a file, and again on request or when the file changes (looked at
 * once a second), never half: a file with an error keeps the old rules, and the log says what is
 * wrong. Any thread may ask.
 */
#ifndef GATEWAY_ACL_FILE_H
#define GATEWAY_ACL_FILE_H

#include "net/loop.h"
#include "policy/acl.h"

struct acl_file;

/* What became of reading it again; `why` is NULL when it went well. On the loop's thread. */
typedef void acl_file_reloaded(void *context, const char *path, const char *why);

/* Reads the file; the loop is the one that watches it. `path` is copied. Returns 0, or an error
 * with a sentence in `why`. */
int acl_file_open(struct loop *loop, const char *path, acl_file_reloaded *reloaded, void *context,
                  struct acl_file **out, char *why, size_t why_size);
/* Reads it again, changed or not. On the loop's thread. */
void acl_file_reload(struct acl_file *file);
/* After the loop has ended, before it is deinitialised. */
void acl_file_close(struct acl_file *file);

/* Any thread. As acl_ask. */
unsigned acl_file_ask(struct acl_file *file, const struct policy_request *request,
                      struct policy_verdict *verdict);

#endif
