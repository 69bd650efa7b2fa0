#include "base/error.h"
#include "codec/message_layout.h"
#include "codec/message_output.h"

#include <string.h>

static void write_text(struct message_output *output, struct text text, uint64_t max)
{
    if (message_output_check_text(output, text, max))
        msgpack_pack_str_with_body(&output->packer, text.data, text.size);
}

static void write_features(struct message_output *output, const struct message_handshake *handshake,
                           uint64_t max)
{
    if (handshake->feature_count > MESSAGE_MAX_FEATURES) {
        message_output_fail(output, CULVERT_ERROR_TOO_LARGE);
        return;
    }
    msgpack_pack_array(&output->packer, handshake->feature_count);
    for (size_t i = 0; i < handshake->feature_count; i++)
        write_text(output, handshake->features[i], max);
}

static void write_number(struct message_output *output, const struct message_field *field,
                         uint64_t number)
{
    if (number < field->min || number > field->max)
        message_output_fail(output, CULVERT_ERROR_INVALID);
    else
        msgpack_pack_uint64(&output->packer, number);
}

static void write_map(struct message_output *output, const struct message_layout *layout,
                      const struct message *message);

static void write_field(struct message_output *output, const struct message_field *field,
                        const struct message *message)
{
    const void *at = (const char *)message + field->offset;
    switch (field->kind) {
    case MESSAGE_FIELD_TEXT:
        write_text(output, *(const struct text *)at, field->max);
        break;
    case MESSAGE_FIELD_BYTES:
        msgpack_pack_bin_with_body(&output->packer, at, (size_t)field->max);
        break;
    case MESSAGE_FIELD_FEATURES:
        write_features(output, &message->handshake, field->max);
        break;
    case MESSAGE_FIELD_OPTIONS:
        write_map(output, &message_layout_options, message);
        break;
    case MESSAGE_FIELD_BOOL:
        if (*(const bool *)at)
            msgpack_pack_true(&output->packer);
        else
            msgpack_pack_false(&output->packer);
        break;
    case MESSAGE_FIELD_UINT16:
        write_number(output, field, *(const uint16_t *)at);
        break;
    case MESSAGE_FIELD_UINT32:
        write_number(output, field, *(const uint32_t *)at);
        break;
    case MESSAGE_FIELD_UINT64:
        write_number(output, field, *(const uint64_t *)at);
        break;
    case MESSAGE_FIELD_INT:
        /* A negative one becomes a number that is above every limit. */
        write_number(output, field, (uint64_t) * (const int *)at);
        break;
    }
}

static bool is_zero(const uint8_t *bytes, uint64_t size)
{
    for (uint64_t i = 0; i < size; i++)
        if (bytes[i] != 0)
            return false;
    return true;
}

static bool is_wanted(const struct message_field *field, const struct message *message)
{
    const void *at = (const char *)message + field->offset;
    if (field->presence != MESSAGE_IF_SET)
        return message_field_is_there(field, message);
    if (field->kind == MESSAGE_FIELD_FEATURES)
        return message->handshake.feature_count > 0;
    if (field->kind == MESSAGE_FIELD_BOOL)
        return *(const bool *)at;
    if (field->kind == MESSAGE_FIELD_BYTES)
        return !is_zero(at, field->max);
    return ((const struct text *)at)->size > 0;
}

static void write_map(struct message_output *output, const struct message_layout *layout,
                      const struct message *message)
{
    size_t count = 0;
    for (size_t i = 0; i < layout->count; i++)
        if (is_wanted(&layout->fields[i], message))
            count++;
    msgpack_pack_map(&output->packer, count);
    for (size_t i = 0; i < layout->count; i++) {
        const struct message_field *field = &layout->fields[i];
        if (!is_wanted(field, message))
            continue;
        msgpack_pack_str_with_body(&output->packer, field->key, strlen(field->key));
        write_field(output, field, message);
    }
}

static void write_array(struct message_output *output, const struct message_layout *layout,
                        const struct message *message)
{
    msgpack_pack_array(&output->packer, layout->count);
    for (size_t i = 0; i < layout->count; i++)
        write_field(output, &layout->fields[i], message);
}

/* Writes the low `width` bytes of a number, the highest first. */
static uint8_t *put_big_endian(uint8_t *out, uint64_t number, unsigned width)
{
    for (unsigned i = width; i > 0; i--)
        *out++ = (uint8_t)(number >> (8 * (i - 1)));
    return out;
}

static uint8_t *put_number(uint8_t *out, uint64_t number)
{
    if (number < 0x80) {
        *out++ = (uint8_t)number;
        return out;
    }
    unsigned power = number > UINT32_MAX ? 3 : number > UINT16_MAX ? 2 : number > UINT8_MAX ? 1 : 0;
    *out++ = (uint8_t)(0xCC + power);
    return put_big_endian(out, number, 1U << power);
}

static size_t put_payload_header(enum message_type type, uint64_t sid, uint32_t payload,
                                 uint8_t out[static MESSAGE_MAX_HEADER])
{
    uint8_t *next = out;
    *next++ = (uint8_t)type;
    *next++ = 0x92; /* array of two */
    next = put_number(next, sid);
    unsigned power = payload > UINT16_MAX ? 2 : payload > UINT8_MAX ? 1 : 0;
    *next++ = (uint8_t)(0xC4 + power); /* bin */
    next = put_big_endian(next, payload, 1U << power);
    return (size_t)(next - out);
}

size_t message_encode_data_header(uint64_t sid, uint32_t payload,
                                  uint8_t out[static MESSAGE_MAX_HEADER])
{
    return put_payload_header(MESSAGE_DATA, sid, payload, out);
}

static int encode_payload_header(const struct message *message, uint8_t *out, size_t room)
{
    uint8_t header[MESSAGE_MAX_HEADER];
    if (message->payload > MESSAGE_MAX_DATA)
        return CULVERT_ERROR_TOO_LARGE;
    if (message->payload == 0 && message->type == MESSAGE_DATA)
        return CULVERT_ERROR_INVALID;
    size_t size = put_payload_header(message->type, message->sid, message->payload, header);
    if (size > room)
        return CULVERT_ERROR_TOO_LARGE;
    memcpy(out, header, size);
    return (int)size;
}

int message_encode(const struct message *message, uint8_t *out, size_t room)
{
    if (message->type == MESSAGE_DATA || message->type == MESSAGE_DATAGRAM)
        return encode_payload_header(message, out, room);
    if ((unsigned)message->type > UINT8_MAX)
        return CULVERT_ERROR_INVALID;
    uint8_t type = (uint8_t)message->type;
    const struct message_layout *layout = message_layout_of(type, message->is_handshake_ack);
    if (layout == NULL)
        return CULVERT_ERROR_INVALID;
    if (room > MESSAGE_MAX_CONTROL)
        room = MESSAGE_MAX_CONTROL;
    struct message_output output;
    message_output_init(&output, type, out, room);
    if (layout->is_map)
        write_map(&output, layout, message);
    else
        write_array(&output, layout, message);
    return message_output_end(&output, out);
}
