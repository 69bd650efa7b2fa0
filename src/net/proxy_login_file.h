/* The user and password for a proxy, from a file. */
#ifndef NET_PROXY_LOGIN_FILE_H
#define NET_PROXY_LOGIN_FILE_H

#include "net/proxy.h"

#include <stddef.h>

/* Reads USER:PASSWORD, a file's only line. A file that others may read is refused. Returns 0 or an
 * error with "FILE: what" in `why`, and then `login` is unchanged. */
int proxy_login_file_read(const char *path, struct proxy_login *login, char *why, size_t why_size);

#endif
