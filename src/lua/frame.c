#include "lua/frame.h"

#include "base/error.h"
#include "base/memory.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

enum { FIRST_CAPACITY = 512, NUMBER_SIZE = 24, PIECE_SIZE = 4096 };

/* ---- out ---- */

void frame_deinit(struct frame *frame)
{
    if (frame->data != NULL)
        explicit_bzero(frame->data, frame->capacity);
    memory_free(frame->data);
    *frame = (struct frame){0};
}

bool frame_is_empty(const struct frame *frame)
{
    return frame->size == frame->sent;
}

/* Not by memory_grow, which would leave a copy behind. */
static bool reserve(struct frame *frame, size_t size)
{
    if (frame->has_failed || size > SIZE_MAX / 4 - frame->size)
        return false;
    size_t wanted = frame->size + size;
    if (wanted <= frame->capacity)
        return true;
    size_t capacity = frame->capacity == 0 ? FIRST_CAPACITY : frame->capacity;
    while (capacity < wanted)
        capacity *= 2;
    uint8_t *data = memory_allocate(capacity);
    if (data == NULL)
        return false;
    if (frame->size > 0)
        memcpy(data, frame->data, frame->size);
    struct frame old = *frame;
    frame->data = data;
    frame->capacity = capacity;
    frame_deinit(&old);
    return true;
}

void frame_add(struct frame *frame, const void *bytes, size_t size)
{
    if (!reserve(frame, size)) {
        frame->has_failed = true;
        return;
    }
    if (size > 0)
        memcpy(frame->data + frame->size, bytes, size);
    frame->size += size;
}

static void add_text(struct frame *frame, const char *text)
{
    frame_add(frame, text, strlen(text));
}

void frame_begin(struct frame *frame)
{
    frame_deinit(frame);
    frame_add(frame, (const uint8_t[FRAME_HEADER_SIZE]){0}, FRAME_HEADER_SIZE);
}

/* RFC 8259 §7. */
static void add_string(struct frame *frame, const char *text)
{
    add_text(frame, "\"");
    const char *plain = text;
    const char *place = text;
    for (; *place != '\0'; place++) {
        unsigned character = (unsigned char)*place;
        if (character >= 0x20 && character != '"' && character != '\\')
            continue;
        char escape[8];
        snprintf(escape, sizeof escape, "\\u%04x", character);
        frame_add(frame, plain, (size_t)(place - plain));
        add_text(frame, escape);
        plain = place + 1;
    }
    frame_add(frame, plain, (size_t)(place - plain));
    add_text(frame, "\"");
}

static void add_name(struct frame *frame, const char *name)
{
    if (frame->size > 0 && frame->data[frame->size - 1] != '{')
        add_text(frame, ",");
    add_text(frame, "\"");
    add_text(frame, name);
    add_text(frame, "\":");
}

void frame_object(struct frame *frame)
{
    frame_begin(frame);
    add_text(frame, "{");
}

void frame_member(struct frame *frame, const char *name, const char *value)
{
    add_name(frame, name);
    add_string(frame, value);
}

void frame_number(struct frame *frame, const char *name, uint64_t value)
{
    char text[NUMBER_SIZE];
    snprintf(text, sizeof text, "%" PRIu64, value);
    add_name(frame, name);
    add_text(frame, text);
}

void frame_json(struct frame *frame, const char *name, const char *value, size_t size)
{
    add_name(frame, name);
    frame_add(frame, value, size);
}

int frame_end(struct frame *frame)
{
    if (frame->has_failed) {
        frame_deinit(frame);
        return CULVERT_ERROR_NO_MEMORY;
    }
    size_t size = frame->size - FRAME_HEADER_SIZE;
    for (int i = FRAME_HEADER_SIZE - 1; i >= 0; i--, size >>= 8)
        frame->data[i] = (uint8_t)size;
    return 0;
}

int frame_send(struct frame *frame, int socket)
{
    while (!frame_is_empty(frame)) {
        ssize_t count =
            send(socket, frame->data + frame->sent, frame->size - frame->sent, MSG_NOSIGNAL);
        if (count > 0)
            frame->sent += (size_t)count;
        else if (count < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
            return CULVERT_NEED_MORE;
        else if (count < 0 && errno != EINTR)
            return -errno;
    }
    frame_deinit(frame);
    return 0;
}

/* ---- in ---- */

void frame_reader_init(struct frame_reader *reader, size_t limit)
{
    *reader = (struct frame_reader){.limit = limit};
}

void frame_reader_next(struct frame_reader *reader)
{
    if (reader->data != NULL)
        explicit_bzero(reader->data, reader->size);
    memory_free(reader->data);
    frame_reader_init(reader, reader->limit);
}

void frame_reader_deinit(struct frame_reader *reader)
{
    frame_reader_next(reader);
}

/* How many bytes the frame lacks, as far as is known. */
static size_t missing(const struct frame_reader *reader)
{
    if (reader->received < FRAME_HEADER_SIZE)
        return FRAME_HEADER_SIZE - reader->received;
    return FRAME_HEADER_SIZE + reader->size - reader->received;
}

static int take_header(struct frame_reader *reader)
{
    size_t size = 0;
    for (size_t i = 0; i < FRAME_HEADER_SIZE; i++)
        size = size << 8 | reader->header[i];
    if (size > reader->limit)
        return CULVERT_ERROR_TOO_LARGE;
    reader->data = memory_allocate_zero(size + 1);
    if (reader->data == NULL)
        return CULVERT_ERROR_NO_MEMORY;
    reader->size = size;
    return 0;
}

int frame_reader_take(struct frame_reader *reader, const uint8_t *bytes, size_t size, size_t *used)
{
    *used = 0;
    while (reader->data == NULL || missing(reader) > 0) {
        size_t count = missing(reader);
        if (count > size - *used)
            count = size - *used;
        if (count == 0)
            return CULVERT_NEED_MORE;
        uint8_t *place = reader->data == NULL
                             ? reader->header + reader->received
                             : (uint8_t *)reader->data + reader->received - FRAME_HEADER_SIZE;
        memcpy(place, bytes + *used, count);
        *used += count;
        reader->received += count;
        if (reader->received == FRAME_HEADER_SIZE) {
            int error = take_header(reader);
            if (error != 0)
                return error;
        }
    }
    return 0;
}

int frame_receive(struct frame_reader *reader, int socket)
{
    uint8_t piece[PIECE_SIZE];
    int result = CULVERT_NEED_MORE;
    while (result == CULVERT_NEED_MORE) {
        size_t wanted = missing(reader);
        ssize_t count = recv(socket, piece, wanted < sizeof piece ? wanted : sizeof piece, 0);
        size_t used;
        if (count > 0)
            result = frame_reader_take(reader, piece, (size_t)count, &used);
        else if (count == 0)
            result = CULVERT_ERROR_CLOSED;
        else if (errno == EAGAIN || errno == EWOULDBLOCK)
            break;
        else if (errno != EINTR)
            result = -errno;
    }
    explicit_bzero(piece, sizeof piece);
    return result;
}
