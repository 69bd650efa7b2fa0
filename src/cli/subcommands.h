/* A command that is several, such as `key`: `key add`, `key list`. */
#ifndef CLI_SUBCOMMANDS_H
#define CLI_SUBCOMMANDS_H

#include "cli/options.h"

#include <stddef.h>

struct subcommands {
    struct command all;             /* what they have in common; its name is the first word */
    const struct command *commands; /* each one's name is two words, "key add" */
    size_t count;
};

/*
 * Finds out which is meant by the first word, and parses the others as options_parse does. Sets
 * `*chosen` to the one that is meant, or to &all when none is: whose help and complaints it is.
 */
int subcommands_parse(const struct subcommands *subcommands, char *const *words, void *settings,
                      const struct command **chosen, char why[static OPTIONS_WHY_SIZE]);

#endif
