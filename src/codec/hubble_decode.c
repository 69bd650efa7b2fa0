#include "codec/hubble.h"

#include "base/error.h"
#include "base/reason.h"
#include "codec/message_measure.h"

#include <string.h>

enum {
    MAX_FIELDS = 5,
    MAX_NUMBER_HEAD = 9, /* bytes of an integer, which is all head */
};

enum field_kind {
    FIELD_GUID,
    FIELD_TEXT,
    FIELD_REASON, /* a text that is cut where it is too long */
    FIELD_PORT,
    FIELD_ORDER,
    FIELD_BOOL,
    FIELD_PAYLOAD,
};

struct field {
    const char *key;
    size_t offset; /* in struct message; of no payload */
    size_t max;    /* bytes of a text */
    enum field_kind kind;
};

/* In the order of declaration, which is that of the array form. */
struct layout {
    struct field fields[MAX_FIELDS];
    size_t count;
};

#define TEXT(key_, member, kind_, max_)                                                           \
    {                                                                                             \
        .key = (key_), .offset = offsetof(struct message, member), .max = (max_), .kind = (kind_) \
    }
#define VALUE(key_, member, kind_)                                                 \
    {                                                                              \
        .key = (key_), .offset = offsetof(struct message, member), .kind = (kind_) \
    }
#define GUID TEXT("GUID", guid, FIELD_GUID, HUBBLE_MAX_GUID)

static const struct layout handshake_layout = {
    .fields = {TEXT("Version", handshake.version, FIELD_TEXT, MESSAGE_MAX_VERSION),
               TEXT("Name", handshake.name, FIELD_TEXT, MESSAGE_MAX_NAME),
               TEXT("Key", handshake.key, FIELD_TEXT, MESSAGE_MAX_KEY)},
    .count = 3,
};

static const struct layout open_layout = {
    .fields = {GUID, TEXT("RemoteHost", open.host, FIELD_TEXT, MESSAGE_MAX_HOST),
               VALUE("RemotePort", open.port, FIELD_PORT),
               TEXT("Gatename", open.agent, FIELD_TEXT, MESSAGE_MAX_NAME),
               TEXT("Key", open.key, FIELD_TEXT, MESSAGE_MAX_KEY)},
    .count = 5,
};

static const struct layout data_layout = {
    .fields = {GUID, VALUE("Order", order, FIELD_ORDER), {.key = "Data", .kind = FIELD_PAYLOAD}},
    .count = 3,
};

static const struct layout end_layout = {.fields = {GUID}, .count = 1};

static const struct layout ack_layout = {
    .fields = {GUID, VALUE("Ok", ack.ok, FIELD_BOOL),
               TEXT("Message", ack.message, FIELD_REASON, MESSAGE_MAX_REASON)},
    .count = 3,
};

static const struct layout *layout_of(uint8_t type)
{
    switch (type) {
    case MESSAGE_HANDSHAKE:
        return &handshake_layout;
    case MESSAGE_OPEN:
        return &open_layout;
    case MESSAGE_DATA:
        return &data_layout;
    case MESSAGE_RESET:
    case MESSAGE_FIN:
        return &end_layout;
    case MESSAGE_ACK:
        return &ack_layout;
    default:
        return NULL;
    }
}

struct reader {
    const uint8_t *data;
    size_t size;
    size_t at;
    struct message *message;
    struct hubble_payload *payload;
    size_t payload_span; /* bytes that the payload takes up in the message */
    bool has_long_text;
};

/* Steps over a head, not over the bytes that follow it, which are there. */
static int read_head(struct reader *reader, struct message_head *head)
{
    int result = message_head_read(reader->data + reader->at, reader->size - reader->at, head);
    if (result != 0)
        return CULVERT_ERROR_PROTOCOL;
    reader->at += head->size;
    return head->length > reader->size - reader->at ? CULVERT_ERROR_PROTOCOL : 0;
}

/* Texts and keys come as raw, str or bin. */
static int read_string(struct reader *reader, const struct message_head *head, struct text *text)
{
    if (head->value != MESSAGE_VALUE_TEXT && head->value != MESSAGE_VALUE_BYTES)
        return CULVERT_ERROR_PROTOCOL;
    *text = (struct text){(const char *)reader->data + reader->at, (size_t)head->length};
    reader->at += text->size;
    return 0;
}

/* The first `max` bytes, or a few less where they would end inside a UTF-8 character. */
static struct text cut_text(struct text text, size_t max)
{
    if (text.size <= max)
        return text;
    size_t size = max;
    while (size > max - 3 && ((uint8_t)text.data[size] & 0xC0) == 0x80)
        size--;
    bool is_inside = ((uint8_t)text.data[size] & 0xC0) == 0x80;
    return (struct text){text.data, is_inside ? max : size};
}

