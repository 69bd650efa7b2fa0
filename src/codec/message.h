/*
 * The native messages of a link (docs/protocol.md): one type byte, then one msgpack value. Decoding
 * takes a cursor and an end and gives a struct whose texts are borrowed from the input; it knows no
 * socket, clock or log, and it checks every declared length, count and depth against what is there
 * and against the limits before anything is built from it.
 */
#ifndef CODEC_MESSAGE_H
#define CODEC_MESSAGE_H

#include "base/str.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    MESSAGE_MAX_DATA = 64 * 1024,   /* payload bytes of one data message */
    MESSAGE_MAX_CONTROL = 4 * 1024, /* any other message, whole */
    MESSAGE_MAX_DEPTH = 4,          /* arrays and maps inside one another, the outermost is 1 */
    MESSAGE_MAX_HEADER = 24,        /* of a data message, in front of its payload */
    MESSAGE_MAX_HOST = 255,
    MESSAGE_MAX_NAME = 128,
    MESSAGE_MAX_KEY = 256,
    MESSAGE_MAX_KIND = 16,
    MESSAGE_MAX_REASON = 512,
    MESSAGE_MAX_VERSION = 16,
    MESSAGE_MAX_FEATURE = 64,
    MESSAGE_MAX_FEATURES = 16,
    MESSAGE_LINK_ID_SIZE = 16,     /* a link's name: 128 random bits */
    MESSAGE_LINK_SECRET_SIZE = 32, /* random; crosses the wire once, in the welcome */
    MESSAGE_PROOF_SIZE = 32,       /* HMAC-SHA256 */
    MESSAGE_BOOT_SIZE = 16,        /* random; drawn by an agent when it starts */
    MESSAGE_PLACE_SIZE = 16,       /* a hash of where addresses mean the same */
};

enum message_type {
    MESSAGE_HANDSHAKE = 0x01,
    MESSAGE_OPEN = 0x02,
    MESSAGE_DATA = 0x03,
    MESSAGE_RESET = 0x04,
    MESSAGE_FIN = 0x05,
    MESSAGE_CREDIT = 0x06,
    MESSAGE_DATAGRAM = 0x07,
    MESSAGE_PING = 0x08,
    MESSAGE_PONG = 0x09,
    MESSAGE_RECEIVED = 0x0A,
    MESSAGE_GOAWAY = 0x0B,
    MESSAGE_SKIP = 0x0F,
    MESSAGE_END = 0x10,
    MESSAGE_EXPRESS = 0x40,
    MESSAGE_EARLY = 0x41,
    MESSAGE_ACK = 0xFF,
};

/*
 * What holds for every message below:
 * - Numbers are integers of any width that are not negative; a sid may be any, 0 too, and whoever
 *   holds the streams judges it. A number out of its range is CULVERT_ERROR_PROTOCOL.
 * - Texts are msgpack str, without a NUL byte (CULVERT_ERROR_PROTOCOL) and at most as long as their
 *   limit (CULVERT_ERROR_TOO_LARGE). Any may be empty. Which bytes a name is made of is checked by
 *   whoever acts on it.
 * - Of an array all items that the protocol names must be there, those behind them are skipped; but
 *   data and datagram have exactly two, because their payload is the end of the message.
 * - Of a map unknown keys are skipped, and a known key that stands twice is refused.
 */

/*
 * The first message of a carrier, agent to gateway. `Key`, `Features`, `Boot` and `Place` may be
 * left out. Of `Link`, `Proof` and `Received` all must be there or none. `Express` is true or left
 * out.
 */
struct message_handshake {
    struct text version; /* "1" */
    struct text name;
    struct text key;
    struct text features[MESSAGE_MAX_FEATURES];
    size_t feature_count; /* those beyond MESSAGE_MAX_FEATURES are skipped */
    uint32_t window;      /* bytes that a new stream towards the sender may carry before credit */
    uint64_t epoch;
    uint64_t first;
    bool resumes; /* link, proof and received are there */
    uint8_t link[MESSAGE_LINK_ID_SIZE];
    uint8_t proof[MESSAGE_PROOF_SIZE];
    uint64_t received;
    bool is_express;                   /* the carrier goes beside the one that the link has */
    uint8_t boot[MESSAGE_BOOT_SIZE];   /* a secret of the agent's process; zeros: left out */
    uint8_t place[MESSAGE_PLACE_SIZE]; /* the agent's host, hashed; zeros: left out */
};

/*
 * The gateway's answer to a handshake (type 0xFF with a map). When it is ok, all keys but `Code`,
 * `Message` and `Express` must be there, and the first two are ignored; when not, it is the other
 * way round.
 */
