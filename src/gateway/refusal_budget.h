/*
 * A rate limit for the refused sessions of one agent: their number, and the share of time that they
 * take, both far below those of granted sessions. When the budget is used up, the policy is not
 * asked about this agent's sessions until some of it is available again. The clock comes in.
 */
#ifndef GATEWAY_REFUSAL_BUDGET_H
#define GATEWAY_REFUSAL_BUDGET_H

#include <stdbool.h>
#include <stdint.h>

enum {
    REFUSAL_BUDGET_PER_SECOND = 200, /* and as many at once after a quiet second */
    REFUSAL_BUDGET_SHARE = 20,       /* one part in so many of the time */
};

/* All zero at first. */
struct refusal_budget {
    uint64_t full_at; /* microseconds: when all of it is available again */
};

/* Whether some of the budget is left. `now` is when the loop's turn began, in microseconds. */
bool refusal_budget_has(const struct refusal_budget *budget, uint64_t now);

/* A session was refused after so many microseconds of work. */
void refusal_budget_charge(struct refusal_budget *budget, uint64_t now, uint64_t spent);

#endif
