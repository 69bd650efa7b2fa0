#include "codec/websocket.h"

#include "codec/base64.h"
#include "codec/sha1.h"

_Static_assert(BASE64_SIZE(16) == WEBSOCKET_KEY_SIZE, "RFC 6455 §4.1 item 7");
_Static_assert(BASE64_SIZE(SHA1_SIZE) == WEBSOCKET_ACCEPT_SIZE, "RFC 6455 §4.2.2 item 5.4");

void websocket_accept_value(const char *key, size_t key_size,
                            char out[static WEBSOCKET_ACCEPT_SIZE + 1])
{
    static const char guid[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"; /* RFC 6455 §1.3 */
    struct sha1 sha1;
    uint8_t digest[SHA1_SIZE];
    sha1_init(&sha1);
    sha1_update(&sha1, key, key_size);
    sha1_update(&sha1, guid, sizeof(guid) - 1);
    sha1_final(&sha1, digest);
    base64_encode(digest, sizeof(digest), out);
}

void websocket_key_value(const uint8_t random[static 16], char out[static WEBSOCKET_KEY_SIZE + 1])
{
    base64_encode(random, 16, out);
}

bool websocket_key_is_valid(const char *key, size_t size)
{
    uint8_t nonce[16];
    size_t written;
    return size == WEBSOCKET_KEY_SIZE &&
           base64_decode(key, size, nonce, sizeof(nonce), &written) == 0 &&
           written == sizeof(nonce);
}
