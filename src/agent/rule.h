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

/* AGENT:HOST:PORT, with brackets where needed. */
void rule_target_text(const struct rule *rule, char *out, size_t size);

#endif
