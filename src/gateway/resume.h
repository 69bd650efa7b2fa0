/*
 * A link gets another carrier, or an express one beside it. The handshake's numbers and proof
 * travel to the worker of the member whose link it names, which alone knows the link's secret, and
 * come back with a verdict before a key or a script costs anything. Then key and script are asked
 * as for any login, and the carrier goes over to the member's worker. Whoever is not let in hears
 * the same sentence, whatever was wrong, and the link goes on as it was.
 */
#ifndef GATEWAY_RESUME_H
#define GATEWAY_RESUME_H

#include "carrier/carrier.h"
#include "codec/message.h"
#include "gateway/registry.h"
#include "net/address.h"
#include "net/loop.h"
#include "store/store.h"
#include "tunnel/link_proof.h"

#include <stdint.h>

struct gateway;
struct visitor;

enum resume_verdict {
    RESUME_UNKNOWN, /* no such link, or its proof has been used up by a later carrier */
    RESUME_WRONG,   /* a proof that is not right, or another agent's name */
    RESUME_RIGHT,
};

/* Belongs to the message while it travels, else to the visitor. */
struct resumption {
    struct loop_message message; /* between the two workers */
    struct gateway *gateway;
    struct member_ref member; /* whose link it is */
    unsigned asker;           /* the visitor's worker */
    uint64_t visitor;
    enum resume_verdict verdict;
    uint8_t nonce[CARRIER_NONCE_SIZE];
    struct message_handshake handshake; /* without its texts */
    char key[MESSAGE_MAX_KEY + 1];
    /* of the agent that logs in */
    char name[STORE_NAME_SIZE];
    char user[STORE_NAME_SIZE];
    char address[ADDRESS_TEXT_SIZE];
    int64_t key_id;
    struct carrier_cargo *cargo; /* on its way to the member */
};

/* Has the proof checked; then the login goes on with the key, or the visitor is refused. */
void resume_begin(struct visitor *visitor, const struct message_handshake *handshake);

/* The visitor may log in: gives its carrier to the member, and ends it. */
void resume_finish(struct visitor *visitor);

/* NULL: nothing. */
void resumption_free(struct resumption *resumption);

#endif
