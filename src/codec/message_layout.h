/*
 * What each message consists of, as tables that the decoder and the encoder share, so that both
 * keep to the same order, keys and limits. Only the files of the message codec include this.
 */
#ifndef CODEC_MESSAGE_LAYOUT_H
#define CODEC_MESSAGE_LAYOUT_H

#include "codec/message.h"

/* How a field is held in struct message, and with that how it stands on the wire. */
enum message_field_kind {
    MESSAGE_FIELD_UINT16,
    MESSAGE_FIELD_UINT32,
    MESSAGE_FIELD_UINT64,
    MESSAGE_FIELD_INT, /* never negative */
    MESSAGE_FIELD_BOOL,
    MESSAGE_FIELD_TEXT,
    MESSAGE_FIELD_BYTES,    /* a bin of exactly `max` bytes */
    MESSAGE_FIELD_FEATURES, /* the handshake's array of texts */
    MESSAGE_FIELD_OPTIONS,  /* the map at the end of an open */
};

/* When a field of a map is there. */
enum message_presence {
    MESSAGE_ALWAYS,
    MESSAGE_IF_SET,     /* left out when empty, false, or a bin of zeros */
    MESSAGE_IF_RESUMES, /* all fields of a handshake with this presence, or none */
    MESSAGE_IF_OK,      /* of a welcome; not looked at when it refuses */
    MESSAGE_IF_REFUSED, /* the other way round */
};

struct message_field {
    const char *key; /* in a map */
    size_t offset;   /* in struct message */
    uint64_t min;    /* of a number */
    uint64_t max;    /* of a number, or of a text's or bin's bytes */
    enum message_field_kind kind;
    enum message_presence presence;
};

enum { MESSAGE_LAYOUT_MAX_FIELDS = 16 };

struct message_layout {
    const struct message_field *fields;
    size_t count;
    bool is_map;       /* an array otherwise: all fields in order, what follows them is skipped */
    bool only_numbers; /* small and frequent: decoded without the library */
};

/* NULL for a type that is not known, and for data and datagram, which are done by hand. */
const struct message_layout *message_layout_of(uint8_t type, bool is_map);

/* The options of an open. */
extern const struct message_layout message_layout_options;

/* Whether the field is there, as far as the message's earlier fields tell; MESSAGE_IF_SET counts as
 * there. */
bool message_field_is_there(const struct message_field *field, const struct message *message);

#endif
