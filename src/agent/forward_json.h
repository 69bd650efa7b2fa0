/*
 * Forwards as JSON (docs/agent-api.md): one in a request of the API, a list in a forwards file, and
 * what the state file keeps.
 */
#ifndef AGENT_FORWARD_JSON_H
#define AGENT_FORWARD_JSON_H

#include "agent/rule.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    FORWARD_JSON_WHY_SIZE = 512,
    FORWARD_JSON_MAX = 1024,                 /* forwards in a list */
    FORWARD_JSON_MAX_TEXT = 4 * 1024 * 1024, /* bytes of a file */
};

/* What is wrong: the field (of the JSON, or "" if it is not about one), and a sentence. */
struct forward_json_problem {
    char field[64];
    char why[FORWARD_JSON_WHY_SIZE];
};

/* The name that a part of a rule has in JSON; "" for RULE_NONE. */
const char *forward_json_field(enum rule_part part);

/* {"local": 2222, "gateway": "agent2", "ip": "127.0.0.1", "remote": 22}, and if wanted "bind" and
 * "key". Returns 0, or CULVERT_ERROR_INVALID with what is wrong. */
int forward_json_decode(const json_t *json, struct rule *rule,
                        struct forward_json_problem *problem);

/* The same back, with all fields but those that are empty, the key as well, and with `local` for
 * the local port. NULL when memory has run out. */
json_t *forward_json_encode(const struct rule *rule, uint16_t local);

struct forward_list {
    struct forward_list_item {
        uint64_t id; /* 0: none yet */
        struct rule rule;
        bool is_there; /* for the reader's use */
    } * items;
    size_t count;
    uint64_t last_id; /* the highest that was ever given */
};

/* A list of forwards, as text. Returns 0, CULVERT_ERROR_INVALID or CULVERT_ERROR_NO_MEMORY with a
 * sentence in `why`. */
int forward_list_decode(const char *text, size_t size, struct forward_list *list, char *why,
                        size_t why_size);
/* {"last_id": 7, "forwards": [{"id": 3, ...}, ...]}, the same way. Each has an id of its own. */
int forward_list_decode_state(const char *text, size_t size, struct forward_list *list, char *why,
                              size_t why_size);
/* Frees and wipes; repeatable. */
void forward_list_deinit(struct forward_list *list);

#endif
