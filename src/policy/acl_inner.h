/*
 * What an access list is made of, for those who build and ask it. The file's text is copied once
 * and cut into words in place (a zero behind each); everything else refers into it or into the
 * list's tables by 32-bit numbers.
 */
#ifndef POLICY_ACL_INNER_H
#define POLICY_ACL_INNER_H

#include "policy/acl.h"
#include "policy/acl_index.h"
#include "policy/network.h"
#include "policy/port_range.h"

/* Set in `from` and `to` of a rule where the rest is the index of a group; else it is the place of
 * a pattern in the text. */
#define ACL_IS_GROUP UINT32_C(0x80000000)

enum { ACL_WORDS_BEFORE_KEY = 6 /* allow FROM -> TO HOST PORTS */ };

enum acl_host_kind { ACL_HOST_ANY, ACL_HOST_NAME, ACL_HOST_NETWORK };

struct acl_rule {
    uint32_t line;
    uint32_t text; /* place of the first word */
    uint32_t from;
    uint32_t to;
    uint32_t host; /* place of a pattern in lower case without its last dot, or a network's index */
    uint32_t ports; /* index of the first of the ranges, which ascend and do not touch */
    uint32_t port_count;
    uint32_t key; /* place; 0: none */
    uint8_t host_kind;
    bool allows;
};

struct acl_group {
    uint32_t name;      /* place */
    uint32_t line;      /* where it is defined; 0: nowhere yet */
    uint32_t mentioned; /* the line that named it first */
};

struct acl_member {
    uint32_t pattern; /* place */
    uint32_t group;   /* index */
};

struct acl {
    char *name; /* of the file, without its folder */
    char *text;
    size_t text_size;
    struct acl_rule *rules;
    size_t rule_count;
    struct network *networks;
    size_t network_count;
    struct port_range *ranges;
    size_t range_count;
    struct acl_group *groups;
    size_t group_count;
    struct acl_member *members;
    size_t member_count;
    struct acl_index rule_index;
    struct acl_index member_index; /* under ACL_FROM, whatever they are looked up for */
};

#endif
