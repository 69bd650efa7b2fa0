#include "codec/websocket.h"

#include "base/error.h"

#include <string.h>

enum {
    FIN_BIT = 0x80,
    RESERVED_BITS = 0x70,
    OPCODE_BITS = 0x0f,
    CONTROL_BIT = 0x08, /* of an opcode */
    MASK_BIT = 0x80,
    LENGTH_BITS = 0x7f,
    LENGTH_16 = 126, /* the length stands in the 2 bytes that follow */
    LENGTH_64 = 127, /* in the 8 bytes that follow */
    MASK_SIZE = 4,
};

void websocket_decoder_init(struct websocket_decoder *decoder, enum websocket_role role,
                            uint64_t max_message)
{
    *decoder = (struct websocket_decoder){.role = role, .max_message = max_message};
}

static bool opcode_is_control(uint8_t opcode)
{
    return (opcode & CONTROL_BIT) != 0;
}

static bool opcode_is_known(uint8_t opcode)
{
    return opcode <= WEBSOCKET_BINARY || (opcode >= WEBSOCKET_CLOSE && opcode <= WEBSOCKET_PONG);
}

/* Takes input until the header has `need` bytes; false if there are too few. */
static bool fill_header(struct websocket_decoder *decoder, size_t need, const uint8_t *data,
                        size_t size, size_t *used)
{
    while (decoder->header_size < need && *used < size)
        decoder->header[decoder->header_size++] = data[(*used)++];
    return decoder->header_size >= need;
}

/* What the first two bytes alone can break. */
static int check_start(const struct websocket_decoder *decoder)
{
    uint8_t opcode = decoder->header[0] & OPCODE_BITS;
    bool fin = (decoder->header[0] & FIN_BIT) != 0;
    bool masked = (decoder->header[1] & MASK_BIT) != 0;
    uint8_t length = decoder->header[1] & LENGTH_BITS;

    /* §5.2: no extension is ever negotiated, so the reserved bits are 0. */
    if ((decoder->header[0] & RESERVED_BITS) != 0 || !opcode_is_known(opcode))
        return CULVERT_ERROR_PROTOCOL;
    if (masked != (decoder->role == WEBSOCKET_SERVER)) /* §5.1 */
        return CULVERT_ERROR_PROTOCOL;
    if (opcode_is_control(opcode)) {
        if (!fin || length > WEBSOCKET_MAX_CONTROL) /* §5.5 */
            return CULVERT_ERROR_PROTOCOL;
        if (opcode == WEBSOCKET_CLOSE && length == 1) /* §5.5.1: empty, or a code of 2 bytes */
            return CULVERT_ERROR_PROTOCOL;
        return 0;
    }
    /* §5.4: a continuation continues something, a new message does not interrupt another. */
    if ((opcode == WEBSOCKET_CONTINUATION) != decoder->in_message)
        return CULVERT_ERROR_PROTOCOL;
    return 0;
}

static size_t length_size(const struct websocket_decoder *decoder)
{
    uint8_t length = decoder->header[1] & LENGTH_BITS;
    return length == LENGTH_64 ? 8 : length == LENGTH_16 ? 2 : 0;
}

/* §5.2: the extended length is in network order, minimal, and below 2^63. */
static int parse_length(const struct websocket_decoder *decoder, uint64_t *length)
{
    size_t extended = length_size(decoder);
    uint64_t value = decoder->header[1] & LENGTH_BITS;
    if (extended > 0) {
        value = 0;
        for (size_t i = 0; i < extended; i++)
            value = value << 8 | decoder->header[2 + i];
    }
    if (extended == 2 && value < LENGTH_16)
        return CULVERT_ERROR_PROTOCOL;
    if (extended == 8 && (value <= UINT16_MAX || value > INT64_MAX))
        return CULVERT_ERROR_PROTOCOL;
    *length = value;
    return 0;
}

/* Enters the frame whose header is complete. */
static int begin_frame(struct websocket_decoder *decoder)
{
    uint8_t opcode = decoder->header[0] & OPCODE_BITS;
    uint64_t length;
    int result = parse_length(decoder, &length);
    if (result != 0)
        return result;

    if (!opcode_is_control(opcode)) {
        uint64_t before = opcode == WEBSOCKET_CONTINUATION ? decoder->message_size : 0;
        if (length > decoder->max_message - before)
            return CULVERT_ERROR_TOO_LARGE;
        if (opcode != WEBSOCKET_CONTINUATION)
            decoder->message_opcode = opcode;
        decoder->message_size = before + length;
        decoder->in_message = true;
    }
    if (decoder->role == WEBSOCKET_SERVER)
        memcpy(decoder->mask, decoder->header + 2 + length_size(decoder), MASK_SIZE);
    decoder->opcode = opcode;
    decoder->fin = (decoder->header[0] & FIN_BIT) != 0;
    decoder->remaining = length;
    decoder->mask_offset = 0;
    decoder->control_size = 0;
    decoder->in_payload = true;
    return 0;
}

