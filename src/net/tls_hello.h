/*
 * Bounds the size that a client may declare for a ClientHello. OpenSSL allocates the declared size
 * of a message after its header, up to 128 KiB for a ClientHello. This reads the bytes in the order
 * in which OpenSSL gets them, up to the first encrypted record. It does no I/O.
 */
#ifndef NET_TLS_HELLO_H
#define NET_TLS_HELLO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { TLS_HELLO_MAX = 16 * 1024 }; /* bytes; usual ones have 200 to 3,000 */

/* All zero at first. */
struct tls_hello {
    uint32_t record;      /* bytes of the record still to come */
    uint32_t message;     /* bytes of the handshake message still to come */
    uint8_t head[5];      /* of the next record */
    uint8_t head_size;    /* bytes of it that came */
    uint8_t message_head; /* bytes of the next message's header that came */
    uint8_t type;         /* of the last message */
    bool is_over;         /* what follows is encrypted, or no handshake */
};

/* Returns false when a ClientHello declares more than TLS_HELLO_MAX. */
bool tls_hello_take(struct tls_hello *hello, const uint8_t *data, size_t size);

#endif
