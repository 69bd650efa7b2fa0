/* The files that forwards are read from: the one that a user writes (--forwards, a JSON list), and
 * the one in which the agent keeps those that its API has made (--state). */
#ifndef AGENT_FORWARDS_FILE_H
#define AGENT_FORWARDS_FILE_H

#include "agent/forward.h"
#include "agent/forward_json.h"

/* Reads a list of forwards. A file with connection keys in it that others may read is refused.
 * Returns 0, or an error with "FILE: what" in `why`. */
int forwards_file_read(const char *path, struct forward_list *list, char *why, size_t why_size);

/* The same for a state file; one that is not there is empty. */
int state_file_read(const char *path, struct forward_list *list, char *why, size_t why_size);

/* Writes the forwards of the API, in one step (base/private_file.h), with the ports that they have
 * now. Returns 0, or an error with "FILE: what" in `why`, and then the old file is as it was. */
int state_file_write(const char *path, const struct forward_table *table, char *why,
                     size_t why_size);

#endif
