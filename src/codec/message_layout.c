#include "codec/message_layout.h"

/* Credit that sums past 2^31 resets its stream; so no window and no grant goes beyond this. */
#define MAX_CREDIT INT32_MAX

#define NUMBER(key_, member, kind_, min_, max_)                                                    \
    {                                                                                              \
        .key = (key_), .offset = offsetof(struct message, member), .kind = (kind_), .min = (min_), \
        .max = (max_)                                                                              \
    }
#define SIZED(key_, member, kind_, max_, presence_)                                                \
    {                                                                                              \
        .key = (key_), .offset = offsetof(struct message, member), .kind = (kind_), .max = (max_), \
        .presence = (presence_)                                                                    \
    }
#define ITEM_TEXT(member, max_) SIZED(NULL, member, MESSAGE_FIELD_TEXT, max_, MESSAGE_ALWAYS)
#define SID                     NUMBER(NULL, sid, MESSAGE_FIELD_UINT64, 0, UINT64_MAX)

static const struct message_field handshake_fields[] = {
    SIZED("Version", handshake.version, MESSAGE_FIELD_TEXT, MESSAGE_MAX_VERSION, MESSAGE_ALWAYS),
    SIZED("Name", handshake.name, MESSAGE_FIELD_TEXT, MESSAGE_MAX_NAME, MESSAGE_ALWAYS),
    SIZED("Key", handshake.key, MESSAGE_FIELD_TEXT, MESSAGE_MAX_KEY, MESSAGE_IF_SET),
    SIZED("Features", handshake.features, MESSAGE_FIELD_FEATURES, MESSAGE_MAX_FEATURE,
          MESSAGE_IF_SET),
    NUMBER("Window", handshake.window, MESSAGE_FIELD_UINT32, 0, MAX_CREDIT),
    NUMBER("Epoch", handshake.epoch, MESSAGE_FIELD_UINT64, 0, UINT64_MAX),
    NUMBER("First", handshake.first, MESSAGE_FIELD_UINT64, 0, UINT64_MAX),
    SIZED("Link", handshake.link, MESSAGE_FIELD_BYTES, MESSAGE_LINK_ID_SIZE, MESSAGE_IF_RESUMES),
    SIZED("Proof", handshake.proof, MESSAGE_FIELD_BYTES, MESSAGE_PROOF_SIZE, MESSAGE_IF_RESUMES),
    SIZED("Received", handshake.received, MESSAGE_FIELD_UINT64, UINT64_MAX, MESSAGE_IF_RESUMES),
    SIZED("Express", handshake.is_express, MESSAGE_FIELD_BOOL, 0, MESSAGE_IF_SET),
    SIZED("Boot", handshake.boot, MESSAGE_FIELD_BYTES, MESSAGE_BOOT_SIZE, MESSAGE_IF_SET),
    SIZED("Place", handshake.place, MESSAGE_FIELD_BYTES, MESSAGE_PLACE_SIZE, MESSAGE_IF_SET),
};

/* `Ok` stands first, because the presence of the others depends on it. */
static const struct message_field welcome_fields[] = {
    SIZED("Ok", welcome.ok, MESSAGE_FIELD_BOOL, 0, MESSAGE_ALWAYS),
    SIZED("Code", welcome.code, MESSAGE_FIELD_INT, INT32_MAX, MESSAGE_IF_REFUSED),
    SIZED("Message", welcome.message, MESSAGE_FIELD_TEXT, MESSAGE_MAX_REASON, MESSAGE_IF_REFUSED),
    SIZED("Link", welcome.link, MESSAGE_FIELD_BYTES, MESSAGE_LINK_ID_SIZE, MESSAGE_IF_OK),
    SIZED("Secret", welcome.secret, MESSAGE_FIELD_BYTES, MESSAGE_LINK_SECRET_SIZE, MESSAGE_IF_OK),
    SIZED("Epoch", welcome.epoch, MESSAGE_FIELD_UINT64, UINT64_MAX, MESSAGE_IF_OK),
    SIZED("First", welcome.first, MESSAGE_FIELD_UINT64, UINT64_MAX, MESSAGE_IF_OK),
    SIZED("Received", welcome.received, MESSAGE_FIELD_UINT64, UINT64_MAX, MESSAGE_IF_OK),
    SIZED("Keepalive", welcome.keepalive, MESSAGE_FIELD_UINT32, UINT32_MAX, MESSAGE_IF_OK),
    SIZED("Resume", welcome.resume, MESSAGE_FIELD_UINT32, UINT32_MAX, MESSAGE_IF_OK),
    SIZED("Window", welcome.window, MESSAGE_FIELD_UINT32, MAX_CREDIT, MESSAGE_IF_OK),
    SIZED("Express", welcome.takes_express, MESSAGE_FIELD_BOOL, 0, MESSAGE_IF_SET),
};

static const struct message_field open_fields[] = {
    SID,
    ITEM_TEXT(open.kind, MESSAGE_MAX_KIND),
    ITEM_TEXT(open.agent, MESSAGE_MAX_NAME),
    ITEM_TEXT(open.host, MESSAGE_MAX_HOST),
    NUMBER(NULL, open.port, MESSAGE_FIELD_UINT16, 0, UINT16_MAX),
    ITEM_TEXT(open.key, MESSAGE_MAX_KEY),
    SIZED(NULL, open, MESSAGE_FIELD_OPTIONS, 0, MESSAGE_ALWAYS),
};

