#include "agent/rule.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A rule that parses, written anew, must parse to the same. */
static void check_round_trip(const struct rule *rule)
{
    char target[512];
    char again[1400];
    char why[256];
    struct rule parsed;
    bool needs_brackets = strchr(rule->bind, ':') != NULL;
    rule_target_text(rule, target, sizeof target);
    snprintf(again, sizeof again, "%s%s%s%s%u:%s%s%s", needs_brackets ? "[" : "", rule->bind,
             needs_brackets ? "]" : "", rule->bind[0] != '\0' ? ":" : "", rule->local_port,
             rule->key, rule->key[0] != '\0' ? "@" : "", target);
    if (rule_parse(again, &parsed, why, sizeof why) != 0 || strcmp(parsed.bind, rule->bind) != 0 ||
        strcmp(parsed.key, rule->key) != 0 || strcmp(parsed.agent, rule->agent) != 0 ||
        strcmp(parsed.host, rule->host) != 0 || parsed.local_port != rule->local_port ||
        parsed.port != rule->port)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct rule rule;
    char why[128];
    char *string = malloc(size + 1);
    if (string == NULL)
        return 0;
    memcpy(string, data, size);
    string[size] = '\0';
    if (rule_parse(string, &rule, why, sizeof why) == 0)
        check_round_trip(&rule);
    else if (memchr(why, 0, sizeof why) == NULL)
        abort();
    free(string);
    return 0;
}
