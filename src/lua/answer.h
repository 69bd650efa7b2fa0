/* What a worker says, decoded. A worker runs other people's code, so it is not believed more than a
 * peer. */
#ifndef LUA_ANSWER_H
#define LUA_ANSWER_H

#include "policy/policy.h"

#include <stdbool.h>
#include <stddef.h>

enum {
    ANSWER_LOG_SIZE = 1000, /* of a line that a script prints */
    ANSWER_WHY_SIZE = 1000, /* of what is wrong with a script */
};

enum answer_kind {
    ANSWER_LOADED, /* the script was read */
    ANSWER_BROKEN, /* the script cannot be read: `text` */
    ANSWER_LOG,    /* the script prints `text` */
    ANSWER_VERDICT,
};

struct answer {
    enum answer_kind kind;
    bool has_connect;
    bool has_register;
    bool has_on_event;
    bool is_last; /* the process ends after this verdict */
    char text[ANSWER_WHY_SIZE];
    struct policy_verdict verdict;
};

/* Returns 0 or CULVERT_ERROR_PROTOCOL. */
int answer_decode(const char *json, size_t size, struct answer *answer);

#endif
