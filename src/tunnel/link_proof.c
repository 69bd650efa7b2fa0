#include "tunnel/link_proof.h"

#include "base/error.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

int link_identity_new(struct link_identity *identity)
{
    uint8_t random[sizeof(identity->link) + sizeof(identity->secret)];
    if (getrandom(random, sizeof(random), 0) != (ssize_t)sizeof(random))
        return CULVERT_ERROR_NO_MEMORY;
    memcpy(identity->link, random, sizeof(identity->link));
    memcpy(identity->secret, random + sizeof(identity->link), sizeof(identity->secret));
    return 0;
}

void link_name_text(const uint8_t link[static MESSAGE_LINK_ID_SIZE],
                    char out[static LINK_NAME_TEXT_SIZE])
{
    for (size_t i = 0; i < MESSAGE_LINK_ID_SIZE; i++)
        snprintf(out + 2 * i, 3, "%02x", link[i]);
}

int link_proof_make(const uint8_t secret[static MESSAGE_LINK_SECRET_SIZE],
                    const uint8_t nonce[static CARRIER_NONCE_SIZE], uint64_t epoch,
                    uint8_t proof[static MESSAGE_PROOF_SIZE])
{
    uint8_t text[CARRIER_NONCE_SIZE + sizeof(epoch)];
    unsigned size = 0;
    memcpy(text, nonce, CARRIER_NONCE_SIZE);
    for (size_t i = 0; i < sizeof(epoch); i++)
        text[CARRIER_NONCE_SIZE + i] = (uint8_t)(epoch >> (8 * (sizeof(epoch) - 1 - i)));
    const uint8_t *made =
        HMAC(EVP_sha256(), secret, MESSAGE_LINK_SECRET_SIZE, text, sizeof(text), proof, &size);
    return made != NULL && size == MESSAGE_PROOF_SIZE ? 0 : CULVERT_ERROR_NO_MEMORY;
}

bool link_proof_is_right(const uint8_t secret[static MESSAGE_LINK_SECRET_SIZE],
                         const uint8_t nonce[static CARRIER_NONCE_SIZE], uint64_t epoch,
                         const uint8_t proof[static MESSAGE_PROOF_SIZE])
{
    uint8_t expected[MESSAGE_PROOF_SIZE];
    return link_proof_make(secret, nonce, epoch, expected) == 0 &&
           CRYPTO_memcmp(expected, proof, sizeof(expected)) == 0;
}

bool link_boot_is_same(const uint8_t a[static MESSAGE_BOOT_SIZE],
                       const uint8_t b[static MESSAGE_BOOT_SIZE])
{
    static const uint8_t none[MESSAGE_BOOT_SIZE];
    bool is_there = CRYPTO_memcmp(a, none, MESSAGE_BOOT_SIZE) != 0;
    return CRYPTO_memcmp(a, b, MESSAGE_BOOT_SIZE) == 0 && is_there;
}
