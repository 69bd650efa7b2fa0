/* The decoder with any bytes: it gives the same whatever part of them is there, and what it takes
 * is encoded and decoded to the same again. */
#include "base/error.h"
#include "codec/message.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool condition)
{
    if (!condition)
        abort();
}

/* Decodes a copy of its own, so that a read behind its end is found. */
static int decode_part(const uint8_t *data, size_t size, size_t *used)
{
    uint8_t *copy = malloc(size > 0 ? size : 1);
    struct message message;
    require(copy != NULL);
    if (size > 0)
        memcpy(copy, data, size);
    int result = message_decode(copy, size, &message, used);
    free(copy);
    return result;
}

static void check_part(const uint8_t *data, size_t part, int whole_result, size_t whole_used)
{
    size_t used = 0;
    int result = decode_part(data, part, &used);
    if (result == CULVERT_NEED_MORE) {
        require(whole_result != 0 || part < whole_used);
        return;
    }
    require(result == whole_result);
    require(used == whole_used);
}

static void check_round_trip(const struct message *message, size_t used)
{
    uint8_t first[MESSAGE_MAX_CONTROL], second[MESSAGE_MAX_CONTROL];
    int size = message_encode(message, first, sizeof first);
    if (message->type == MESSAGE_DATA && message->payload == 0) {
        require(size == CULVERT_ERROR_INVALID);
        return;
    }
    require(size > 0 && (size_t)size <= used);
    struct message again;
    size_t used_again = 0;
    require(message_decode(first, (size_t)size, &again, &used_again) == 0);
    require(used_again == (size_t)size);
    require(again.type == message->type && again.sid == message->sid);
    require(again.is_handshake_ack == message->is_handshake_ack);
    require(again.is_counted == message->is_counted);
    require(message_encode(&again, second, sizeof second) == size);
    require(memcmp(first, second, (size_t)size) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct message message;
    size_t used = 0;
    int result = message_decode(data, size, &message, &used);
    size_t parts = size < 64 ? size : 64;
    for (size_t part = 0; part < parts; part++)
        check_part(data, part, result, used);
    if (size > 0)
        check_part(data, size - 1, result, used);
    if (result != 0)
        return 0;
    require(used > 0 && used <= size);
    check_part(data, used, result, used);
    check_part(data, used - 1, result, used);
    if (message.is_known)
        check_round_trip(&message, used);
    return 0;
}
