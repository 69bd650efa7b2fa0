/* The one-shot and the EVP functions initialise all of OpenSSL, about 2 MB that a gateway without
 * TLS never needs otherwise; these initialise nothing. */
#define OPENSSL_SUPPRESS_DEPRECATED

#include "store/secret.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/sha.h>
#include <string.h>
#include <sys/random.h>

enum { RANDOM_SIZE = 32 };

static const char KEY_PREFIX[] = "cvk_";

/* RFC 4648 §5, without padding. */
static void base64url(const uint8_t *bytes, size_t size, char *out)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    uint32_t bits = 0;
    unsigned count = 0;
    for (size_t i = 0; i < size; i++) {
        bits = bits << 8 | bytes[i];
        count += 8;
        while (count >= 6) {
            count -= 6;
            *out++ = digits[bits >> count & 63];
        }
    }
    if (count > 0)
        *out++ = digits[bits << (6 - count) & 63];
    *out = '\0';
}

int secret_make(char key[static STORE_KEY_TEXT_SIZE], uint8_t hash[static STORE_HASH_SIZE])
{
    uint8_t bytes[RANDOM_SIZE];
    size_t filled = 0;
    while (filled < sizeof bytes) {
        ssize_t count = getrandom(bytes + filled, sizeof bytes - filled, 0);
        if (count < 0 && errno != EINTR)
            return -errno;
        if (count > 0)
            filled += (size_t)count;
    }
    memcpy(key, KEY_PREFIX, sizeof KEY_PREFIX);
    base64url(bytes, sizeof bytes, key + sizeof KEY_PREFIX - 1);
    explicit_bzero(bytes, sizeof bytes);
    secret_hash(key, strlen(key), hash);
    return 0;
}

void secret_hash(const char *key, size_t size, uint8_t hash[static STORE_HASH_SIZE])
{
    SHA256_CTX context;
    SHA256_Init(&context);
    SHA256_Update(&context, key, size);
    SHA256_Final(hash, &context);
    explicit_bzero(&context, sizeof context);
}

bool secret_equals(const uint8_t a[static STORE_HASH_SIZE], const uint8_t b[static STORE_HASH_SIZE])
{
    return CRYPTO_memcmp(a, b, STORE_HASH_SIZE) == 0;
}
