/* What several subcommands share: the log's options, sizes, the process's own limits. */
#ifndef CLI_COMMON_H
#define CLI_COMMON_H

#include "base/log.h"
#include "cli/options.h"

#include <stddef.h>

/* First in a subcommand's settings, where the shared options find it. */
struct common_settings {
    enum log_level log_level;
    enum log_format log_format;
    size_t max_memory; /* bytes */
};

/* Log entries from info on, as text; half of the machine's memory. */
void common_settings_init(struct common_settings *settings);

int common_take_log_level(void *settings, const char *value, char *why);
int common_take_log_format(void *settings, const char *value, char *why);
int common_take_max_memory(void *settings, const char *value, char *why);

#define COMMON_OPTIONS                                                                           \
    {"max-memory", "SIZE",                                                                       \
     "most memory for data on its way, such as 512M or 2G\n"                                     \
     "(default: half of the machine's memory)",                                                  \
     common_take_max_memory, false},                                                             \
        {"log-level", "LEVEL", "debug, info (default), warning or error", common_take_log_level, \
         false},                                                                                 \
    {                                                                                            \
        "log-format", "FORMAT", "text (default) or json", common_take_log_format, false          \
    }

#endif
