/*
 * The messages of Hubble 0.1 (docs/hubble.md): one type byte, then one msgpack value, in a
 * WebSocket message of its own. They decode to the same struct as the native ones
 * (codec/message.h):
 *
 *   01 handshake         MESSAGE_HANDSHAKE: version, name, key
 *   02 initiator         MESSAGE_OPEN: guid (also open.guid), kind "tcp", agent, host, port, key
 *   03 data              MESSAGE_DATA: guid, order; the payload beside it
 *   04 terminator        MESSAGE_RESET: guid; code 0, no reason
 *   05 connection closed MESSAGE_FIN: guid
 *   FF ack               MESSAGE_ACK: with a guid `ack`, without one is_handshake_ack and `welcome`
 *                        (ok and message alone; code as for acks)
 *
 * Any other type byte is CULVERT_ERROR_PROTOCOL: the originals drop the connection.
 */
#ifndef CODEC_HUBBLE_H
#define CODEC_HUBBLE_H

#include "codec/message.h"

enum {
    HUBBLE_MAX_GUID = 255,
    HUBBLE_MAX_CONTROL = 8 * 1024, /* of any message but data, as we take it; and of data without
                                      its payload */
    HUBBLE_MAX_ENCODED = 2048,     /* of any but data, as we write it */
    HUBBLE_MAX_DATA_HEAD = 16,
    HUBBLE_MAX_DATA_TAIL = HUBBLE_MAX_GUID + 32,
};

#define HUBBLE_VERSION "0.1"

/* The originals' words in acks. */
#define HUBBLE_OK            "<nil>"
#define HUBBLE_WRONG_VERSION "Invalid protocol version"
#define HUBBLE_UNAUTHORIZED  "Unauthorized"
#define HUBBLE_POLICY_FAILED "Authorization error."
#define HUBBLE_UNKNOWN_AGENT "Gateway not registered"

/* Where the payload of a data message lies within the input. */
struct hubble_payload {
    const uint8_t *data;
    size_t size;   /* payload bytes, of any encoding */
    bool is_array; /* not bytes but a msgpack array of small integers: hubble_payload_copy */
};

/*
 * Decodes a whole message; bytes behind its msgpack value are ignored. Texts and the payload are
 * borrowed from `data`. Takes all that the originals take: raw, str8 and bin for texts and keys,
 * maps, arrays in the order of declaration, nil for zero values, missing and unknown keys, integers
 * of any width for any number, 0 and 1 for booleans; of a key that stands twice the last counts.
 * Numbers are in the range of their field (CULVERT_ERROR_PROTOCOL). Never allocates; declared
 * lengths, counts and depth (at most 16, of unknown keys' values) are checked against what is
 * there.
 *
 * Returns 0, CULVERT_ERROR_PROTOCOL (also when the value is not all there, and for a NUL byte in a
 * text), or CULVERT_ERROR_TOO_LARGE for what is above the limits here and for texts above those of
 * codec/message.h; but an ack's text is cut to MESSAGE_MAX_REASON, at a character. After an error
 * `message` has type 0, unless nothing but a text (not the GUID) is too long: then its type and
 * `guid` are set, so that a session can be refused without its connection; take no text from there.
 *
 * A refusing ack has no code on the wire; it is guessed from the text, REASON_UNREACHABLE where
 * nothing else fits. The text of a positive one is not kept. `payload` is empty but for data, whose
 * size is in message->payload too.
 */
int hubble_decode(const uint8_t *data, size_t size, struct message *message,
                  struct hubble_payload *payload);

/* Copies the payload's bytes to `out`, which has room for payload->size. */
void hubble_payload_copy(const struct hubble_payload *payload, uint8_t *out);

/*
 * Encodes any message but data, byte for byte as the originals do: keys in ascending order, raw
 * strings, the smallest integers. A session's name is message->guid; an open's kind must be "tcp".
 * A positive ack's text is "<nil>"; a refusing one's is the original's word for REASON_FORBIDDEN,
 * REASON_POLICY_FAILED and REASON_UNKNOWN_AGENT, else the message's, or, if it has none, the
 * code's. Returns the size, CULVERT_ERROR_TOO_LARGE (`room`, or a text above its limit) or
 * CULVERT_ERROR_INVALID (a NUL byte in a text, another kind or type). Never allocates.
 */
int hubble_encode(const struct message *message, uint8_t *out, size_t room);

/* What stands before and behind the payload of a data message (its keys come in the order Data,
 * GUID, Order). Return their sizes. `guid` is at most HUBBLE_MAX_GUID long. */
size_t hubble_encode_data_head(uint32_t payload, uint8_t out[static HUBBLE_MAX_DATA_HEAD]);
size_t hubble_encode_data_tail(struct text guid, int64_t order,
                               uint8_t out[static HUBBLE_MAX_DATA_TAIL]);

#endif
