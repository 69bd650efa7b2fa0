#include "policy/acl.h"

#include "base/memory.h"
#include "policy/acl_inner.h"
#include "policy/acl_question.h"

#include <stdio.h>
#include <string.h>

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
    acl_index_deinit(&acl->rule_index);
    acl_index_deinit(&acl->member_index);
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

unsigned acl_network_denial(const struct acl *acl)
{
    for (size_t i = 0; i < acl->rule_count; i++) {
        if (acl->rules[i].host_kind == ACL_HOST_NETWORK && !acl->rules[i].allows)
            return acl->rules[i].line;
    }
    return 0;
}

void acl_refuse(const struct acl *acl, unsigned line, struct policy_verdict *verdict)
{
    if (line != 0)
        policy_refuse(verdict, "%.100s:%u refuses it", acl->name, line);
    else
        policy_refuse(verdict, "%.100s: no rule matches", acl->name);
}

unsigned acl_ask(const struct acl *acl, const struct policy_request *request,
                 struct policy_verdict *verdict)
{
    struct acl_question question;
    if (acl_question_start(&question, acl, request) != 0) {
        policy_fail(verdict, "%.100s: no memory to look through its groups", acl->name);
        return 0;
    }
    while (!acl_question_work(&question, SIZE_MAX, verdict))
        continue;
    acl_question_end(&question);
    return question.line;
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
