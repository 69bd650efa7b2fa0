/*
 * Reads the head of an HTTP message from a connection: for a gateway the request, for an agent the
 * answer to its upgrade. Bounded in bytes; the time is bounded by the owner.
 */
#ifndef HTTP_HEAD_READER_H
#define HTTP_HEAD_READER_H

#include "codec/http1.h"
#include "net/conn.h"

#include <stddef.h>
#include <stdint.h>

enum {
    HEAD_READER_REQUEST = 8 * 1024, /* bytes; strangers send them */
    HEAD_READER_RESPONSE = HTTP1_MAX_HEAD,
};

struct head_reader {
    uint8_t *buffer; /* NULL before the first byte */
    size_t size;
    size_t capacity;
    size_t limit; /* of the capacity */
};

/* `limit`: bytes of the largest head that is taken. */
void head_reader_init(struct head_reader *reader, size_t limit);
/* Wipes and frees what it holds: heads bring tokens and keys. It may be used again. */
void head_reader_deinit(struct head_reader *reader);

/* Keeps bytes of a request that were read elsewhere, before what head_reader_read will read.
 * Returns 0, CULVERT_ERROR_TOO_LARGE or CULVERT_ERROR_NO_MEMORY. */
int head_reader_keep(struct head_reader *reader, const uint8_t *bytes, size_t size);

/* Drops the first `size` bytes: a head that has been acted on. */
void head_reader_drop(struct head_reader *reader, size_t size);
/* Moves the first bytes, `room` at most, out of it. Returns how many. */
size_t head_reader_move(struct head_reader *reader, void *out, size_t room);

enum head_kind { HEAD_REQUEST, HEAD_RESPONSE };

/*
 * Looks at what is kept, then reads what is there. Returns 0 when the head is whole: `head`'s texts
 * point into the reader, `used` is the head's size and what lies behind it was read ahead.
 * CULVERT_NEED_MORE: call again when readable. Else an error: CULVERT_ERROR_CLOSED when the peer
 * ended, CULVERT_ERROR_PROTOCOL, CULVERT_ERROR_TOO_LARGE, or -errno.
 */
int head_reader_read(struct head_reader *reader, struct conn *conn, enum head_kind kind,
                     struct http1_head *head, size_t *used);

#endif
