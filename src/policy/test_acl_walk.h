/* For tests: what an access list answers when its rules are looked at one after the other. */
#ifndef POLICY_TEST_ACL_WALK_H
#define POLICY_TEST_ACL_WALK_H

#include "policy/acl_inner.h"
#include "policy/host.h"

#include <string.h>

static inline bool walk_name(const struct acl *acl, uint32_t reference, const char *name)
{
    if ((reference & ACL_IS_GROUP) == 0)
        return policy_matches(acl->text + reference, name);
    for (size_t i = 0; i < acl->member_count; i++) {
        if (acl->members[i].group == (reference & ~ACL_IS_GROUP) &&
            policy_matches(acl->text + acl->members[i].pattern, name))
            return true;
    }
    return false;
}

static inline bool walk_from(const struct acl *acl, const struct acl_rule *rule, const char *name)
{
    if (strcmp(name, POLICY_NOBODY) != 0)
        return walk_name(acl, rule->from, name);
    return (rule->from & ACL_IS_GROUP) == 0 && strcmp(acl->text + rule->from, POLICY_NOBODY) == 0;
}

static inline bool walk_host(const struct acl *acl, const struct acl_rule *rule, const char *host)
{
    uint8_t address[HOST_ADDRESS_SIZE];
    uint8_t reached[HOST_ADDRESS_SIZE];
    char lower[HOST_NAME_SIZE] = "";
    if (rule->host_kind == ACL_HOST_ANY)
        return true;
    enum host_kind kind = host_parse(text_of(host), address);
    if ((kind == HOST_NAME) != (rule->host_kind == ACL_HOST_NAME))
        return false;
    if (kind == HOST_NAME) {
        size_t size = strlen(host);
        size -= size > 1 && host[size - 1] == '.';
        for (size_t i = 0; i < size; i++)
            lower[i] = (char)(host[i] >= 'A' && host[i] <= 'Z' ? host[i] - 'A' + 'a' : host[i]);
        return policy_matches(acl->text + rule->host, lower);
    }
    memcpy(reached, address, sizeof reached);
    host_canonical(reached);
    return network_covers(&acl->networks[rule->host], reached) ||
           network_covers(&acl->networks[rule->host], address);
}

static inline bool walk_port(const struct acl *acl, const struct acl_rule *rule, uint16_t port)
{
    for (uint32_t i = 0; i < rule->port_count; i++) {
        if (port_range_holds(&acl->ranges[rule->ports + i], port))
            return true;
    }
    return false;
}

/* The rule that decides; NULL: none. */
static inline const struct acl_rule *walk_rules(const struct acl *acl,
                                                const struct policy_request *request)
{
    if (host_parse(text_of(request->host), NULL) == HOST_INVALID)
        return NULL;
    for (size_t i = 0; i < acl->rule_count; i++) {
        const struct acl_rule *rule = &acl->rules[i];
        if (walk_from(acl, rule, request->source) && walk_name(acl, rule->to, request->agent) &&
            walk_host(acl, rule, request->host) && walk_port(acl, rule, request->port) &&
            (rule->key == 0 || strcmp(acl->text + rule->key, request->key) == 0))
            return rule;
    }
    return NULL;
}

#endif
