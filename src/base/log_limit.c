#include "base/log_limit.h"

enum { SECOND = 1000 * 1000 };

bool log_limit_take(struct log_limit *limit, uint64_t now, uint64_t *left_out)
{
    uint64_t full_at = limit->full_at > now ? limit->full_at : now;
    if (full_at - now > (uint64_t)(LOG_LIMIT_BURST - 1) * SECOND) {
        limit->left_out++;
        return false;
    }
    limit->full_at = full_at + SECOND;
    *left_out = limit->left_out;
    limit->left_out = 0;
    return true;
}
