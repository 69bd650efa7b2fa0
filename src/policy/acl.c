#include "policy/acl.h"

#include "base/memory.h"
#include "base/str.h"
#include "policy/acl_inner.h"

#include <stdio.h>
#include <string.h>

enum { GROUPS_ON_STACK = 256 };

/* What has been found out about a group in this question: so that each is looked through once. */
enum {
    HAS_SOURCE = 1 << 0,
    IS_SOURCE_KNOWN = 1 << 1,
    HAS_AGENT = 1 << 2,
    IS_AGENT_KNOWN = 1 << 3,
};

struct question {
    const struct acl *acl;
    const struct policy_request *request;
    bool is_nobody;
    enum host_kind kind;
    uint8_t address[HOST_ADDRESS_SIZE];
    uint8_t reached[HOST_ADDRESS_SIZE]; /* what a connection to the address reaches */
    char host[HOST_NAME_SIZE];
    char key[ACL_MAX_KEY + 1]; /* zeros behind it */
    uint8_t *known;            /* a byte a group */
    uint64_t from_pairs;
    uint64_t to_pairs;
    uint64_t host_pairs;
};

void acl_free(struct acl *acl)
{
    if (acl == NULL)
        return;
    if (acl->text != NULL)
        explicit_bzero(acl->text, acl->text_size);
    memory_free(acl->text);
    memory_free(acl->name);
    memory_free(acl->rules);
    memory_free(acl->networks);
    memory_free(acl->ranges);
    memory_free(acl->groups);
    memory_free(acl->members);
    memory_free(acl);
}

size_t acl_count(const struct acl *acl)
{
    return acl->rule_count;
}

bool acl_has_keys(const struct acl *acl)
{
    for (size_t i = 0; i < acl->rule_count; i++) {
        if (acl->rules[i].key != 0)
            return true;
    }
    return false;
}

static bool group_has(const struct acl *acl, const struct acl_group *group, const char *name)
{
    for (uint32_t i = 0; i < group->member_count; i++) {
        if (policy_matches(acl->text + acl->members[group->members + i], name))
            return true;
    }
    return false;
}

static bool name_matches(struct question *question, uint32_t reference, const char *name,
                         uint8_t is_known, uint8_t has)
{
    const struct acl *acl = question->acl;
    if ((reference & ACL_IS_GROUP) == 0)
        return policy_matches(acl->text + reference, name);
    uint32_t index = reference & ~ACL_IS_GROUP;
    if ((question->known[index] & is_known) == 0)
        question->known[index] |=
            group_has(acl, &acl->groups[index], name) ? is_known | has : is_known;
    return (question->known[index] & has) != 0;
}

static bool from_matches(struct question *question, const struct acl_rule *rule)
{
    if (question->is_nobody)
        return (rule->from & ACL_IS_GROUP) == 0 &&
               strcmp(question->acl->text + rule->from, POLICY_NOBODY) == 0;
    return name_matches(question, rule->from, question->request->source, IS_SOURCE_KNOWN,
                        HAS_SOURCE);
}

static bool host_matches(const struct question *question, const struct acl_rule *rule)
{
    switch ((enum acl_host_kind)rule->host_kind) {
    case ACL_HOST_ANY:
        return true;
    case ACL_HOST_NAME:
        return question->kind == HOST_NAME &&
               policy_matches(question->acl->text + rule->host, question->host);
    case ACL_HOST_NETWORK:
        return question->kind != HOST_NAME &&
               (network_covers(&question->acl->networks[rule->host], question->reached) ||
                network_covers(&question->acl->networks[rule->host], question->address));
    }
    return false;
}

static bool port_matches(const struct acl *acl, const struct acl_rule *rule, uint16_t port)
{
    for (uint32_t i = 0; i < rule->port_count; i++) {
        if (port_range_holds(&acl->ranges[rule->ports + i], port))
            return true;
    }
    return false;
}

/* In a time that depends on the rule's key alone. */
static bool key_matches(const struct question *question, const struct acl_rule *rule)
{
    if (rule->key == 0)
        return true;
    const char *key = question->acl->text + rule->key;
    size_t size = strlen(key) + 1; /* the zero must be the same too */
    unsigned char difference = 0;
    for (size_t i = 0; i < size; i++)
        difference |= (unsigned char)(key[i] ^ question->key[i]);
    return difference == 0;
}

static bool is_wildcard(char c)
{
    return c == '*' || c == '?';
}

