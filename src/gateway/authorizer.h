/*
 * Who may talk with whom: the modules that the gateway was started with, asked in order, the first
 * refusal wins and all must allow: --auth-deny, --auth-grant, the access list, the script. Any
 * thread may ask.
 */
#ifndef GATEWAY_AUTHORIZER_H
#define GATEWAY_AUTHORIZER_H

#include "gateway/acl_file.h"
#include "gateway/gateway.h"
#include "lua/lua_pool.h"

struct authorizer {
    const struct gateway_config *config;
    struct acl_file *acl;  /* NULL: none */
    struct lua_pool *pool; /* NULL: no script */
};

/* Reads what the config names; the loop is the one on which files are watched and the script's
 * workers are served. Returns 0, or an error with a sentence in `why`. */
int authorizer_open(struct authorizer *authorizer, const struct gateway_config *config,
                    struct loop *loop, char *why, size_t why_size);
/* Reads access list and script again. On the loop's thread. */
void authorizer_reload(struct authorizer *authorizer);
/* After the loop has ended, before it is deinitialised: answers all questions. Repeatable. */
void authorizer_close(struct authorizer *authorizer);

/* Asks all that answer at once. Returns whether the verdict is final; if not, the script has the
 * last word, and authorizer_ask asks it. */
bool authorizer_decide(struct authorizer *authorizer, const struct policy_request *request,
                       struct policy_verdict *verdict);

/* Whether the script wants to be asked about registrations. */
bool authorizer_registers(struct authorizer *authorizer);

/* Whether it can decide now: false while the script has no process that could answer. */
bool authorizer_is_ready(struct authorizer *authorizer);

/* Asks the script: see lua_pool_ask. */
int authorizer_ask(struct authorizer *authorizer, struct lua_question *question);

#endif
