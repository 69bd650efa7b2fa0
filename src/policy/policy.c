#include "policy/policy.h"

#include <stddef.h>

struct policy_verdict policy_ask(const struct policy *policy, const struct policy_request *request)
{
    (void)request;
    if (policy->deny)
        return (struct policy_verdict){false, "the gateway denies every session"};
    if (policy->grant)
        return (struct policy_verdict){true, "the gateway grants every session"};
    return (struct policy_verdict){false, "the gateway has no policy that allows it"};
}