static const struct message_field option_fields[] = {
    SIZED("source", open.source, MESSAGE_FIELD_TEXT, MESSAGE_MAX_NAME, MESSAGE_IF_SET),
    SIZED("client", open.client, MESSAGE_FIELD_TEXT, MESSAGE_MAX_HOST, MESSAGE_IF_SET),
    SIZED("pair", open.pair, MESSAGE_FIELD_TEXT, MESSAGE_MAX_HOST, MESSAGE_IF_SET),
};

static const struct message_field reset_fields[] = {
    SID,
    NUMBER(NULL, reset.code, MESSAGE_FIELD_INT, 0, INT32_MAX),
    ITEM_TEXT(reset.reason, MESSAGE_MAX_REASON),
};

static const struct message_field fin_fields[] = {SID};

static const struct message_field credit_fields[] = {
    SID,
    NUMBER(NULL, credit, MESSAGE_FIELD_UINT64, 1, MAX_CREDIT),
};

static const struct message_field ping_fields[] = {
    NUMBER(NULL, opaque, MESSAGE_FIELD_UINT64, 0, UINT64_MAX),
};

static const struct message_field received_fields[] = {
    NUMBER(NULL, received, MESSAGE_FIELD_UINT64, 0, UINT64_MAX),
};

static const struct message_field goaway_fields[] = {
    ITEM_TEXT(goaway.reason, MESSAGE_MAX_REASON),
    NUMBER(NULL, goaway.seconds, MESSAGE_FIELD_UINT32, 0, UINT32_MAX),
};

static const struct message_field skip_fields[] = {
    NUMBER(NULL, skip, MESSAGE_FIELD_UINT64, 1, UINT64_MAX),
};

static const struct message_field express_fields[] = {
    NUMBER(NULL, express, MESSAGE_FIELD_UINT64, 0, UINT64_MAX),
};

static const struct message_field early_fields[] = {
    NUMBER(NULL, early.number, MESSAGE_FIELD_UINT64, 1, UINT64_MAX),
    NUMBER(NULL, early.before, MESSAGE_FIELD_UINT64, 0, UINT64_MAX),
};

static const struct message_field end_fields[] = {
    NUMBER(NULL, end.code, MESSAGE_FIELD_INT, 0, INT32_MAX),
    ITEM_TEXT(end.reason, MESSAGE_MAX_REASON),
};

static const struct message_field ack_fields[] = {
    SID,
    SIZED(NULL, ack.ok, MESSAGE_FIELD_BOOL, 0, MESSAGE_ALWAYS),
    NUMBER(NULL, ack.code, MESSAGE_FIELD_INT, 0, INT32_MAX),
    ITEM_TEXT(ack.message, MESSAGE_MAX_REASON),
};

#define LAYOUT(fields_, is_map_, only_numbers_)                                       \
    {                                                                                 \
        (fields_), sizeof(fields_) / sizeof((fields_)[0]), (is_map_), (only_numbers_) \
    }

static const struct message_layout layouts[] = {
    [MESSAGE_HANDSHAKE] = LAYOUT(handshake_fields, true, false),
    [MESSAGE_OPEN] = LAYOUT(open_fields, false, false),
    [MESSAGE_RESET] = LAYOUT(reset_fields, false, false),
    [MESSAGE_FIN] = LAYOUT(fin_fields, false, true),
    [MESSAGE_CREDIT] = LAYOUT(credit_fields, false, true),
    [MESSAGE_PING] = LAYOUT(ping_fields, false, true),
    [MESSAGE_PONG] = LAYOUT(ping_fields, false, true),
    [MESSAGE_RECEIVED] = LAYOUT(received_fields, false, true),
    [MESSAGE_GOAWAY] = LAYOUT(goaway_fields, false, false),
    [MESSAGE_SKIP] = LAYOUT(skip_fields, false, true),
    [MESSAGE_END] = LAYOUT(end_fields, false, false),
    [MESSAGE_EXPRESS] = LAYOUT(express_fields, false, true),
    [MESSAGE_EARLY] = LAYOUT(early_fields, false, true),
};

static const struct message_layout welcome_layout = LAYOUT(welcome_fields, true, false);
static const struct message_layout ack_layout = LAYOUT(ack_fields, false, false);
const struct message_layout message_layout_options = LAYOUT(option_fields, true, false);

/* What the decoder has room for. */
#define CHECK_FIELDS(fields) \
    _Static_assert(sizeof(fields) / sizeof((fields)[0]) <= MESSAGE_LAYOUT_MAX_FIELDS, #fields)
CHECK_FIELDS(handshake_fields);
CHECK_FIELDS(welcome_fields);
CHECK_FIELDS(option_fields);

const struct message_layout *message_layout_of(uint8_t type, bool is_map)
{
    if (type == MESSAGE_ACK)
        return is_map ? &welcome_layout : &ack_layout;
    if (type >= sizeof layouts / sizeof layouts[0] || layouts[type].fields == NULL)
        return NULL;
    return &layouts[type];
}

bool message_field_is_there(const struct message_field *field, const struct message *message)
{
    switch (field->presence) {
    case MESSAGE_IF_RESUMES:
        return message->handshake.resumes;
    case MESSAGE_IF_OK:
        return message->welcome.ok;
    case MESSAGE_IF_REFUSED:
        return !message->welcome.ok;
    case MESSAGE_ALWAYS:
    case MESSAGE_IF_SET:
        break;
    }
    return true;
}

bool message_type_is_counted(uint8_t type)
{
    switch (type) {
    case MESSAGE_HANDSHAKE:
    case MESSAGE_DATAGRAM:
    case MESSAGE_PING:
    case MESSAGE_PONG:
    case MESSAGE_RECEIVED:
    case MESSAGE_END:
        return false;
    default:
        /* Later versions may use this range for what need not be replayed. */
        return type < 0x40 || type > 0x7F;
    }
}
