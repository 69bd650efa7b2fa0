/*
 * Input: a byte for the size of a piece, then what a client sends. The verdict is the same however
 * the bytes are cut into pieces, and a handshake message in the clear that declares too much is
 * found where it is the first.
 */
#include "net/tls_hello.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { RECORD_HEAD = 5, MESSAGE_HEAD = 4, HANDSHAKE = 22, CLIENT_HELLO = 1 };

static void require(bool condition)
{
    if (!condition)
        abort();
}

static bool take(const uint8_t *data, size_t size, size_t piece)
{
    struct tls_hello hello = {0};
    bool is_good = true;
    for (size_t i = 0; i < size && is_good; i += piece)
        is_good = tls_hello_take(&hello, data + i, size - i < piece ? size - i : piece);
    return is_good;
}

/* Whether the first record holds the header of a ClientHello, which declares more than is taken. */
static bool begins_too_large(const uint8_t *data, size_t size)
{
    if (size < RECORD_HEAD + MESSAGE_HEAD || data[0] != HANDSHAKE ||
        data[RECORD_HEAD] != CLIENT_HELLO)
        return false;
    size_t record = (size_t)data[3] << 8 | data[4];
    size_t declared = (size_t)data[6] << 16 | (size_t)data[7] << 8 | data[8];
    return record >= MESSAGE_HEAD && declared > TLS_HELLO_MAX;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    size_t piece = (size_t)data[0] + 1;
    data++;
    size--;
    bool is_good = take(data, size, size);
    require(take(data, size, piece) == is_good);
    require(take(data, size, 1) == is_good);
    require(!begins_too_large(data, size) || !is_good);
    return 0;
}
