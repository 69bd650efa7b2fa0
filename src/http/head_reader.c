#include "http/head_reader.h"

#include "base/error.h"
#include "base/memory.h"

#include <errno.h>
#include <string.h>

enum { FIRST_CAPACITY = 1024 };

void head_reader_init(struct head_reader *reader)
{
    memset(reader, 0, sizeof(*reader));
}

void head_reader_deinit(struct head_reader *reader)
{
    memory_free(reader->buffer);
    head_reader_init(reader);
}

static int grow(struct head_reader *reader, size_t limit)
{
    if (reader->capacity >= limit)
        return CULVERT_ERROR_TOO_LARGE;
    size_t capacity = reader->capacity == 0 ? FIRST_CAPACITY : 2 * reader->capacity;
    uint8_t *buffer = memory_grow(reader->buffer, capacity);
    if (buffer == NULL)
        return CULVERT_ERROR_NO_MEMORY;
    reader->buffer = buffer;
    reader->capacity = capacity;
    return 0;
}

int head_reader_keep(struct head_reader *reader, const uint8_t *bytes, size_t size)
{
    while (reader->capacity - reader->size < size) {
        int error = grow(reader, HEAD_READER_REQUEST);
        if (error != 0)
            return error;
    }
    memcpy(reader->buffer + reader->size, bytes, size);
    reader->size += size;
    return 0;
}

void head_reader_drop(struct head_reader *reader, size_t size)
{
    reader->size -= size;
    if (reader->size > 0)
        memmove(reader->buffer, reader->buffer + size, reader->size);
}

static int parse(const struct head_reader *reader, enum head_kind kind, struct http1_head *head,
                 size_t *used)
{
    return kind == HEAD_REQUEST ? http1_parse_request(reader->buffer, reader->size, head, used)
                                : http1_parse_response(reader->buffer, reader->size, head, used);
}

int head_reader_read(struct head_reader *reader, struct conn *conn, enum head_kind kind,
                     struct http1_head *head, size_t *used)
{
    size_t limit = kind == HEAD_REQUEST ? HEAD_READER_REQUEST : HEAD_READER_RESPONSE;
    for (;;) {
        int result = reader->size > 0 ? parse(reader, kind, head, used) : CULVERT_NEED_MORE;
        if (result != CULVERT_NEED_MORE)
            return result;
        int error = reader->size < reader->capacity ? 0 : grow(reader, limit);
        if (error != 0)
            return error;
        ssize_t got =
            conn_read(conn, reader->buffer + reader->size, reader->capacity - reader->size);
        if (got == -EAGAIN)
            return CULVERT_NEED_MORE;
        if (got <= 0)
            return got == 0 ? CULVERT_ERROR_CLOSED : (int)got;
        reader->size += (size_t)got;
    }
}
