#include "tunnel/inbound.h"

#include "base/error.h"
#include "base/memory.h"

#include <string.h>

static bool settle(struct parking *parking, struct chunk_pool *pool)
{
    return slice_queue_settle(&CONTAINER_OF(parking, struct inbound, parking)->payload, pool);
}

void inbound_init(struct inbound *inbound, struct chunk_pool *pool,
                  int (*message)(struct inbound *, const struct message *, struct slice_queue *,
                                 size_t))
{
    memset(inbound, 0, sizeof(*inbound));
    inbound->pool = pool;
    inbound->parking.settle = settle;
    inbound->message = message;
}

void inbound_deinit(struct inbound *inbound)
{
    parking_leave(&inbound->parking);
    slice_queue_deinit(&inbound->payload);
    memory_free(inbound->partial);
    inbound->partial = NULL;
    inbound->partial_size = 0;
    inbound->missing = 0;
}

bool inbound_is_whole(const struct inbound *inbound)
{
    return inbound->missing == 0 && inbound->partial_size == 0;
}

static int tell(struct inbound *inbound)
{
    int error =
        inbound->message(inbound, &inbound->current, &inbound->payload, inbound->current_size);
    slice_queue_clear(&inbound->payload);
    return error;
}

/* A message was decoded: `used` bytes, with payload to follow for some types. */
static int begin(struct inbound *inbound, const struct message *message, size_t used)
{
    bool has_payload =
        message->is_known && (message->type == MESSAGE_DATA || message->type == MESSAGE_DATAGRAM);
    if (!has_payload)
        return inbound->message(inbound, message, &inbound->payload, used);
    inbound->current = *message;
    inbound->missing = message->payload;
    inbound->current_size = used + message->payload;
    return inbound->missing > 0 ? 0 : tell(inbound);
}

static int take_payload(struct inbound *inbound, struct slice *piece)
{
    struct slice part = slice_split(piece, inbound->missing);
    inbound->missing -= part.size;
    int error = slice_queue_push(&inbound->payload, part);
    if (error == 0 && inbound->missing == 0)
        return tell(inbound);
    parking_enter(&inbound->parking, inbound->pool);
    return error;
}

static void skip(struct slice *piece, size_t size)
{
    struct slice head = slice_split(piece, size);
    slice_drop(&head);
}

/* Keeps what is there of a message whose end is in a later piece. */
static int keep_partial(struct inbound *inbound, struct slice *piece)
{
    if (piece->size > MESSAGE_MAX_CONTROL)
        return CULVERT_ERROR_TOO_LARGE;
    inbound->partial = memory_allocate(MESSAGE_MAX_CONTROL);
    if (inbound->partial == NULL)
        return CULVERT_ERROR_NO_MEMORY;
    memcpy(inbound->partial, piece->data, piece->size);
    inbound->partial_size = piece->size;
    skip(piece, piece->size);
    return 0;
}

static int continue_partial(struct inbound *inbound, struct slice *piece)
{
    size_t before = inbound->partial_size;
    size_t room = MESSAGE_MAX_CONTROL - before;
    size_t more = piece->size < room ? piece->size : room;
    memcpy(inbound->partial + before, piece->data, more);
    struct message message;
    size_t used = 0;
    int result = message_decode(inbound->partial, before + more, &message, &used);
    if (result == CULVERT_NEED_MORE) {
        if (more == room)
            return CULVERT_ERROR_TOO_LARGE;
        inbound->partial_size += more;
        skip(piece, more);
        return 0;
    }
    if (result != 0)
        return result;
    skip(piece, used - before);
    /* The message's texts point into the partial bytes, so they live until it was told. */
    uint8_t *partial = inbound->partial;
    inbound->partial = NULL;
    inbound->partial_size = 0;
    result = begin(inbound, &message, used);
    memory_free(partial);
    return result;
}

static int take_message(struct inbound *inbound, struct slice *piece)
{
    struct message message;
    size_t used = 0;
    if (inbound->only != 0 && piece->data[0] != inbound->only)
        return CULVERT_ERROR_PROTOCOL;
    int result = message_decode(piece->data, piece->size, &message, &used);
    if (result == CULVERT_NEED_MORE)
        return keep_partial(inbound, piece);
    if (result != 0)
        return result;
    /* The reference that the piece holds keeps the message's texts alive while it is told. */
    struct slice held = slice_split(piece, used);
    result = begin(inbound, &message, used);
    slice_drop(&held);
    return result;
}

int inbound_take(struct inbound *inbound, struct slice piece)
{
    int result = 0;
    while (piece.size > 0 && result == 0) {
        if (inbound->missing > 0)
            result = take_payload(inbound, &piece);
        else if (inbound->partial_size > 0)
            result = continue_partial(inbound, &piece);
        else
            result = take_message(inbound, &piece);
    }
    slice_drop(&piece);
    return result;
}
