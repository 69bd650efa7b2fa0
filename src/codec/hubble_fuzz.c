/* The decoder of Hubble 0.1 with any bytes: no part of a message is one, what it takes is encoded
 * and decoded to the same again, and data keeps its payload. */
#include "base/error.h"
#include "codec/hubble.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool condition)
{
    if (!condition)
        abort();
}

static void require_same(struct text a, struct text b)
{
    require(a.size == b.size);
    require(a.size == 0 || memcmp(a.data, b.data, a.size) == 0);
}

/* Decodes a copy of its own, so that a read behind its end is found. */
static int decode_part(const uint8_t *data, size_t size)
{
    uint8_t *copy = malloc(size > 0 ? size : 1);
    struct message message;
    struct hubble_payload payload;
    require(copy != NULL);
    if (size > 0)
        memcpy(copy, data, size);
    int result = hubble_decode(copy, size, &message, &payload);
    free(copy);
    return result;
}

static void check_parts(const uint8_t *data, size_t size, bool is_taken)
{
    bool was_taken = false;
    size_t step = size / 64 + 1;
    for (size_t part = 0; part < size; part += step) {
        bool is_now = decode_part(data, part) == 0;
        require(is_now || !was_taken);
        was_taken = is_now;
    }
    require(is_taken || !was_taken);
}

static void check_data(const struct message *message, const struct hubble_payload *payload)
{
    require(payload->size == message->payload);
    size_t room = HUBBLE_MAX_DATA_HEAD + payload->size + HUBBLE_MAX_DATA_TAIL;
    uint8_t *wire = malloc(room);
    require(wire != NULL);
    size_t head = hubble_encode_data_head(message->payload, wire);
    require(head <= HUBBLE_MAX_DATA_HEAD);
    hubble_payload_copy(payload, wire + head);
    size_t size = head + payload->size;
    size += hubble_encode_data_tail(message->guid, message->order, wire + size);
    require(size <= room);
    struct message again;
    struct hubble_payload bytes;
    require(hubble_decode(wire, size, &again, &bytes) == 0);
    require(again.type == MESSAGE_DATA && again.order == message->order);
    require_same(again.guid, message->guid);
    require(bytes.size == payload->size && bytes.data == wire + head && !bytes.is_array);
    require(decode_part(wire, size - 1) != 0);
    free(wire);
}

static void check_round_trip(const struct message *message)
{
    uint8_t first[HUBBLE_MAX_ENCODED], second[HUBBLE_MAX_ENCODED];
    int size = hubble_encode(message, first, sizeof first);
    require(size > 0);
    require(decode_part(first, (size_t)size - 1) != 0);
    struct message again;
    struct hubble_payload payload;
    require(hubble_decode(first, (size_t)size, &again, &payload) == 0);
    require(payload.size == 0);
    require(again.type == message->type);
    require(again.is_handshake_ack == message->is_handshake_ack);
    require_same(again.guid, message->guid);
    if (message->type == MESSAGE_OPEN) {
        require(again.open.port == message->open.port);
        require_same(again.open.key, message->open.key);
    }
    if (message->type == MESSAGE_ACK && !message->is_handshake_ack)
        require(again.ack.ok == message->ack.ok && again.ack.code == message->ack.code);
    require(hubble_encode(&again, second, sizeof second) == size);
    require(memcmp(first, second, (size_t)size) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct message message;
    struct hubble_payload payload;
    int result = hubble_decode(data, size, &message, &payload);
    check_parts(data, size, result == 0);
    if (result != 0) {
        require(result == CULVERT_ERROR_PROTOCOL || result == CULVERT_ERROR_TOO_LARGE);
        require(message.type == 0 || result == CULVERT_ERROR_TOO_LARGE);
        return 0;
    }
    require(message.is_known && message.guid.size <= HUBBLE_MAX_GUID);
    if (message.type == MESSAGE_DATA)
        check_data(&message, &payload);
    else
        check_round_trip(&message);
    return 0;
}
