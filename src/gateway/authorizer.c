#include "gateway/authorizer.h"

#include "base/log.h"
#include "base/memory.h"
#include "journal/event_record.h"

/* A policy was read again, or could not be; `why` says why not. */
static void reloaded(void *context, const char *path, const char *why)
{
    const struct authorizer *authorizer = context;
    struct event event = {
        .type = EVENT_POLICY_RELOADED, .file = path, .ok = why == NULL, .reason = why};
    if (why != NULL)
        log_error("the policy stays as it was: %s", why);
    journal_emit(authorizer->config->journal, &event);
}

static void tell_script(void *context, const char *json)
{
    lua_pool_tell(context, json);
}

static char *describe_drops(uint64_t count)
{
    char json[EVENT_DROPPED_SIZE];
    event_dropped_json(count, json);
    return memory_copy_text(json);
}

static int start_script(struct authorizer *authorizer, struct loop *loop, char *why,
                        size_t why_size)
{
    const struct gateway_config *config = authorizer->config;
    struct lua_pool_config pool = {
        .script = config->script,
        .program = config->program,
        .user = config->lua_user,
        .workers = config->lua_workers,
        .timeout = config->auth_timeout,
        .memory = LUA_POOL_MEMORY,
        .reloaded = reloaded,
        .describe_drops = describe_drops,
        .context = authorizer,
    };
    int error = lua_pool_start(loop, &pool, &authorizer->pool, why, why_size);
    if (error == 0 && config->journal != NULL)
        error = journal_add_callback(config->journal, tell_script, authorizer->pool);
    return error;
}

int authorizer_open(struct authorizer *authorizer, const struct gateway_config *config,
                    struct loop *loop, char *why, size_t why_size)
{
    *authorizer = (struct authorizer){.config = config};
    int error = 0;
    if (config->acl != NULL)
        error =
            acl_file_open(loop, config->acl, reloaded, authorizer, &authorizer->acl, why, why_size);
    if (error == 0 && config->script != NULL)
        error = start_script(authorizer, loop, why, why_size);
    return error;
}

void authorizer_reload(struct authorizer *authorizer)
{
    if (authorizer->acl != NULL)
        acl_file_reload(authorizer->acl);
    if (authorizer->pool != NULL)
        lua_pool_reload(authorizer->pool);
}

void authorizer_close(struct authorizer *authorizer)
{
    if (authorizer->acl != NULL)
        acl_file_close(authorizer->acl);
    authorizer->acl = NULL;
    if (authorizer->pool == NULL)
        return;
    if (authorizer->config->journal != NULL)
        journal_remove_callback(authorizer->config->journal, tell_script, authorizer->pool);
    lua_pool_stop(authorizer->pool);
    authorizer->pool = NULL;
}

bool authorizer_has_rules(const struct authorizer *authorizer)
{
    return authorizer->acl != NULL && !authorizer->config->deny;
}

bool authorizer_has_script(const struct authorizer *authorizer)
{
    return authorizer->pool != NULL;
}

bool authorizer_begin(struct authorizer *authorizer, struct authorizer_question *question,
                      const struct policy_request *request, const struct denials *denials,
                      struct policy_verdict *verdict)
{
    const struct gateway_config *config = authorizer->config;
    unsigned line = 0;
    question->version = NULL;
    if (config->deny) {
        policy_refuse(verdict, "the gateway denies every session");
        return true;
    }
    if (!config->grant && authorizer->acl == NULL && authorizer->pool == NULL) {
        policy_refuse(verdict, "the gateway has no policy that allows it");
        return true;
    }
    policy_allow(verdict, "the gateway grants every session");
    if (authorizer->acl == NULL)
        return true;
    question->version = acl_file_hold(authorizer->acl);
    question->hash = denials_hash(denials, question->version->number, request);
    bool is_denied = denials_find(denials, question->hash, &line);
    if (is_denied)
        acl_refuse(question->version->acl, line, verdict);
    else if (acl_question_start(&question->rules, question->version->acl, request) == 0)
        return false;
    else
        policy_fail(verdict, "the gateway has no memory to look through its rules");
    acl_version_drop(question->version);
    question->version = NULL;
    return true;
}

bool authorizer_work(struct authorizer_question *question, size_t work, struct denials *denials,
                     struct policy_verdict *verdict)
{
    if (!acl_question_work(&question->rules, work, verdict))
        return false;
    if (!verdict->allowed)
        denials_add(denials, question->hash, question->rules.line);
    return true;
}

void authorizer_end(struct authorizer_question *question)
{
    if (question->version == NULL)
        return;
    acl_question_end(&question->rules);
    acl_version_drop(question->version);
    question->version = NULL;
}

bool authorizer_registers(struct authorizer *authorizer)
{
    return authorizer->pool != NULL && lua_pool_has_register(authorizer->pool);
}

bool authorizer_is_ready(struct authorizer *authorizer)
{
    return authorizer->pool == NULL || lua_pool_is_manned(authorizer->pool);
}

int authorizer_ask(struct authorizer *authorizer, struct lua_question *question)
{
    return lua_pool_ask(authorizer->pool, question);
}
