#include "carrier/poll_batch.h"

enum {
    WEIGHT = 4,  /* of what was known against a new time */
    FADING = 64, /* batches until an old time of another size is doubted */
    FIRST_SIZE = 4,
    FIRST_PATIENCE = 32, /* bodies */
    LAST_PATIENCE = 4096,
};

void poll_batch_init(struct poll_batch *batch)
{
    *batch = (struct poll_batch){
        .size = FIRST_SIZE, .most = POLL_BATCH_SIZES - 1, .patience = FIRST_PATIENCE};
}

size_t poll_batch_limit(const struct poll_batch *batch)
{
    return (size_t)POLL_BATCH_LEAST << batch->size;
}

/* ---- what passes ---- */

size_t poll_batch_room(const struct poll_batch *batch)
{
    return batch->is_limited ? (size_t)POLL_BATCH_LEAST << batch->most : SIZE_MAX;
}

bool poll_batch_refused(struct poll_batch *batch, size_t bytes)
{
    if (bytes <= POLL_BATCH_LEAST)
        return false;
    if (batch->is_limited && batch->patience < LAST_PATIENCE)
        batch->patience *= 2;
    while (batch->most > 0 && (size_t)POLL_BATCH_LEAST << batch->most >= bytes)
        batch->most--;
    batch->is_limited = true;
    batch->passed = 0;
    if (batch->size > batch->most)
        batch->size = batch->most;
    return true;
}

/* The proxy may have been configured anew, or another one is on the way. */
static void try_more(struct poll_batch *batch, size_t bytes)
{
    if (bytes < poll_batch_room(batch) || ++batch->passed < batch->patience)
        return;
    batch->passed = 0;
    if (batch->most + 1 < POLL_BATCH_SIZES)
        batch->most++;
}

/* ---- what is fast ---- */

static uint64_t difference(uint64_t larger, uint64_t smaller)
{
    return larger > smaller ? larger - smaller : 0;
}

/* How long a batch of the present size is on the line. */
static uint64_t stay(const struct poll_batch *batch)
{
    uint64_t took = batch->took[batch->size];
    uint64_t half = batch->size > 0 ? batch->took[batch->size - 1] : 0;
    return half != 0 ? 2 * difference(took, half) : difference(took, batch->shortest);
}

/* And one of twice the size. */
static uint64_t next_stay(const struct poll_batch *batch)
{
    uint64_t twice = batch->took[batch->size + 1];
    return twice != 0 ? 2 * difference(twice, batch->took[batch->size]) : 2 * stay(batch);
}

static void learn(struct poll_batch *batch, uint64_t took)
{
    uint64_t *known = &batch->took[batch->size];
    *known = *known == 0 ? took : ((WEIGHT - 1) * *known + took) / WEIGHT;
    for (unsigned i = batch->size + 1; i < POLL_BATCH_SIZES; i++)
        batch->took[i] -= batch->took[i] / FADING;
}

void poll_batch_answered(struct poll_batch *batch, size_t bytes, uint64_t took)
{
    try_more(batch, bytes);
    uint64_t drift = batch->shortest + batch->shortest / FADING + 1;
    bool is_shorter = batch->shortest == 0 || took < drift;
    batch->shortest = is_shorter ? took : drift;
    if (bytes < poll_batch_limit(batch))
        return;
    learn(batch, took);
    uint64_t cost = difference(batch->took[batch->size], stay(batch));
    uint64_t allowed = 2 * cost > POLL_BATCH_STAY ? 2 * cost : POLL_BATCH_STAY;
    if (stay(batch) > allowed && batch->size > 0)
        batch->size--;
    else if (batch->size < batch->most && next_stay(batch) <= allowed)
        batch->size++;
}
