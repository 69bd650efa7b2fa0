/*
 * Who may talk with whom: the modules that the gateway was started with, asked in order, the first
 * refusal wins and all must allow: --auth-deny, --auth-grant, the access list, the script. Any
 * thread may ask.
 */
#ifndef GATEWAY_AUTHORIZER_H
#define GATEWAY_AUTHORIZER_H

#include "gateway/acl_file.h"
#include "gateway/denials.h"
#include "gateway/gateway.h"
#include "lua/lua_pool.h"
#include "policy/acl_question.h"

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

/* A question to the checks before the script. It may take long if there is an access list. All
 * zero: none. */
struct authorizer_question {
    struct acl_version *version; /* NULL: no list is asked */
    struct acl_question rules;
    uint64_t hash; /* key of a cached refusal */
};

/* Whether there is an access list, so that questions may take long. */
bool authorizer_has_rules(const struct authorizer *authorizer);

/* Begins a question; borrows `request` until authorizer_end. Returns whether it is answered
 * already, as it always is without a list. `denials` belong to the calling thread. */
bool authorizer_begin(struct authorizer *authorizer, struct authorizer_question *question,
                      const struct policy_request *request, const struct denials *denials,
                      struct policy_verdict *verdict);
/* Works on it as acl_question_work does; returns whether it is answered. */
bool authorizer_work(struct authorizer_question *question, size_t work, struct denials *denials,
                     struct policy_verdict *verdict);
/* Answered or not; repeatable. */
void authorizer_end(struct authorizer_question *question);

/* Whether a script decides about sessions that all other checks allow (authorizer_ask). */
bool authorizer_has_script(const struct authorizer *authorizer);

/* Whether the script wants to be asked about registrations. */
bool authorizer_registers(struct authorizer *authorizer);

/* Whether it can decide now: false while no process of the script is running. */
bool authorizer_is_ready(struct authorizer *authorizer);

/* Asks the script: see lua_pool_ask. */
int authorizer_ask(struct authorizer *authorizer, struct lua_question *question);

#endif
