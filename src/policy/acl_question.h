/*
 * One question to an access list. It may take long if many patterns of the list are similar, so the
 * caller can work on it in steps of a bounded time, and do other things in between.
 */
#ifndef POLICY_ACL_QUESTION_H
#define POLICY_ACL_QUESTION_H

#include "policy/acl.h"
#include "policy/acl_index.h"
#include "policy/host.h"

enum { ACL_QUESTION_GROUPS = 64 /* up to this many, a question allocates no memory */ };

struct acl_question {
    const struct acl *acl;
    const struct policy_request *request;
    unsigned line; /* of the rule that decided; 0: none */

    /* private: */
    bool is_nobody;
    enum host_kind kind;
    uint8_t address[HOST_ADDRESS_SIZE];
    uint8_t reached[HOST_ADDRESS_SIZE]; /* what a connection to the address reaches */
    char host[HOST_NAME_SIZE];          /* as host_canonical_text */
    char key[ACL_MAX_KEY + 1];          /* followed by zeros */
    uint8_t few[ACL_QUESTION_GROUPS];   /* state of each group */
    uint8_t *many;                      /* the same if `few` has too little room */
    unsigned stage;
    struct acl_probe probe;
    struct acl_run members; /* still to be compared */
    struct acl_run rules;
    uint32_t best; /* the index of the first rule found so far */
    size_t work;   /* steps since acl_question_work was called */
};

/* Borrows `acl` and `request` until acl_question_end. The struct may be moved. Returns 0 or
 * CULVERT_ERROR_NO_MEMORY. */
int acl_question_start(struct acl_question *question, const struct acl *acl,
                       const struct policy_request *request);

/* Works on the question until it is decided or has taken about `work` steps of a few nanoseconds
 * each; it exceeds `work` by at most the comparison with one rule, ACL_QUESTION_RULE steps. Returns
 * whether it has set the verdict, with a reason such as "policy.acl:12 allows it". */
enum { ACL_QUESTION_RULE = 3 * HOST_NAME_SIZE * HOST_NAME_SIZE };
bool acl_question_work(struct acl_question *question, size_t work, struct policy_verdict *verdict);

/* May be called before the question is decided. */
void acl_question_end(struct acl_question *question);

#endif
