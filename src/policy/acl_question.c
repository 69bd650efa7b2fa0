#include "policy/acl_question.h"

#include "base/error.h"
#include "base/memory.h"
#include "base/str.h"
#include "policy/acl_inner.h"

#include <string.h>

/* The state of a group. */
enum { HAS_SOURCE = 1 << 0, HAS_AGENT = 1 << 1, IS_SOURCE_DONE = 1 << 2, IS_AGENT_DONE = 1 << 3 };

/* First the groups that have the names; then all rules that may match. */
enum stage {
    GROUPS_OF_SOURCE,
    REST_OF_SOURCE,
    GROUPS_OF_AGENT,
    REST_OF_AGENT,
    RULES_FROM,
    RULES_TO,
    RULES_HOST,
    RULES_REACHED,
    RULES_FROM_GROUPS,
    RULES_FROM_REST,
    RULES_TO_GROUPS,
    RULES_TO_REST,
    RULES_REST,
    STAGES,
};

/* Steps of a look-up and of a comparison, without those of patterns. */
enum { LOOK_UP = 16, LOOK_AT = 4 };

#define NO_RULE UINT32_MAX

/* ---- whether a rule matches ---- */

static uint8_t *group_of(struct acl_question *question, uint32_t index)
{
    return question->many != NULL ? &question->many[index] : &question->few[index];
}

static bool name_matches(struct acl_question *question, uint32_t reference, const char *name,
                         uint8_t has)
{
    if ((reference & ACL_IS_GROUP) != 0)
        return (*group_of(question, reference & ~ACL_IS_GROUP) & has) != 0;
    return policy_match(question->acl->text + reference, name, &question->work);
}

static bool from_matches(struct acl_question *question, const struct acl_rule *rule)
{
    if (question->is_nobody)
        return (rule->from & ACL_IS_GROUP) == 0 &&
               strcmp(question->acl->text + rule->from, POLICY_NOBODY) == 0;
    return name_matches(question, rule->from, question->request->source, HAS_SOURCE);
}

static bool host_matches(struct acl_question *question, const struct acl_rule *rule)
{
    const struct acl *acl = question->acl;
    switch ((enum acl_host_kind)rule->host_kind) {
    case ACL_HOST_ANY:
        return true;
    case ACL_HOST_NAME:
        return question->kind == HOST_NAME &&
               policy_match(acl->text + rule->host, question->host, &question->work);
    case ACL_HOST_NETWORK:
        return question->kind != HOST_NAME &&
               (network_covers(&acl->networks[rule->host], question->reached) ||
                network_covers(&acl->networks[rule->host], question->address));
    }
    return false;
}

static bool port_matches(const struct acl *acl, const struct acl_rule *rule, uint16_t port)
{
    const struct port_range *ranges = acl->ranges + rule->ports;
    uint32_t low = 0;
    uint32_t high = rule->port_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (ranges[middle].high < port)
            low = middle + 1;
        else
            high = middle;
    }
    return low < rule->port_count && port_range_holds(&ranges[low], port);
}

/* Takes a time that depends only on the rule's key. */
static bool key_matches(struct acl_question *question, const struct acl_rule *rule)
{
    if (rule->key == 0)
        return true;
    const char *key = question->acl->text + rule->key;
    size_t size = strlen(key) + 1; /* the final zero must match too */
    unsigned char difference = 0;
    for (size_t i = 0; i < size; i++)
        difference |= (unsigned char)(key[i] ^ question->key[i]);
    question->work += size;
    return difference == 0;
}

static bool rule_matches(struct acl_question *question, const struct acl_rule *rule)
{
    return port_matches(question->acl, rule, question->request->port) &&
           from_matches(question, rule) &&
           name_matches(question, rule->to, question->request->agent, HAS_AGENT) &&
           host_matches(question, rule) && key_matches(question, rule);
}

/* ---- one step ---- */

static uint32_t take(struct acl_run *run)
{
    run->count--;
    return *run->items++;
}

/* Rules of a run ascend, so that none after the first match counts. */
static void look_at_rule(struct acl_question *question)
{
    uint32_t rule = take(&question->rules);
    question->work += LOOK_AT;
    if (rule < question->best && !rule_matches(question, &question->acl->rules[rule]))
        return;
    if (rule < question->best)
        question->best = rule;
    question->rules.count = 0;
}

static void look_at_member(struct acl_question *question)
{
    const struct acl *acl = question->acl;
    const struct acl_member *member = &acl->members[take(&question->members)];
    uint8_t *group = group_of(question, member->group);
    bool is_source = question->stage <= REST_OF_SOURCE || question->stage == RULES_FROM_GROUPS ||
                     question->stage == RULES_FROM_REST;
    uint8_t has = is_source ? HAS_SOURCE : HAS_AGENT;
    uint8_t done = is_source ? IS_SOURCE_DONE : IS_AGENT_DONE;
    const char *name = is_source ? question->request->source : question->request->agent;
    question->work += LOOK_AT;
    if (question->stage <= REST_OF_AGENT) {
        if ((*group & has) == 0 && policy_match(acl->text + member->pattern, name, &question->work))
            *group |= has;
    } else if ((*group & (has | done)) == has) {
        *group |= done;
        question->rules =
            acl_index_group(&acl->rule_index, is_source ? ACL_FROM : ACL_TO, member->group);
        question->work += LOOK_UP;
    }
}

