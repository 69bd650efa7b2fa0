/* A time limit without progress, allocated while somebody waits. */
#ifndef ENDS_PATIENCE_H
#define ENDS_PATIENCE_H

#include "net/loop.h"

struct patience;

/* Calls `expired` once when nothing has renewed it for so long. NULL: out of memory. */
struct patience *patience_start(struct loop *loop, uint64_t microseconds,
                                void (*expired)(void *context), void *context);
/* Progress: the time begins again. */
void patience_renew(struct patience *patience);
/* Ends and frees it, before it has expired or within `expired`. NULL has no effect. */
void patience_end(struct patience *patience);

#endif
