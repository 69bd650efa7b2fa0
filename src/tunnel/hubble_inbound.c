#include "tunnel/hubble_inbound.h"

#include "base/error.h"

#include <string.h>

static bool settle(struct parking *parking, struct chunk_pool *pool);

void hubble_inbound_init(struct hubble_inbound *inbound, struct chunk_pool *pool, size_t max)
{
    *inbound = (struct hubble_inbound){
        .pool = pool, .max = max, .whole = SLICE_NULL, .parking = {.settle = settle}};
}

void hubble_inbound_next(struct hubble_inbound *inbound)
{
    if (inbound->is_copied)
        inbound->scratch_used += inbound->whole.size;
    inbound->is_copied = false;
    parking_leave(&inbound->parking);
    slice_drop(&inbound->whole);
}

static void drop_scratch(struct hubble_inbound *inbound)
{
    if (inbound->scratch != NULL)
        chunk_unref(inbound->scratch);
    inbound->scratch = NULL;
    inbound->scratch_used = 0;
}

void hubble_inbound_rest(struct hubble_inbound *inbound)
{
    if (inbound->scratch != NULL && chunk_is_exclusive(inbound->scratch))
        drop_scratch(inbound);
}

void hubble_inbound_deinit(struct hubble_inbound *inbound)
{
    hubble_inbound_next(inbound);
    drop_scratch(inbound);
}

/* Twice as much each time, so that a message which comes byte by byte is not copied each time. */
static struct chunk *get_scratch(struct hubble_inbound *inbound, size_t size)
{
    size_t room = CHUNK_SMALL_SIZE - offsetof(struct chunk, data);
    if (size <= room)
        return chunk_pool_get(inbound->pool, CHUNK_SMALL);
    while (room < size)
        room *= 2;
    return chunk_pool_get_exact(inbound->pool, room < CHUNK_LARGE_SIZE ? room : CHUNK_LARGE_SIZE);
}

/* Sees to it that what is there lies in scratch with room behind it, `size` bytes in all. */
static int make_room(struct hubble_inbound *inbound, size_t size)
{
    struct slice *whole = &inbound->whole;
    bool fits = inbound->scratch != NULL && inbound->scratch->size - inbound->scratch_used >= size;
    if (fits && inbound->is_copied)
        return 0;
    if (!fits) {
        struct chunk *chunk = get_scratch(inbound, size);
        if (chunk == NULL)
            return CULVERT_ERROR_NO_MEMORY;
        drop_scratch(inbound);
        inbound->scratch = chunk;
    }
    uint8_t *place = inbound->scratch->data + inbound->scratch_used;
    memcpy(place, whole->data, whole->size);
    chunk_ref(inbound->scratch);
    struct slice moved = {inbound->scratch, place, whole->size};
    slice_drop(whole);
    *whole = moved;
    inbound->is_copied = true;
    return 0;
}

static bool settle(struct parking *parking, struct chunk_pool *pool)
{
    struct hubble_inbound *inbound = CONTAINER_OF(parking, struct hubble_inbound, parking);
    (void)pool;
    return inbound->whole.size > 0 && !inbound->is_copied &&
           make_room(inbound, inbound->whole.size) != 0;
}

int hubble_inbound_take(struct hubble_inbound *inbound, struct slice piece)
{
    struct slice *whole = &inbound->whole;
    int error = 0;
    if (piece.size > inbound->max - whole->size) {
        error = CULVERT_ERROR_TOO_LARGE;
    } else if (whole->size == 0) {
        slice_drop(whole);
        *whole = piece;
        parking_enter(&inbound->parking, inbound->pool);
        return 0;
    } else {
        error = make_room(inbound, whole->size + piece.size);
    }
    if (error == 0) {
        memcpy(inbound->scratch->data + inbound->scratch_used + whole->size, piece.data,
               piece.size);
        whole->size += piece.size;
    }
    slice_drop(&piece);
    return error;
}

/* A payload that is an array of numbers gets its bytes side by side. */
static int push_array(struct hubble_inbound *inbound, const struct hubble_payload *payload,
                      struct slice_queue *out)
{
    if (payload->size > CHUNK_LARGE_SIZE)
        return CULVERT_ERROR_TOO_LARGE;
    struct chunk *chunk = chunk_pool_get_exact(inbound->pool, payload->size);
    if (chunk == NULL)
        return CULVERT_ERROR_NO_MEMORY;
    hubble_payload_copy(payload, chunk->data);
    return slice_queue_push(out, (struct slice){chunk, chunk->data, payload->size});
}

int hubble_inbound_decode(struct hubble_inbound *inbound, struct message *message,
                          struct slice_queue *payload)
{
    struct slice *whole = &inbound->whole;
    struct hubble_payload found = {0};
    int error = hubble_decode(whole->data, whole->size, message, &found);
    if (error != 0 || message->type != MESSAGE_DATA || found.size == 0)
        return error;
    if (found.is_array)
        return push_array(inbound, &found, payload);
    struct slice slice = slice_ref(whole);
    struct slice before = slice_split(&slice, (size_t)(found.data - whole->data));
    slice_drop(&before);
    struct slice bytes = slice_split(&slice, found.size);
    slice_drop(&slice);
    return slice_queue_push(payload, bytes);
}
