#include "ends/patience.h"

#include "base/memory.h"

struct patience {
    struct loop_timer timer;
    struct loop_task burial;
    uint64_t milliseconds;
    void (*expired)(void *context);
    void *context;
};

static void bury(struct loop_task *task)
{
    memory_free(CONTAINER_OF(task, struct patience, burial));
}

static void fired(struct loop_timer *timer)
{
    struct patience *patience = timer->holder;
    patience->expired(patience->context);
}

struct patience *patience_start(struct loop *loop, uint64_t microseconds,
                                void (*expired)(void *context), void *context)
{
    struct patience *patience = memory_allocate_zero(sizeof(*patience));
    if (patience == NULL)
        return NULL;
    if (loop_timer_init(loop, &patience->timer, fired, patience) != 0) {
        memory_free(patience);
        return NULL;
    }
    patience->burial.run = bury;
    patience->milliseconds = microseconds / 1000;
    patience->expired = expired;
    patience->context = context;
    patience_renew(patience);
    return patience;
}

void patience_renew(struct patience *patience)
{
    loop_timer_start(&patience->timer, patience->milliseconds);
}

void patience_end(struct patience *patience)
{
    if (patience != NULL)
        loop_timer_close(&patience->timer, &patience->burial);
}