static bool probe_members(struct acl_question *question, const char *name)
{
    return acl_probe_text(&question->acl->member_index, ACL_FROM, text_of(name), &question->probe,
                          &question->members);
}

static bool probe_rules(struct acl_question *question, enum acl_field field, const char *name)
{
    return acl_probe_text(&question->acl->rule_index, field, text_of(name), &question->probe,
                          &question->rules);
}

static bool probe_networks(struct acl_question *question, const uint8_t *address)
{
    return question->kind != HOST_NAME && acl_probe_address(&question->acl->rule_index, address,
                                                            &question->probe, &question->rules);
}

/* The rest of an index is looked up once. */
static bool take_rest(struct acl_question *question, const struct acl_index *index,
                      struct acl_run *run)
{
    bool is_first = question->probe.next == 0;
    if (is_first)
        *run = acl_index_rest(index);
    question->probe.next = 1;
    return is_first;
}

/* Looks up the next members or rules of the stage; returns false when there are no more. */
static bool look_up(struct acl_question *question)
{
    const struct policy_request *request = question->request;
    const struct acl *acl = question->acl;
    switch ((enum stage)question->stage) {
    case GROUPS_OF_SOURCE:
    case RULES_FROM_GROUPS:
        return !question->is_nobody && probe_members(question, request->source);
    case GROUPS_OF_AGENT:
    case RULES_TO_GROUPS:
        return probe_members(question, request->agent);
    case REST_OF_SOURCE:
    case RULES_FROM_REST:
        return !question->is_nobody && take_rest(question, &acl->member_index, &question->members);
    case REST_OF_AGENT:
    case RULES_TO_REST:
        return take_rest(question, &acl->member_index, &question->members);
    case RULES_FROM:
        return probe_rules(question, ACL_FROM, request->source);
    case RULES_TO:
        return probe_rules(question, ACL_TO, request->agent);
    case RULES_HOST:
        return question->kind == HOST_NAME ? probe_rules(question, ACL_HOST, question->host)
                                           : probe_networks(question, question->address);
    case RULES_REACHED:
        return memcmp(question->reached, question->address, HOST_ADDRESS_SIZE) != 0 &&
               probe_networks(question, question->reached);
    case RULES_REST:
        return take_rest(question, &acl->rule_index, &question->rules);
    case STAGES:
        break;
    }
    return false;
}

/* Returns whether there is more to do. */
static bool step(struct acl_question *question)
{
    if (question->rules.count > 0) {
        look_at_rule(question);
    } else if (question->members.count > 0) {
        look_at_member(question);
    } else if (question->stage < STAGES) {
        question->work += LOOK_UP;
        if (!look_up(question)) {
            question->stage++;
            question->probe = (struct acl_probe){0};
        }
    } else {
        return false;
    }
    return true;
}

/* ---- questions ---- */

static void take_request(struct acl_question *question, const struct policy_request *request)
{
    struct text host = text_of(request->host);
    question->is_nobody = strcmp(request->source, POLICY_NOBODY) == 0;
    question->kind = host_parse(host, question->address);
    memcpy(question->reached, question->address, sizeof question->reached);
    if (question->kind != HOST_NAME && question->kind != HOST_INVALID)
        host_canonical(question->reached);
    host_canonical_text(host, question->host);
    /* A key longer than any in a rule counts as no key. */
    size_t key_size = strlen(request->key);
    if (key_size <= ACL_MAX_KEY)
        memcpy(question->key, request->key, key_size);
}

int acl_question_start(struct acl_question *question, const struct acl *acl,
                       const struct policy_request *request)
{
    *question = (struct acl_question){.acl = acl, .request = request, .best = NO_RULE};
    if (acl->group_count > ACL_QUESTION_GROUPS) {
        question->many = memory_allocate_zero(acl->group_count);
        if (question->many == NULL)
            return CULVERT_ERROR_NO_MEMORY;
    }
    take_request(question, request);
    return 0;
}

bool acl_question_work(struct acl_question *question, size_t work, struct policy_verdict *verdict)
{
    const struct acl *acl = question->acl;
    question->work = 0;
    if (question->kind == HOST_INVALID) {
        policy_refuse(verdict, "%.100s: the host is neither a name nor an address", acl->name);
        return true;
    }
    while (step(question)) {
        if (question->work >= work)
            return false;
    }
    question->line = question->best != NO_RULE ? acl->rules[question->best].line : 0;
    if (question->line != 0 && acl->rules[question->best].allows)
        policy_allow(verdict, "%.100s:%u allows it", acl->name, question->line);
    else
        acl_refuse(acl, question->line, verdict);
    return true;
}

void acl_question_end(struct acl_question *question)
{
    explicit_bzero(question->key, sizeof question->key);
    memory_free(question->many);
    question->many = NULL;
}
