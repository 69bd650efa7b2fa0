#include "net/tls_bio.h"

#include "base/error.h"
#include "base/memory.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

/* RFC 8446 §5.1: a record begins with its content type; a first record is handshake or alert. */
enum { RECORD_ALERT = 21, RECORD_HANDSHAKE = 22 };

/* Bytes of one read: few enough to be still in the CPU's cache when they are decrypted. */
enum { READ_SIZE = 128 * 1024 };
_Static_assert((int)READ_SIZE <= (int)CHUNK_LARGE_SIZE, "a read fits in a chunk");

static bool take_chunk(struct tls_bio *bio, struct tls_bio_buffer *buffer)
{
    if (buffer->chunk == NULL) {
        buffer->chunk = chunk_pool_get(bio->pool, CHUNK_LARGE);
        buffer->from = 0;
        buffer->to = 0;
    }
    return buffer->chunk != NULL;
}

/* Moves what is in the buffer to another chunk, which may be NULL. */
static bool move_to(struct tls_bio_buffer *buffer, struct chunk *chunk)
{
    size_t bytes = tls_bio_buffer_bytes(buffer);
    if (chunk == NULL)
        return false;
    memcpy(chunk->data, buffer->chunk->data + buffer->from, bytes);
    chunk_unref(buffer->chunk);
    *buffer = (struct tls_bio_buffer){chunk, 0, bytes};
    return true;
}

static bool is_too_large(const struct tls_bio_buffer *buffer)
{
    return buffer->chunk != NULL && tls_bio_buffer_bytes(buffer) < buffer->chunk->size / 4 * 3;
}

static bool shrink(struct tls_bio_buffer *buffer, struct chunk_pool *pool)
{
    return !is_too_large(buffer) ||
           move_to(buffer, chunk_pool_get_exact(pool, tls_bio_buffer_bytes(buffer)));
}

static bool settle(struct parking *parking, struct chunk_pool *pool)
{
    struct tls_bio *bio = CONTAINER_OF(parking, struct tls_bio, parking);
    bool is_done = shrink(&bio->in, pool);
    return !shrink(&bio->out, pool) || !is_done;
}

static void park(struct tls_bio *bio)
{
    bio->parking.settle = settle;
    parking_enter(&bio->parking, bio->pool);
}

static void give_chunk(struct tls_bio_buffer *buffer)
{
    if (buffer->chunk != NULL)
        chunk_unref(buffer->chunk);
    *buffer = (struct tls_bio_buffer){NULL, 0, 0};
}

/* Returns whether bytes came. */
static bool receive(struct tls_bio *bio)
{
    struct tls_bio_buffer *in = &bio->in;
    ssize_t count;

    if (!take_chunk(bio, in)) {
        bio->read_error = CULVERT_ERROR_NO_MEMORY;
        return false;
    }
    do {
        count = recv(bio->fd, in->chunk->data, READ_SIZE, 0);
    } while (count < 0 && errno == EINTR);

    if (count <= 0) {
        give_chunk(in);
        if (count == 0)
            bio->is_eof = true;
        else if (errno == EAGAIN || errno == EWOULDBLOCK)
            bio->is_dry = true;
        else
            bio->read_error = -errno;
        return false;
    }
    in->to = (size_t)count;
    park(bio);
    if (bio->is_server && !tls_hello_take(&bio->hello, in->chunk->data, in->to)) {
        bio->read_error = CULVERT_ERROR_TOO_LARGE;
        give_chunk(in);
        return false;
    }
    bio->is_dry = in->to < READ_SIZE;
    if (!bio->has_started) {
        bio->has_started = true;
        bio->is_foreign =
            in->chunk->data[0] != RECORD_HANDSHAKE && in->chunk->data[0] != RECORD_ALERT;
    }
    return true;
}

static int read_bio(BIO *base, char *data, int size)
{
    struct tls_bio *bio = BIO_get_data(base);
    struct tls_bio_buffer *in = &bio->in;

    BIO_clear_retry_flags(base);
    if (size <= 0)
        return 0;
    if (in->chunk == NULL) {
        if (bio->read_error != 0)
            return -1;
        if (bio->is_eof)
            return 0;
        if (bio->is_dry || !receive(bio)) {
            if (bio->is_dry)
                BIO_set_retry_read(base);
            return bio->is_eof ? 0 : -1;
        }
    }
    size_t count = tls_bio_buffer_bytes(in);
    if (count > (size_t)size)
        count = (size_t)size;
    memcpy(data, in->chunk->data + in->from, count);
    in->from += count;
    if (in->from == in->to)
        give_chunk(in);
    return (int)count;
}

static int write_bio(BIO *base, const char *data, int size)
{
    struct tls_bio *bio = BIO_get_data(base);
    struct tls_bio_buffer *out = &bio->out;

    BIO_clear_retry_flags(base);
    if (size <= 0)
        return 0;
    if (bio->write_error != 0)
        return -1;
    size_t room = tls_bio_reserve(bio);
    if (out->chunk == NULL) {
        bio->write_error = CULVERT_ERROR_NO_MEMORY;
        return -1;
    }
    if (room == 0) {
        BIO_set_retry_write(base);
        return -1;
    }
    size_t count = room < (size_t)size ? room : (size_t)size;
    memcpy(out->chunk->data + out->to, data, count);
    out->to += count;
    return (int)count;
}

