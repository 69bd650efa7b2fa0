/*
 * One question to an access list. It may take long where the list's patterns look alike, so it can
 * be worked on in pieces: each takes a bounded time, and the caller does other things in between.
 */
#ifndef POLICY_ACL_QUESTION_H
#define POLICY_ACL_QUESTION_H

#include "policy/acl.h"
#include "policy/acl_index.h"
#include "policy/host.h"

enum { ACL_QUESTION_GROUPS = 64 /* that it needs no memory for */ };

struct acl_question {
    const struct acl *acl;
    const struct policy_request *request;
    unsigned line; /* once it is decided: of the rule that did; 0: none */

    /* Its own: */
    bool is_nobody;
    enum host_kind kind;
    uint8_t address[HOST_ADDRESS_SIZE];
    uint8_t reached[HOST_ADDRESS_SIZE]; /* what a connection to the address reaches */
    char host[HOST_NAME_SIZE];          /* as host_canonical_text */
    char key[ACL_MAX_KEY + 1];          /* zeros behind it */
    uint8_t few[ACL_QUESTION_GROUPS];   /* what is known of each group */
    uint8_t *many;                      /* where that is if `few` are too few */
    unsigned stage;
    struct acl_probe probe;
    struct acl_run members; /* still to be looked at */
    struct acl_run rules;
    uint32_t best; /* the index of the first rule found so far */
    size_t work;   /* done in this piece */
};

/* `acl` and `request` are borrowed until it ends; it may be moved to another place. Returns 0 or
 * CULVERT_ERROR_NO_MEMORY. */
int acl_question_start(struct acl_question *question, const struct acl *acl,
                       const struct policy_request *request);

/* Works on until it is decided or about `work` steps, a few nanoseconds each, were made; beyond
 * that at most what the comparison with one rule takes, ACL_QUESTION_RULE steps. Returns whether
 * the verdict is set, with a reason such as "policy.acl:12 allows it". */
enum { ACL_QUESTION_RULE = 3 * HOST_NAME_SIZE * HOST_NAME_SIZE };
bool acl_question_work(struct acl_question *question, size_t work, struct policy_verdict *verdict);

/* Decided or not. */
void acl_question_end(struct acl_question *question);

#endif
