/* The user and password for a proxy, from wherever they are given. */
#ifndef CLI_PROXY_SOURCE_H
#define CLI_PROXY_SOURCE_H

#include "cli/options.h"
#include "net/proxy.h"

/* Reads USER:PASSWORD, a file's only line. A file that others may read is refused. Returns 0 or an
 * error with a sentence in `why`. */
int proxy_source_file(const char *path, struct proxy_login *login,
                      char why[static OPTIONS_WHY_SIZE]);

#endif
