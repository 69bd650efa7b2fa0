/*
 * The payer (base/payer.h) of an agent at a gateway: the owner of its key; for agents without keys
 * their network (IPv4 /24, IPv6 /56), so that many agents of one stranger count as one.
 */
#ifndef GATEWAY_PAYER_NAME_H
#define GATEWAY_PAYER_NAME_H

#include <stdint.h>

enum { PAYER_NAME_SIZE = 160 };

/* `key_id`: 0 without a key; `user`: the key's owner, may be ""; `address`: 16 bytes, IPv4 as
 * mapped. */
void payer_name(int64_t key_id, const char *user, const char *agent, const uint8_t address[16],
                char out[static PAYER_NAME_SIZE]);

#endif
