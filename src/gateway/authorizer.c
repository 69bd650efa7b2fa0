#include "gateway/authorizer.h"

#include "base/log.h"

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

bool authorizer_decide(struct authorizer *authorizer, const struct policy_request *request,
                       struct policy_verdict *verdict)
{
    const struct gateway_config *config = authorizer->config;
    if (config->deny) {
        policy_refuse(verdict, "the gateway denies every session");
        return true;
    }
    if (!config->grant && authorizer->acl == NULL && authorizer->pool == NULL) {
        policy_refuse(verdict, "the gateway has no policy that allows it");
        return true;
    }
    policy_allow(verdict, "the gateway grants every session");
    if (authorizer->acl != NULL)
        acl_file_ask(authorizer->acl, request, verdict);
    return !verdict->allowed || authorizer->pool == NULL;
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
