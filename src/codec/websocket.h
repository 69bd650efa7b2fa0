/*
 * WebSocket frames (RFC 6455 §5) and the values of its handshake (§4). The decoder is fed with
 * whatever bytes are there and gives events; payload is pointed at where it lies and never copied.
 */
#ifndef CODEC_WEBSOCKET_H
#define CODEC_WEBSOCKET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum websocket_opcode {
    WEBSOCKET_CONTINUATION = 0x0,
    WEBSOCKET_TEXT = 0x1,
    WEBSOCKET_BINARY = 0x2,
    WEBSOCKET_CLOSE = 0x8,
    WEBSOCKET_PING = 0x9,
    WEBSOCKET_PONG = 0xA,
};

enum {
    WEBSOCKET_MAX_HEADER = 14,
    WEBSOCKET_MAX_CONTROL = 125,
    WEBSOCKET_KEY_SIZE = 24,    /* base64 of 16 bytes; §4.1 */
    WEBSOCKET_ACCEPT_SIZE = 28, /* base64 of a SHA-1; §4.2.2 */
};

enum websocket_role { WEBSOCKET_SERVER, WEBSOCKET_CLIENT };

enum websocket_event_type {
    WEBSOCKET_EVENT_NONE,    /* all input was used, nothing to tell */
    WEBSOCKET_EVENT_PAYLOAD, /* a piece of a data message, unmasked, at `data`/`size` in the input
                              */
    WEBSOCKET_EVENT_MESSAGE_END, /* the last frame of a data message is complete */
    WEBSOCKET_EVENT_CONTROL,     /* a whole ping, pong or close; payload inside the decoder */
};

struct websocket_event {
    enum websocket_event_type type;
    enum websocket_opcode opcode; /* of the message (text or binary) or the control frame */
    uint8_t *data;
    size_t size;
};

struct websocket_decoder {
    enum websocket_role
        role; /* our own: a server takes masked frames only, a client unmasked only (§5.1) */
    uint64_t max_message; /* bytes of one message, all its frames together */
    uint8_t header[WEBSOCKET_MAX_HEADER];
    uint8_t header_size;
    bool in_payload;
    bool in_message; /* a fragmented message is open */
    bool fin;
    uint8_t opcode;         /* of the current frame */
    uint8_t message_opcode; /* of the current data message */
    uint8_t mask[4];
    uint8_t mask_offset;
    uint64_t remaining; /* payload bytes of the current frame still to come */
    uint64_t message_size;
    uint8_t control[WEBSOCKET_MAX_CONTROL];
    uint8_t control_size;
};

void websocket_decoder_init(struct websocket_decoder *decoder, enum websocket_role role,
                            uint64_t max_message);

/*
 * Takes bytes from `data` (which it unmasks in place) until there is an event or the input is used
 * up. Returns 0 and sets `used` and `event`; call again with the rest while used < size, or an
 * event came. An error is CULVERT_ERROR_PROTOCOL (close code 1002) or CULVERT_ERROR_TOO_LARGE
 * (1009), and the decoder is then dead. Reserved bits, unknown opcodes, fragmented or long control
 * frames, a non-minimal length, a set top bit of a 64-bit length, a data frame inside a fragmented
 * message are errors (§5.2, §5.4, §5.5).
 */
int websocket_decode(struct websocket_decoder *decoder, uint8_t *data, size_t size, size_t *used,
                     struct websocket_event *event);

/* Writes a frame's header. `mask` is NULL for a server's frames. Returns its size. */
size_t websocket_encode_header(uint8_t out[static WEBSOCKET_MAX_HEADER],
                               enum websocket_opcode opcode, bool fin, uint64_t payload,
                               const uint8_t mask[4]);

/* out[i] = in[i] ^ mask[(offset + i) % 4]; out == in is allowed, other overlap is not. At memory
 * speed. */
void websocket_mask(uint8_t *out, const uint8_t *in, size_t size, const uint8_t mask[4],
                    size_t offset);

/* The Sec-WebSocket-Accept value for a Sec-WebSocket-Key, terminated (§4.2.2 item 5.4). */
void websocket_accept_value(const char *key, size_t key_size,
                            char out[static WEBSOCKET_ACCEPT_SIZE + 1]);

/* The Sec-WebSocket-Key value of 16 random bytes, terminated (§4.1 item 7). */
void websocket_key_value(const uint8_t random[static 16], char out[static WEBSOCKET_KEY_SIZE + 1]);

/* Whether a client's Sec-WebSocket-Key is base64 of 16 bytes. */
bool websocket_key_is_valid(const char *key, size_t size);

#endif