uint64_t acl_pairs(const char *text)
{
    uint64_t pairs = 0;
    for (; text[0] != '\0' && text[1] != '\0'; text++) {
        if (is_wildcard(text[0]) || is_wildcard(text[1]))
            continue;
        uint32_t pair = (uint32_t)(uint8_t)text[0] << 8 | (uint8_t)text[1];
        pairs |= UINT64_C(1) << (pair * UINT32_C(2654435761) >> 26);
    }
    return pairs;
}

static bool pairs_match(const struct question *question, const struct acl_rule *rule)
{
    return ((rule->from_pairs & ~question->from_pairs) | (rule->to_pairs & ~question->to_pairs) |
            (rule->host_pairs & ~question->host_pairs)) == 0;
}

static bool rule_matches(struct question *question, const struct acl_rule *rule)
{
    return pairs_match(question, rule) &&
           port_matches(question->acl, rule, question->request->port) &&
           from_matches(question, rule) &&
           name_matches(question, rule->to, question->request->agent, IS_AGENT_KNOWN, HAS_AGENT) &&
           host_matches(question, rule) && key_matches(question, rule);
}

static void take_request(struct question *question, const struct policy_request *request)
{
    struct text host = text_of(request->host);
    question->request = request;
    question->is_nobody = strcmp(request->source, POLICY_NOBODY) == 0;
    question->kind = host_parse(host, question->address);
    memcpy(question->reached, question->address, sizeof question->reached);
    if (question->kind != HOST_NAME && question->kind != HOST_INVALID)
        host_canonical(question->reached);
    if (question->kind == HOST_NAME) {
        if (host.size > 1 && host.data[host.size - 1] == '.')
            host.size--;
        for (size_t i = 0; i < host.size; i++) {
            char c = host.data[i];
            question->host[i] = (char)(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
        }
        question->host[host.size] = '\0';
    }
    question->from_pairs = acl_pairs(request->source);
    question->to_pairs = acl_pairs(request->agent);
    question->host_pairs = acl_pairs(question->host);
    /* One that is longer than any in a rule stays empty, and is none. */
    size_t key_size = strlen(request->key);
    if (key_size <= ACL_MAX_KEY)
        memcpy(question->key, request->key, key_size);
}

static unsigned decide(struct question *question, struct policy_verdict *verdict)
{
    const struct acl *acl = question->acl;
    if (question->kind == HOST_INVALID) {
        policy_refuse(verdict, "%.100s: the host is neither a name nor an address", acl->name);
        return 0;
    }
    for (size_t i = 0; i < acl->rule_count; i++) {
        const struct acl_rule *rule = &acl->rules[i];
        if (!rule_matches(question, rule))
            continue;
        if (rule->allows)
            policy_allow(verdict, "%.100s:%u allows it", acl->name, rule->line);
        else
            policy_refuse(verdict, "%.100s:%u refuses it", acl->name, rule->line);
        return rule->line;
    }
    policy_refuse(verdict, "%.100s: no rule matches", acl->name);
    return 0;
}

unsigned acl_ask(const struct acl *acl, const struct policy_request *request,
                 struct policy_verdict *verdict)
{
    uint8_t few[GROUPS_ON_STACK] = {0};
    uint8_t *many = NULL;
    struct question question = {.acl = acl, .known = few};
    if (acl->group_count > GROUPS_ON_STACK) {
        many = memory_allocate_zero(acl->group_count);
        if (many == NULL) {
            policy_fail(verdict, "%.100s: no memory to look through its groups", acl->name);
            return 0;
        }
        question.known = many;
    }
    take_request(&question, request);
    unsigned line = decide(&question, verdict);
    explicit_bzero(question.key, sizeof question.key);
    memory_free(many);
    return line;
}

static const struct acl_rule *find_rule(const struct acl *acl, unsigned line)
{
    size_t low = 0;
    size_t high = acl->rule_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (acl->rules[middle].line < line)
            low = middle + 1;
        else
            high = middle;
    }
    return low < acl->rule_count && acl->rules[low].line == line ? &acl->rules[low] : NULL;
}

void acl_rule_text(const struct acl *acl, unsigned line, char *out, size_t size)
{
    const struct acl_rule *rule = find_rule(acl, line);
    size_t used = 0;
    out[0] = '\0';
    if (rule == NULL)
        return;
    const char *word = acl->text + rule->text;
    for (size_t i = 0; i < ACL_WORDS_BEFORE_KEY && used < size; i++) {
        while (*word == '\0' || *word == ' ' || *word == '\t')
            word++;
        used += (size_t)snprintf(out + used, size - used, "%s%s", i == 0 ? "" : " ", word);
        word += strlen(word);
    }
    if (rule->key != 0 && used < size)
        snprintf(out + used, size - used, " key (hidden)");
}