/* Returns 0 with a frame entered, CULVERT_NEED_MORE, or an error. After an error the header stays,
 * so that each further call fails as well. */
static int take_header(struct websocket_decoder *decoder, const uint8_t *data, size_t size,
                       size_t *used)
{
    if (!fill_header(decoder, 2, data, size, used))
        return CULVERT_NEED_MORE;
    int result = check_start(decoder);
    if (result != 0)
        return result;
    size_t need = 2 + length_size(decoder) + (decoder->role == WEBSOCKET_SERVER ? MASK_SIZE : 0);
    if (!fill_header(decoder, need, data, size, used))
        return CULVERT_NEED_MORE;
    return begin_frame(decoder);
}

static void end_frame(struct websocket_decoder *decoder)
{
    decoder->in_payload = false;
    decoder->header_size = 0;
}

static void unmask(struct websocket_decoder *decoder, uint8_t *data, size_t size)
{
    static const uint8_t zero[MASK_SIZE];
    if (memcmp(decoder->mask, zero, MASK_SIZE) != 0)
        websocket_mask(data, data, size, decoder->mask, decoder->mask_offset);
    decoder->mask_offset = (uint8_t)((decoder->mask_offset + size) % MASK_SIZE);
}

static size_t smaller(uint64_t remaining, size_t size)
{
    return remaining < size ? (size_t)remaining : size;
}

static void take_control(struct websocket_decoder *decoder, const uint8_t *data, size_t size,
                         size_t *used, struct websocket_event *event)
{
    size_t take = smaller(decoder->remaining, size - *used);
    if (take > 0) {
        memcpy(decoder->control + decoder->control_size, data + *used, take);
        unmask(decoder, decoder->control + decoder->control_size, take);
        decoder->control_size = (uint8_t)(decoder->control_size + take);
        decoder->remaining -= take;
        *used += take;
    }
    if (decoder->remaining == 0) {
        event->type = WEBSOCKET_EVENT_CONTROL;
        event->opcode = (enum websocket_opcode)decoder->opcode;
        event->data = decoder->control;
        event->size = decoder->control_size;
        end_frame(decoder);
    }
}

static void take_payload(struct websocket_decoder *decoder, uint8_t *data, size_t size,
                         size_t *used, struct websocket_event *event)
{
    event->opcode = (enum websocket_opcode)decoder->message_opcode;
    size_t take = smaller(decoder->remaining, size - *used);
    if (take > 0) {
        unmask(decoder, data + *used, take);
        event->type = WEBSOCKET_EVENT_PAYLOAD;
        event->data = data + *used;
        event->size = take;
        decoder->remaining -= take;
        *used += take;
    }
    if (decoder->remaining > 0)
        return;
    if (!decoder->fin) {
        end_frame(decoder);
    } else if (event->type == WEBSOCKET_EVENT_NONE) {
        /* After a piece of payload the end is an event of its own, given by the next call. */
        event->type = WEBSOCKET_EVENT_MESSAGE_END;
        decoder->in_message = false;
        end_frame(decoder);
    }
}

int websocket_decode(struct websocket_decoder *decoder, uint8_t *data, size_t size, size_t *used,
                     struct websocket_event *event)
{
    *used = 0;
    *event = (struct websocket_event){.type = WEBSOCKET_EVENT_NONE};
    do {
        if (!decoder->in_payload) {
            int result = take_header(decoder, data, size, used);
            if (result == CULVERT_NEED_MORE)
                break;
            if (result != 0)
                return result;
        }
        if (opcode_is_control(decoder->opcode))
            take_control(decoder, data, size, used, event);
        else
            take_payload(decoder, data, size, used, event);
    } while (event->type == WEBSOCKET_EVENT_NONE && *used < size);
    return 0;
}

size_t websocket_encode_header(uint8_t out[static WEBSOCKET_MAX_HEADER],
                               enum websocket_opcode opcode, bool fin, uint64_t payload,
                               const uint8_t mask[4])
{
    size_t extended = payload > UINT16_MAX ? 8 : payload >= LENGTH_16 ? 2 : 0;
    uint64_t length = extended == 8 ? LENGTH_64 : extended == 2 ? LENGTH_16 : payload;
    out[0] = (uint8_t)((fin ? FIN_BIT : 0) | (int)opcode);
    out[1] = (uint8_t)((mask != NULL ? MASK_BIT : 0) | length);
    for (size_t i = 0; i < extended; i++)
        out[2 + i] = (uint8_t)(payload >> (8 * (extended - 1 - i)));
    size_t size = 2 + extended;
    if (mask != NULL) {
        memcpy(out + size, mask, MASK_SIZE);
        size += MASK_SIZE;
    }
    return size;
}