static long control(BIO *base, int command, long number, void *pointer)
{
    struct tls_bio *bio = BIO_get_data(base);

    (void)number;
    (void)pointer;
    switch (command) {
    case BIO_CTRL_FLUSH: /* OpenSSL asks at the end of a flight; we send when we choose */
        return 1;
    case BIO_CTRL_EOF:
        return bio->is_eof;
    case BIO_CTRL_PENDING:
        return (long)tls_bio_buffer_bytes(&bio->in);
    case BIO_CTRL_WPENDING:
        return (long)tls_bio_buffer_bytes(&bio->out);
    default:
        return 0;
    }
}

BIO_METHOD *tls_bio_method_new(void)
{
    BIO_METHOD *method = BIO_meth_new(BIO_TYPE_SOURCE_SINK, "culvert");

    if (method == NULL)
        return NULL;
    if (BIO_meth_set_read(method, read_bio) != 1 || BIO_meth_set_write(method, write_bio) != 1 ||
        BIO_meth_set_ctrl(method, control) != 1) {
        BIO_meth_free(method);
        return NULL;
    }
    return method;
}

BIO *tls_bio_new(const BIO_METHOD *method, struct tls_bio *state)
{
    BIO *base = BIO_new(method);

    if (base != NULL) {
        BIO_set_data(base, state);
        BIO_set_init(base, 1);
    }
    return base;
}

size_t tls_bio_reserve(struct tls_bio *bio)
{
    struct tls_bio_buffer *out = &bio->out;

    if (!take_chunk(bio, out))
        return 0;
    park(bio);
    if (out->chunk->class == CHUNK_EXACT && !move_to(out, chunk_pool_get(bio->pool, CHUNK_LARGE)))
        return 0;
    if (out->from != 0 && out->to == out->chunk->size) {
        memmove(out->chunk->data, out->chunk->data + out->from, out->to - out->from);
        out->to -= out->from;
        out->from = 0;
    }
    return out->chunk->size - out->to;
}

int tls_bio_send(struct tls_bio *bio)
{
    struct tls_bio_buffer *out = &bio->out;

    while (out->from < out->to) {
        ssize_t count =
            send(bio->fd, out->chunk->data + out->from, out->to - out->from, MSG_NOSIGNAL);
        if (count >= 0) {
            out->from += (size_t)count;
        } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
            return -EAGAIN;
        } else if (errno != EINTR) {
            if (bio->write_error == 0)
                bio->write_error = -errno;
            break;
        }
    }
    give_chunk(out);
    return bio->write_error;
}

static void pack_buffer(struct tls_bio_buffer *buffer, uint8_t *to)
{
    memcpy(to, buffer->chunk->data + buffer->from, tls_bio_buffer_bytes(buffer));
    give_chunk(buffer);
}

int tls_bio_pack(struct tls_bio *bio)
{
    size_t in = tls_bio_buffer_bytes(&bio->in);
    size_t out = tls_bio_buffer_bytes(&bio->out);
    if (in + out > 0) {
        bio->packed = memory_allocate(in + out);
        if (bio->packed == NULL)
            return CULVERT_ERROR_NO_MEMORY;
    }
    bio->packed_in = in;
    bio->packed_out = out;
    if (in > 0)
        pack_buffer(&bio->in, bio->packed);
    if (out > 0)
        pack_buffer(&bio->out, bio->packed + in);
    parking_leave(&bio->parking);
    bio->pool = NULL;
    return 0;
}

static bool unpack_buffer(struct tls_bio *bio, struct tls_bio_buffer *buffer, const uint8_t *from,
                          size_t size)
{
    if (size == 0)
        return true;
    if (!take_chunk(bio, buffer))
        return false;
    memcpy(buffer->chunk->data, from, size);
    buffer->to = size;
    park(bio);
    return true;
}

int tls_bio_unpack(struct tls_bio *bio, struct chunk_pool *pool)
{
    bio->pool = pool;
    if (bio->packed == NULL)
        return 0;
    if (!unpack_buffer(bio, &bio->in, bio->packed, bio->packed_in) ||
        !unpack_buffer(bio, &bio->out, bio->packed + bio->packed_in, bio->packed_out)) {
        give_chunk(&bio->in);
        give_chunk(&bio->out);
        return CULVERT_ERROR_NO_MEMORY;
    }
    memory_free(bio->packed);
    bio->packed = NULL;
    return 0;
}

void tls_bio_clear(struct tls_bio *bio)
{
    parking_leave(&bio->parking);
    give_chunk(&bio->in);
    give_chunk(&bio->out);
    memory_free(bio->packed);
    bio->packed = NULL;
}
