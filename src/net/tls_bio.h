/*
 * The BIO between OpenSSL and a socket. OpenSSL reads each record in two pieces and writes each one
 * by itself; here a read takes as much as there is in the socket, and what is written is gathered
 * until tls_bio_send. The two buffers are chunks of the loop's pool, held only while not empty;
 * what stays in them is moved to chunks of its size.
 */
#ifndef NET_TLS_BIO_H
#define NET_TLS_BIO_H

#include "base/chunk.h"
#include "base/parking.h"
#include "net/tls_hello.h"

#include <openssl/bio.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct tls_bio_buffer {
    struct chunk *chunk;
    size_t from;
    size_t to;
};

struct tls_bio {
    int fd;
    struct chunk_pool *pool;
    struct tls_bio_buffer in;
    struct tls_bio_buffer out;
    struct parking parking;
    uint8_t *packed; /* between two pools: what was in `in`, then in `out` */
    size_t packed_in;
    size_t packed_out;
    int read_error;   /* of the socket or of memory; stays */
    int write_error;  /* the same; what the peer sent before it can still be read */
    bool is_dry;      /* the socket had no more when it was last read */
    bool is_eof;      /* the peer has closed */
    bool is_foreign;  /* what came first is no TLS record */
    bool has_started; /* at least one byte came */
    bool is_server;   /* the size of a ClientHello is bounded */
    struct tls_hello hello;
};

/* For one context; freed with BIO_meth_free after the last BIO. NULL when memory has run out. */
BIO_METHOD *tls_bio_method_new(void);

/* A BIO on `state`, which is borrowed. NULL when memory has run out. */
BIO *tls_bio_new(const BIO_METHOD *method, struct tls_bio *state);

/* Makes sure that there is an output buffer. Returns how much room is in it, 0 without memory. */
size_t tls_bio_reserve(struct tls_bio *bio);

/* Sends what was gathered. Returns 0 when nothing is left, -EAGAIN, or an error, which stays; the
 * output is dropped then. */
int tls_bio_send(struct tls_bio *bio);

/* Moves what is in the buffers to memory that belongs to no pool, so that another thread may go on.
 * Returns 0, or CULVERT_ERROR_NO_MEMORY and leaves everything as it was. */
int tls_bio_pack(struct tls_bio *bio);
/* Moves it back into buffers of `pool`. Returns 0; CULVERT_ERROR_NO_MEMORY: it is still packed. */
int tls_bio_unpack(struct tls_bio *bio, struct chunk_pool *pool);

/* Drops both buffers. */
void tls_bio_clear(struct tls_bio *bio);

static inline size_t tls_bio_buffer_bytes(const struct tls_bio_buffer *buffer)
{
    return buffer->to - buffer->from;
}

#endif
