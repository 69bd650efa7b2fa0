#include "http/head_reader.h"

#include "base/error.h"
#include "base/memory.h"

#include <errno.h>
#include <string.h>

enum { FIRST_CAPACITY = 1024 };

void head_reader_init(struct head_reader *reader, size_t limit)
{
    *reader = (struct head_reader){.limit = limit};
}

static void drop_buffer(struct head_reader *reader)
{
    if (reader->buffer != NULL)
        explicit_bzero(reader->buffer, reader->capacity);
    memory_free(reader->buffer);
}

void head_reader_deinit(struct head_reader *reader)
{
    drop_buffer(reader);
    head_reader_init(reader, reader->limit);
}

static int grow(struct head_reader *reader)
{
    if (reader->capacity >= reader->limit)
        return CULVERT_ERROR_TOO_LARGE;
    size_t capacity = reader->capacity == 0 ? FIRST_CAPACITY : 2 * reader->capacity;
    if (capacity > reader->limit)
        capacity = reader->limit;
    uint8_t *buffer = memory_allocate(capacity);
    if (buffer == NULL)
        return CULVERT_ERROR_NO_MEMORY;
    if (reader->size > 0)
        memcpy(buffer, reader->buffer, reader->size);
    drop_buffer(reader);
    reader->buffer = buffer;
    reader->capacity = capacity;
    return 0;
}

int head_reader_keep(struct head_reader *reader, const uint8_t *bytes, size_t size)
{
    while (reader->capacity - reader->size < size) {
        int error = grow(reader);
        if (error != 0)
            return error;
    }
    if (size > 0)
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

size_t head_reader_move(struct head_reader *reader, void *out, size_t room)
{
    size_t size = reader->size < room ? reader->size : room;
    memcpy(out, reader->buffer, size);
    head_reader_drop(reader, size);
    return size;
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
    for (;;) {
        int result = reader->size > 0 ? parse(reader, kind, head, used) : CULVERT_NEED_MORE;
        if (result != CULVERT_NEED_MORE)
            return result;
        int error = reader->size < reader->capacity ? 0 : grow(reader);
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
