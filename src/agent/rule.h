/* A forward's rule as a user writes it: [BIND:]LPORT:[KEY@]AGENT:HOST:PORT, IPv6 addresses in
 * brackets. */
#ifndef AGENT_RULE_H
#define AGENT_RULE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct rule {
    char bind[256];      /* "" for loopback; an address without brackets, a name, or `*` for all */
    uint16_t local_port; /* 0: a free one */
    char key[257];       /* up to the last `@`; may itself contain `@` and `:` */
    char agent[129];
    char host[256]; /* without brackets */
    uint16_t port;  /* 1 to 65535 */
};

/* Parses a rule. On CULVERT_ERROR_INVALID writes a sentence into `why` that says which part is
 * wrong and how a rule looks. */
int rule_parse(const char *string, struct rule *rule, char *why, size_t why_size);

/* The parts of a rule that can be wrong. */
enum rule_part { RULE_NONE, RULE_BIND, RULE_LOCAL, RULE_KEY, RULE_AGENT, RULE_HOST, RULE_PORT };

/* Whether a rule that was not parsed may be used while the agent runs. Its BIND is an address,
 * `localhost` or `*`: looking up any other name would hold the agent up. On CULVERT_ERROR_INVALID
 * *part says what is wrong, and `why` in a sentence. */
int rule_check(const struct rule *rule, enum rule_part *part, char *why, size_t why_size);

/* Whether both say the same. */
bool rule_equals(const struct rule *a, const struct rule *b);

/* The same for a rule of Hubble 0.1, LPORT:[KEY@]AGENT:HOST:PORT: the port is bound on all
 * addresses, names are any text, and without a HOST it is the agent's own. */
int rule_parse_legacy(const char *string, struct rule *rule, char *why, size_t why_size);

/* AGENT:HOST:PORT, with brackets where needed. */
void rule_target_text(const struct rule *rule, char *out, size_t size);

#endif
