#include "base/error.h"
#include "codec/message_layout.h"
#include "codec/message_measure.h"

#include <msgpack.h>
#include <string.h>

/* Texts end up in C strings (host names, log lines): a NUL inside would hide what follows it. */
static int check_text(const msgpack_object *object, size_t max)
{
    if (object->type != MSGPACK_OBJECT_STR)
        return CULVERT_ERROR_PROTOCOL;
    if (object->via.str.size > max)
        return CULVERT_ERROR_TOO_LARGE;
    /* The library leaves an empty text without a pointer. */
    bool is_empty = object->via.str.size == 0;
    if (!is_empty && memchr(object->via.str.ptr, 0, object->via.str.size) != NULL)
        return CULVERT_ERROR_PROTOCOL;
    return 0;
}

static int read_text(const msgpack_object *object, size_t max, struct text *text)
{
    int result = check_text(object, max);
    if (result == 0)
        *text = (struct text){object->via.str.ptr, object->via.str.size};
    return result;
}

static int store_number(const struct message_field *field, uint64_t number, void *at)
{
    if (number < field->min || number > field->max)
        return CULVERT_ERROR_PROTOCOL;
    switch (field->kind) {
    case MESSAGE_FIELD_UINT16:
        *(uint16_t *)at = (uint16_t)number;
        return 0;
    case MESSAGE_FIELD_UINT32:
        *(uint32_t *)at = (uint32_t)number;
        return 0;
    case MESSAGE_FIELD_UINT64:
        *(uint64_t *)at = number;
        return 0;
    case MESSAGE_FIELD_INT:
        *(int *)at = (int)number;
        return 0;
    default:
        return CULVERT_ERROR_PROTOCOL;
    }
}

static int read_bytes(const msgpack_object *object, size_t size, uint8_t *bytes)
{
    if (object->type != MSGPACK_OBJECT_BIN || object->via.bin.size != size)
        return CULVERT_ERROR_PROTOCOL;
    memcpy(bytes, object->via.bin.ptr, size);
    return 0;
}

static int read_features(const msgpack_object *object, size_t max,
                         struct message_handshake *handshake)
{
    if (object->type != MSGPACK_OBJECT_ARRAY)
        return CULVERT_ERROR_PROTOCOL;
    const msgpack_object_array *array = &object->via.array;
    for (size_t i = 0; i < array->size && i < MESSAGE_MAX_FEATURES; i++) {
        int result = read_text(&array->ptr[i], max, &handshake->features[i]);
        if (result != 0)
            return result;
        handshake->feature_count = i + 1;
    }
    return 0;
}

static int read_map(const msgpack_object *object, const struct message_layout *layout,
                    struct message *message);

static int read_field(const struct message_field *field, const msgpack_object *object,
                      struct message *message)
{
    void *at = (char *)message + field->offset;
    switch (field->kind) {
    case MESSAGE_FIELD_TEXT:
        return read_text(object, (size_t)field->max, at);
    case MESSAGE_FIELD_BYTES:
        return read_bytes(object, (size_t)field->max, at);
    case MESSAGE_FIELD_FEATURES:
        return read_features(object, (size_t)field->max, &message->handshake);
    case MESSAGE_FIELD_OPTIONS:
        return read_map(object, &message_layout_options, message);
    case MESSAGE_FIELD_BOOL:
        if (object->type != MSGPACK_OBJECT_BOOLEAN)
            return CULVERT_ERROR_PROTOCOL;
        *(bool *)at = object->via.boolean;
        return 0;
    case MESSAGE_FIELD_UINT16:
    case MESSAGE_FIELD_UINT32:
    case MESSAGE_FIELD_UINT64:
    case MESSAGE_FIELD_INT:
        if (object->type != MSGPACK_OBJECT_POSITIVE_INTEGER)
            return CULVERT_ERROR_PROTOCOL;
        return store_number(field, object->via.u64, at);
    }
    return CULVERT_ERROR_PROTOCOL;
}

/* Finds the layout's fields in the map. A key that stands twice would leave it to the reader which
 * one counts, so it is refused. */
static int find_fields(const msgpack_object_map *map, const struct message_layout *layout,
                       const msgpack_object **found)
{
    for (size_t i = 0; i < map->size; i++) {
        const msgpack_object *key = &map->ptr[i].key;
        if (key->type != MSGPACK_OBJECT_STR)
            continue;
        struct text text = {key->via.str.ptr, key->via.str.size};
        for (size_t j = 0; j < layout->count; j++) {
            if (!text_equals(text, layout->fields[j].key))
                continue;
            if (found[j] != NULL)
                return CULVERT_ERROR_PROTOCOL;
            found[j] = &map->ptr[i].val;
        }
    }
    return 0;
}

static int read_map(const msgpack_object *object, const struct message_layout *layout,
                    struct message *message)
{
    const msgpack_object *found[MESSAGE_LAYOUT_MAX_FIELDS] = {NULL};
    if (object->type != MSGPACK_OBJECT_MAP)
        return CULVERT_ERROR_PROTOCOL;
    int result = find_fields(&object->via.map, layout, found);
    if (result != 0)
        return result;
    for (size_t i = 0; i < layout->count; i++)
        if (layout->fields[i].presence == MESSAGE_IF_RESUMES && found[i] != NULL)
            message->handshake.resumes = true;
    for (size_t i = 0; i < layout->count; i++) {
        const struct message_field *field = &layout->fields[i];
        if (!message_field_is_there(field, message))
            continue;
        if (found[i] == NULL && field->presence == MESSAGE_IF_SET)
            continue;
        if (found[i] == NULL)
            return CULVERT_ERROR_PROTOCOL;
        result = read_field(field, found[i], message);
        if (result != 0)
            return result;
    }
    return 0;
}

