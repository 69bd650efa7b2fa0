/*
 * The access list: rules, one a line, the first that matches decides, none means no.
 *
 *   # who may reach whom
 *   @ops = alice-*, bob
 *   allow @ops -> db-?  10.0.0.0/8  5432,6000-6010
 *   allow *    -> web   localhost   80,443         key s3cret
 *   deny  *    -> *     *           *
 *
 * FROM and TO are agent names with `*` and `?` (any one byte), or a @group that the file defines
 * (anywhere in it; its members are such patterns, separated by commas; no group within a group);
 * `-` as FROM is someone without a name, whom `*` does not stand for. HOST is a name (compared as
 * text, in any case; `*` and `?` as above), an address or a CIDR; a name never matches an address
 * or a CIDR, since only the far agent can resolve it; `*` is every host. PORTS is a list of ports
 * and ranges, or `*`. `key KEY` asks for that connection key (compared in constant time, never
 * shown). `#` at the beginning of a word begins a comment. A host that is neither a name nor an
 * address, such as 127.1, which a resolver would take for one, is refused whatever the rules say.
 */
#ifndef POLICY_ACL_H
#define POLICY_ACL_H

#include "policy/policy.h"

enum {
    ACL_MAX_SIZE = 16 * 1024 * 1024, /* of the text */
    ACL_MAX_KEY = 256,               /* bytes; as long as one can be on the wire */
};

struct acl;

/* Parses the text of a file; `name` is what messages call it (FILE, copied). Returns 0;
 * CULVERT_ERROR_INVALID with "FILE:LINE: what" in `why`, which never holds a key;
 * CULVERT_ERROR_TOO_LARGE or CULVERT_ERROR_NO_MEMORY, also with a sentence. */
int acl_parse(const char *name, const char *text, size_t size, struct acl **acl, char *why,
              size_t why_size);
void acl_free(struct acl *acl);

/* Calls `each` with "FILE:LINE: what" for every wrong line, in order; groups that are defined
 * nowhere come last. Returns how many there are, or an error as acl_parse does, with a sentence in
 * `why`. */
struct acl_complaints {
    void (*each)(void *context, const char *complaint);
    void *context;
};
int acl_check(const char *name, const char *text, size_t size,
              const struct acl_complaints *complaints, char *why, size_t why_size);

/* Sets the verdict, with a reason such as "policy.acl:12 allows it" (the file without its folder).
 * Returns the line that gave it, 0 if none did. Does not change the list: any number of threads may
 * ask. Takes time proportional to the text's size at most, times the length of a name:
 * Callers that may not wait that long use acl_question.h. */
unsigned acl_ask(const struct acl *acl, const struct policy_request *request,
                 struct policy_verdict *verdict);

/* Sets the verdict of the deny rule in this line; line 0: no rule matches. */
void acl_refuse(const struct acl *acl, unsigned line, struct policy_verdict *verdict);

/* How many rules there are. */
size_t acl_count(const struct acl *acl);

/* Whether a rule names a key. */
bool acl_has_keys(const struct acl *acl);

/* Returns the line of the first rule that denies an address or a network, and so does not apply to
 * names that resolve into it; 0: there is none. */
unsigned acl_network_denial(const struct acl *acl);

/* Writes the rule that stands in a line, its words one blank apart and its key hidden, cut if it is
 * too long; "" if there is none. */
void acl_rule_text(const struct acl *acl, unsigned line, char *out, size_t size);

#endif