static int read_text(struct reader *reader, const struct field *field,
                     const struct message_head *head, struct text *out)
{
    struct text text = TEXT_NULL;
    if (head->value != MESSAGE_VALUE_NIL && read_string(reader, head, &text) != 0)
        return CULVERT_ERROR_PROTOCOL;
    /* Texts end up in C strings: a NUL inside would hide what follows it. */
    if (text.size > 0 && memchr(text.data, 0, text.size) != NULL)
        return CULVERT_ERROR_PROTOCOL;
    if (field->kind == FIELD_REASON)
        text = cut_text(text, field->max);
    if (text.size > field->max && field->kind == FIELD_GUID)
        return CULVERT_ERROR_TOO_LARGE;
    if (text.size > field->max)
        reader->has_long_text = true;
    *out = text;
    return 0;
}

/* `max` is at most INT64_MAX. */
static int read_number(const struct message_head *head, int64_t min, int64_t max, int64_t *number)
{
    if (head->value == MESSAGE_VALUE_NIL)
        *number = 0;
    else if (head->value == MESSAGE_VALUE_NUMBER && head->number <= (uint64_t)max)
        *number = (int64_t)head->number;
    else if (head->value == MESSAGE_VALUE_NEGATIVE && (int64_t)head->number >= min)
        *number = (int64_t)head->number;
    else
        return CULVERT_ERROR_PROTOCOL;
    return 0;
}

static int read_bool(const struct message_head *head, bool *flag)
{
    int64_t number = head->value == MESSAGE_VALUE_TRUE;
    bool is_boolean = head->value == MESSAGE_VALUE_TRUE || head->value == MESSAGE_VALUE_FALSE;
    if (!is_boolean && read_number(head, 0, 1, &number) != 0)
        return CULVERT_ERROR_PROTOCOL;
    *flag = number == 1;
    return 0;
}

static int read_payload(struct reader *reader, const struct message_head *head)
{
    size_t start = reader->at;
    struct hubble_payload payload = {.data = reader->data + start};
    struct text bytes;
    if (head->value == MESSAGE_VALUE_ARRAY) {
        payload.is_array = true;
        for (; payload.size < head->count; payload.size++) {
            struct message_head item;
            int64_t number;
            if (read_head(reader, &item) != 0 || read_number(&item, 0, UINT8_MAX, &number) != 0)
                return CULVERT_ERROR_PROTOCOL;
        }
    } else if (head->value != MESSAGE_VALUE_NIL) {
        if (read_string(reader, head, &bytes) != 0)
            return CULVERT_ERROR_PROTOCOL;
        payload.size = bytes.size;
    }
    if (payload.size > UINT32_MAX)
        return CULVERT_ERROR_TOO_LARGE;
    reader->payload_span = reader->at - start;
    *reader->payload = payload;
    return 0;
}

static int read_field(struct reader *reader, const struct field *field)
{
    struct message_head head;
    int64_t number;
    void *out = (char *)reader->message + field->offset;
    int result = read_head(reader, &head);
    if (result != 0)
        return result;
    switch (field->kind) {
    case FIELD_GUID:
    case FIELD_TEXT:
    case FIELD_REASON:
        return read_text(reader, field, &head, out);
    case FIELD_BOOL:
        return read_bool(&head, out);
    case FIELD_PAYLOAD:
        return read_payload(reader, &head);
    case FIELD_PORT:
        result = read_number(&head, 0, UINT16_MAX, &number);
        if (result == 0)
            *(uint16_t *)out = (uint16_t)number;
        return result;
    case FIELD_ORDER:
        return read_number(&head, INT64_MIN, INT64_MAX, out);
    }
    return CULVERT_ERROR_PROTOCOL;
}

static int skip_value(struct reader *reader)
{
    struct message_bounds bounds = {.bytes = HUBBLE_MAX_CONTROL,
                                    .depth = MESSAGE_MEASURE_MAX_DEPTH};
    size_t used = 0;
    int result =
        message_measure(reader->data + reader->at, reader->size - reader->at, bounds, &used);
    reader->at += used;
    return result == CULVERT_NEED_MORE ? CULVERT_ERROR_PROTOCOL : result;
}

/* NULL: the field is not known. */
static int read_key(struct reader *reader, const struct layout *layout, const struct field **field)
{
    struct message_head head;
    struct text key;
    if (read_head(reader, &head) != 0 || read_string(reader, &head, &key) != 0)
        return CULVERT_ERROR_PROTOCOL;
    *field = NULL;
    for (size_t i = 0; i < layout->count; i++)
        if (text_equals(key, layout->fields[i].key))
            *field = &layout->fields[i];
    return 0;
}

