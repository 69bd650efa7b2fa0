/*
 * Whose a link is. A link has a name, which may be known, and a secret, which crosses the wire
 * once, in the welcome. Who resumes it proves to know the secret by HMAC-SHA256 (RFC 2104) with it
 * over the nonce of the new carrier and the epoch as 8 bytes, most significant first. A proof is
 * good for one carrier, since the gateway makes a new nonce for each (docs/protocol.md, "Resume").
 */
#ifndef TUNNEL_LINK_PROOF_H
#define TUNNEL_LINK_PROOF_H

#include "carrier/carrier.h"
#include "codec/message.h"

#include <stdbool.h>
#include <stdint.h>

enum { LINK_NAME_TEXT_SIZE = 2 * MESSAGE_LINK_ID_SIZE + 1 };

struct link_identity {
    uint8_t link[MESSAGE_LINK_ID_SIZE];
    uint8_t secret[MESSAGE_LINK_SECRET_SIZE];
};

/* Makes a new one from the system's random numbers. Returns 0 or CULVERT_ERROR_NO_MEMORY. */
int link_identity_new(struct link_identity *identity);

/* The link's name as hexadecimal digits, terminated. */
void link_name_text(const uint8_t link[static MESSAGE_LINK_ID_SIZE],
                    char out[static LINK_NAME_TEXT_SIZE]);

/* Returns 0 or CULVERT_ERROR_NO_MEMORY. */
int link_proof_make(const uint8_t secret[static MESSAGE_LINK_SECRET_SIZE],
                    const uint8_t nonce[static CARRIER_NONCE_SIZE], uint64_t epoch,
                    uint8_t proof[static MESSAGE_PROOF_SIZE]);

/* In a time that does not depend on the proof. */
bool link_proof_is_right(const uint8_t secret[static MESSAGE_LINK_SECRET_SIZE],
                         const uint8_t nonce[static CARRIER_NONCE_SIZE], uint64_t epoch,
                         const uint8_t proof[static MESSAGE_PROOF_SIZE]);

/* Whether both are the secret of the same process of an agent; never for zeros, which stand for
 * none. Takes as long whatever differs. */
bool link_boot_is_same(const uint8_t a[static MESSAGE_BOOT_SIZE],
                       const uint8_t b[static MESSAGE_BOOT_SIZE]);

#endif
