#include "gateway/refusal_budget.h"

enum { SECOND = 1000 * 1000 };

bool refusal_budget_has(const struct refusal_budget *budget, uint64_t now)
{
    return budget->full_at < now + SECOND;
}

void refusal_budget_charge(struct refusal_budget *budget, uint64_t now, uint64_t spent)
{
    uint64_t cost = spent * REFUSAL_BUDGET_SHARE;
    if (cost < SECOND / REFUSAL_BUDGET_PER_SECOND)
        cost = SECOND / REFUSAL_BUDGET_PER_SECOND;
    budget->full_at = (budget->full_at > now ? budget->full_at : now) + cost;
}
