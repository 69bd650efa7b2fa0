/*
 * Messages between the pool and its workers: a length in four bytes, most significant first, and so
 * many bytes, which are JSON but for the text of the script. What they held is wiped, since a
 * question may carry a connection key.
 */
#ifndef LUA_FRAME_H
#define LUA_FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    FRAME_HEADER_SIZE = 4,
    FRAME_SCRIPT = 1024 * 1024, /* the longest script, and the longest frame to a worker */
    FRAME_ANSWER = 16 * 1024,   /* the longest frame from one */
};

/* A frame in the making, and on its way out. All zero is an empty one. */
struct frame {
    uint8_t *data;
    size_t size;
    size_t capacity;
    size_t sent;
    bool has_failed;
};

/* Begins a new frame in place of what was there. */
void frame_begin(struct frame *frame);
/* Memory that runs out is remembered until frame_end. */
void frame_add(struct frame *frame, const void *bytes, size_t size);
/* A member of a JSON object: `name` needs no escape; the value is escaped, but not checked to be
 * UTF-8. frame_object begins the object and `}` is to be added at its end. */
void frame_object(struct frame *frame);
void frame_member(struct frame *frame, const char *name, const char *value);
void frame_number(struct frame *frame, const char *name, uint64_t value);
/* The same with a value that is JSON already. */
void frame_json(struct frame *frame, const char *name, const char *value, size_t size);
/* Sets the length. Returns 0, or CULVERT_ERROR_NO_MEMORY with the frame emptied. */
int frame_end(struct frame *frame);

/* Sends what is left to a socket. Returns 0 when all has gone (the frame is then empty),
 * CULVERT_NEED_MORE when the socket takes no more now, or an error. */
int frame_send(struct frame *frame, int socket);
bool frame_is_empty(const struct frame *frame);
/* Wipes and frees. */
void frame_deinit(struct frame *frame);

/* A frame on its way in. */
struct frame_reader {
    size_t limit;
    uint8_t header[FRAME_HEADER_SIZE];
    size_t received; /* header included */
    char *data;      /* of the frame, with a zero behind it; NULL until its length is known */
    size_t size;
};

void frame_reader_init(struct frame_reader *reader, size_t limit);
/* Takes bytes up to the end of the frame; `*used` says how many. Returns 0 when the frame is whole:
 * `data` and `size` hold it until frame_reader_next. Else CULVERT_NEED_MORE,
 * CULVERT_ERROR_TOO_LARGE or CULVERT_ERROR_NO_MEMORY. */
int frame_reader_take(struct frame_reader *reader, const uint8_t *bytes, size_t size, size_t *used);
/* Makes room for the next frame. */
void frame_reader_next(struct frame_reader *reader);
void frame_reader_deinit(struct frame_reader *reader);

/* Reads from a socket that may block or not, and no further than the frame's end. Results as above,
 * or CULVERT_ERROR_CLOSED, or -errno. */
int frame_receive(struct frame_reader *reader, int socket);

#endif