static int read_array(const msgpack_object *object, const struct message_layout *layout,
                      struct message *message)
{
    if (object->type != MSGPACK_OBJECT_ARRAY || object->via.array.size < layout->count)
        return CULVERT_ERROR_PROTOCOL;
    for (size_t i = 0; i < layout->count; i++) {
        int result = read_field(&layout->fields[i], &object->via.array.ptr[i], message);
        if (result != 0)
            return result;
    }
    return 0;
}

/*
 * The value at `body` was measured, so what the library allocates is bounded: some 24 bytes for
 * each value. It does not copy str and bin but points into `body`; only arrays and maps live in the
 * zone, and nothing points there once the fields are read.
 */
static int decode_values(const uint8_t *body, size_t size, const struct message_layout *layout,
                         struct message *message)
{
    msgpack_unpacked unpacked;
    msgpack_unpacked_init(&unpacked);
    int result;
    switch (msgpack_unpack_next(&unpacked, (const char *)body, size, NULL)) {
    case MSGPACK_UNPACK_SUCCESS:
        result = layout->is_map ? read_map(&unpacked.data, layout, message)
                                : read_array(&unpacked.data, layout, message);
        break;
    case MSGPACK_UNPACK_NOMEM_ERROR:
        result = CULVERT_ERROR_NO_MEMORY;
        break;
    default:
        result = CULVERT_ERROR_PROTOCOL;
        break;
    }
    msgpack_unpacked_destroy(&unpacked);
    return result;
}

/* An array of numbers, which was measured and so is all there. */
static int decode_numbers(const uint8_t *body, size_t size, const struct message_layout *layout,
                          struct message *message)
{
    struct message_head head;
    int result = message_head_read(body, size, &head);
    if (result != 0)
        return result;
    if (head.value != MESSAGE_VALUE_ARRAY || head.count < layout->count)
        return CULVERT_ERROR_PROTOCOL;
    size_t at = head.size;
    for (size_t i = 0; i < layout->count; i++) {
        result = message_head_read(body + at, size - at, &head);
        if (result != 0)
            return result;
        if (head.value != MESSAGE_VALUE_NUMBER)
            return CULVERT_ERROR_PROTOCOL;
        at += head.size;
        const struct message_field *field = &layout->fields[i];
        result = store_number(field, head.number, (char *)message + field->offset);
        if (result != 0)
            return result;
    }
    return 0;
}

/* Data and datagram: [sid, bin], up to where the payload begins. */
static int decode_payload_header(const uint8_t *data, size_t size, struct message *message,
                                 size_t *used)
{
    struct message_head head;
    size_t at = 1;
    int result = message_head_read(data + at, size - at, &head);
    if (result != 0)
        return result;
    if (head.value != MESSAGE_VALUE_ARRAY || head.count != 2)
        return CULVERT_ERROR_PROTOCOL;
    at += head.size;
    result = message_head_read(data + at, size - at, &head);
    if (result != 0)
        return result;
    if (head.value != MESSAGE_VALUE_NUMBER)
        return CULVERT_ERROR_PROTOCOL;
    uint64_t sid = head.number;
    at += head.size;
    result = message_head_read(data + at, size - at, &head);
    if (result != 0)
        return result;
    if (head.value != MESSAGE_VALUE_BYTES)
        return CULVERT_ERROR_PROTOCOL;
    if (head.length > MESSAGE_MAX_DATA)
        return CULVERT_ERROR_TOO_LARGE;
    message->type = (enum message_type)data[0];
    message->is_handshake_ack = false;
    message->is_counted = message_type_is_counted(data[0]);
    message->is_known = true;
    message->sid = sid;
    message->payload = (uint32_t)head.length;
    *used = at + head.size;
    return 0;
}

/* The body of a message of any other type, which was measured. */
static int decode_body(uint8_t type, const uint8_t *body, size_t size, struct message *message)
{
    struct message_head head;
    int result = message_head_read(body, size, &head);
    if (result != 0)
        return result;
    bool is_map = head.value == MESSAGE_VALUE_MAP;
    const struct message_layout *layout = message_layout_of(type, is_map);
    memset(message, 0, sizeof *message);
    message->type = (enum message_type)type;
    message->is_known = layout != NULL;
    message->is_handshake_ack = type == MESSAGE_ACK && is_map;
    message->is_counted = message_type_is_counted(type) && !message->is_handshake_ack;
    if (layout == NULL)
        return 0;
    return layout->only_numbers ? decode_numbers(body, size, layout, message)
                                : decode_values(body, size, layout, message);
}

int message_decode(const uint8_t *data, size_t size, struct message *message, size_t *used)
{
    if (size == 0)
        return CULVERT_NEED_MORE;
    uint8_t type = data[0];
    if (type == MESSAGE_DATA || type == MESSAGE_DATAGRAM)
        return decode_payload_header(data, size, message, used);
    size_t body_size = 0;
    struct message_bounds bounds = {.bytes = MESSAGE_MAX_CONTROL - 1, .depth = MESSAGE_MAX_DEPTH};
    int result = message_measure(data + 1, size - 1, bounds, &body_size);
    if (result != 0)
        return result;
    result = decode_body(type, data + 1, body_size, message);
    if (result == 0)
        *used = 1 + body_size;
    return result;
}
