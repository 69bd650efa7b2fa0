#include "gateway/authorizer.h"

#include "base/error.h"

int authorizer_open(struct authorizer *authorizer, const struct gateway_config *config,
                    struct loop *loop, char *why, size_t why_size)
{
    (void)loop;
    (void)why;
    (void)why_size;
    *authorizer = (struct authorizer){.config = config};
    return 0;
}

void authorizer_reload(struct authorizer *authorizer)
{
    (void)authorizer;
}

void authorizer_close(struct authorizer *authorizer)
{
    (void)authorizer;
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
    (void)request;
    return true;
}

bool authorizer_registers(struct authorizer *authorizer)
{
    (void)authorizer;
    return false;
}

int authorizer_ask(struct authorizer *authorizer, struct lua_question *question)
{
    (void)authorizer;
    (void)question;
    return CULVERT_ERROR_LIMIT;
}