struct message_welcome {
    bool ok;
    int code; /* enum reason_code when not ok */
    struct text message;
    uint8_t link[MESSAGE_LINK_ID_SIZE];
    uint8_t secret[MESSAGE_LINK_SECRET_SIZE];
    uint64_t epoch;
    uint64_t first;
    uint64_t received;
    uint32_t keepalive; /* seconds */
    uint32_t resume;    /* seconds that the link is kept without a carrier; 0: not at all */
    uint32_t window;
    bool takes_express; /* the link may have an express carrier as well */
};

struct message_open {
    struct text kind; /* "tcp" */
    struct text agent;
    struct text host;
    uint16_t port;
    struct text key;
    struct text source; /* option: the asking agent; the gateway overwrites it */
    struct text client; /* option: the asking client's address; informative */
    struct text pair;   /* option: "CLIENT SERVER", the addresses of the client's connection */
    struct text guid;   /* Hubble 0.1 only: the session's name there; never on a native wire */
};

struct message_reset {
    int code;
    struct text reason;
};

struct message_ack {
    bool ok;
    int code;
    struct text message; /* why not; when ok, "LOCAL REMOTE" of the connection that was dialled, or
                            empty */
};

struct message_goaway {
    struct text reason;
    uint32_t seconds;
};

/* The link ends with this carrier and is not to be resumed: the sender has forgotten it. */
struct message_end {
    int code; /* enum reason_code */
    struct text reason;
};

/* On an express carrier: tells of the data message behind it, which the link's carrier brings too.
 */
struct message_early {
    uint64_t number; /* among the counted messages, at least 1 */
    uint64_t before; /* that of the data before it of the same stream; 0: it is the first */
};

struct message {
    enum message_type type;
    bool is_handshake_ack; /* type MESSAGE_ACK: `welcome` is set, not `ack` */
    bool is_counted;
    bool is_known; /* false: a type of a later version; skip it */
    uint64_t sid;  /* open, data, reset, fin, credit, datagram, stream ack */
    /* Hubble 0.1 alone (codec/hubble.h); message_decode leaves them as they are: */
    struct text guid; /* names the session, in place of sid */
    int64_t order;    /* of data: 1, 2, 3 ... a session and direction */
    union {
        struct message_handshake handshake;
        struct message_welcome welcome;
        struct message_open open;
        struct message_reset reset;
        struct message_ack ack;
        struct message_goaway goaway;
        struct message_end end;
        struct message_early early;
        uint32_t payload;  /* data, datagram: bytes that follow the decoded part; 0 to 64 KiB */
        uint64_t credit;   /* bytes, 1 to 2^31 - 1 */
        uint64_t opaque;   /* ping, pong */
        uint64_t received; /* count */
        uint64_t skip;     /* count, at least 1 */
        uint64_t express;  /* epoch of the carrier that an express one shall go beside */
    };
};

/*
 * Decodes the message at `data`. Returns 0 and sets `used`: the whole message, or for data and
 * datagram the header only, with `payload` bytes to follow (the decoder does not need them to be
 * there). Returns CULVERT_NEED_MORE, CULVERT_ERROR_PROTOCOL, CULVERT_ERROR_TOO_LARGE (also as
 * soon as a length is declared that cannot be), or CULVERT_ERROR_NO_MEMORY. Unknown types are
 * measured, also against MESSAGE_MAX_CONTROL, and skipped (is_known false). Data without a payload
 * is let through, because that is its stream's error and not the link's. The types that come often
 * (data, datagram, fin, credit, ping, pong, received, skip, early) are decoded without an
 * allocation; the others take some 24 bytes per value from the heap, and give them back before this
 * returns.
 */
int message_decode(const uint8_t *data, size_t size, struct message *message, size_t *used);

/*
 * Encodes any message; for data and datagram only the header, at most MESSAGE_MAX_HEADER bytes.
 * Returns the size, CULVERT_ERROR_TOO_LARGE if `room` or a limit is exceeded, or
 * CULVERT_ERROR_INVALID for what a decoder would refuse otherwise (a NUL byte, a number out of its
 * range, data without a payload) and for types that are not known here. Does not look at is_known
 * and is_counted. Never allocates.
 */
int message_encode(const struct message *message, uint8_t *out, size_t room);

/* The same for the one message of the hot path, without a struct: the header of a data message. */
size_t message_encode_data_header(uint64_t sid, uint32_t payload,
                                  uint8_t out[static MESSAGE_MAX_HEADER]);

/* Whether messages of this type byte are counted for acknowledgement and replay. */
bool message_type_is_counted(uint8_t type);

#endif
