/* A carrier's bytes, cut at places that the input chooses, must be told as when they come whole. */
#include "tunnel/inbound.h"

#include "base/error.h"
#include "base/list.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct digest {
    struct inbound inbound;
    uint64_t sum;
    size_t messages;
};

static int take(struct inbound *inbound, const struct message *message, struct slice_queue *payload,
                size_t size)
{
    struct digest *digest = CONTAINER_OF(inbound, struct digest, inbound);
    digest->messages++;
    digest->sum = digest->sum * 31 + message->sid + size + payload->bytes;
    struct slice *slice;
    while ((slice = slice_queue_first(payload)) != NULL) {
        for (size_t i = 0; i < slice->size; i++)
            digest->sum = digest->sum * 31 + slice->data[i];
        slice_queue_skip(payload, slice->size);
    }
    return 0;
}

static int run(struct digest *digest, struct chunk_pool *pool, const uint8_t *data, size_t size,
               size_t step)
{
    int result = 0;
    memset(digest, 0, sizeof(*digest));
    inbound_init(&digest->inbound, pool, take);
    for (size_t at = 0; at < size && result == 0; at += step) {
        struct slice piece;
        if (slice_copy(pool, data + at, size - at < step ? size - at : step, &piece) != 0)
            abort();
        result = inbound_take(&digest->inbound, piece);
    }
    inbound_deinit(&digest->inbound);
    return result;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct account account;
    struct chunk_pool pool;
    if (size < 2)
        return 0;
    account_init(&account, SIZE_MAX);
    chunk_pool_init(&pool, &account);
    struct digest whole, cut;
    int first = run(&whole, &pool, data + 1, size - 1, size - 1);
    int second = run(&cut, &pool, data + 1, size - 1, (size_t)data[0] % 63 + 1);
    if (first == 0 && (second != 0 || whole.sum != cut.sum || whole.messages != cut.messages))
        abort();
    if (chunk_pool_deinit(&pool) != 0 || account.used != 0)
        abort();
    return 0;
}