static int read_value(struct reader *reader, const struct layout *layout)
{
    struct message_head head;
    int result = read_head(reader, &head);
    if (result != 0 || head.value == MESSAGE_VALUE_NIL)
        return result;
    bool is_map = head.value == MESSAGE_VALUE_MAP;
    if (!is_map && head.value != MESSAGE_VALUE_ARRAY)
        return CULVERT_ERROR_PROTOCOL;
    uint64_t count = is_map ? head.count / 2 : head.count;
    for (uint64_t i = 0; i < count; i++) {
        const struct field *field = i < layout->count ? &layout->fields[i] : NULL;
        if (is_map)
            result = read_key(reader, layout, &field);
        if (result == 0)
            result = field != NULL ? read_field(reader, field) : skip_value(reader);
        if (result == 0 && reader->at - reader->payload_span > HUBBLE_MAX_CONTROL)
            result = CULVERT_ERROR_TOO_LARGE;
        if (result != 0)
            return result;
    }
    return 0;
}

/*
 * 0.1 says in words alone why it refuses. These are the proxy's, and parts of what an agent says
 * when it could not dial: the words of Go's library.
 */
static const struct {
    const char *words;
    int code;
} refusals[] = {
    {HUBBLE_UNAUTHORIZED, REASON_FORBIDDEN},
    {HUBBLE_POLICY_FAILED, REASON_POLICY_FAILED},
    {HUBBLE_UNKNOWN_AGENT, REASON_UNKNOWN_AGENT},
    {HUBBLE_WRONG_VERSION, REASON_UNSUPPORTED},
    {"connection refused", REASON_DIAL_REFUSED},
    {"connection reset", REASON_RESET},
    {"no such host", REASON_RESOLVE},
    {"timed out", REASON_TIMED_OUT},
    {"timeout", REASON_TIMED_OUT},
    {"too many open files", REASON_LIMIT},
};

static int guess_code(struct text text)
{
    /* What culvert's own agents say. */
    for (int code = REASON_RESET; code <= REASON_CLOSED; code++)
        if (text_equals(text, reason_text(code)))
            return code;
    for (size_t i = 0; i < sizeof refusals / sizeof refusals[0]; i++)
        if (text.size > 0 &&
            memmem(text.data, text.size, refusals[i].words, strlen(refusals[i].words)) != NULL)
            return refusals[i].code;
    return REASON_UNREACHABLE;
}

static void finish_ack(struct message *message)
{
    struct message_ack ack = message->ack;
    if (ack.ok)
        ack.message = TEXT_NULL;
    ack.code = ack.ok ? REASON_NONE : guess_code(ack.message);
    message->is_handshake_ack = message->guid.size == 0;
    if (message->is_handshake_ack)
        message->welcome =
            (struct message_welcome){.ok = ack.ok, .code = ack.code, .message = ack.message};
    else
        message->ack = ack;
}

static void finish(struct reader *reader, enum message_type type)
{
    struct message *message = reader->message;
    message->type = type;
    message->is_known = true;
    if (type == MESSAGE_OPEN) {
        message->open.kind = text_of("tcp");
        message->open.guid = message->guid;
    }
    if (type == MESSAGE_DATA)
        message->payload = (uint32_t)reader->payload->size;
    if (type == MESSAGE_ACK)
        finish_ack(message);
}

int hubble_decode(const uint8_t *data, size_t size, struct message *message,
                  struct hubble_payload *payload)
{
    memset(message, 0, sizeof *message);
    *payload = (struct hubble_payload){.data = data};
    const struct layout *layout = size > 0 ? layout_of(data[0]) : NULL;
    if (layout == NULL)
        return CULVERT_ERROR_PROTOCOL;
    struct reader reader = {
        .data = data, .size = size, .at = 1, .message = message, .payload = payload};
    int result = read_value(&reader, layout);
    if (result != 0)
        return result;
    finish(&reader, (enum message_type)data[0]);
    return reader.has_long_text ? CULVERT_ERROR_TOO_LARGE : 0;
}

void hubble_payload_copy(const struct hubble_payload *payload, uint8_t *out)
{
    if (!payload->is_array) {
        if (payload->size > 0)
            memcpy(out, payload->data, payload->size);
        return;
    }
    const uint8_t *item = payload->data;
    for (size_t i = 0; i < payload->size; i++) {
        struct message_head head;
        if (message_head_read(item, MAX_NUMBER_HEAD, &head) != 0)
            return;
        out[i] = (uint8_t)head.number; /* 0 of nil */
        item += head.size;
    }
}
