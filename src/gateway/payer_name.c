#include "gateway/payer_name.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

enum { IPV4_NETWORK = 15, IPV6_NETWORK = 7 }; /* bytes of a 16-byte address */

void payer_name(int64_t key_id, const char *user, const char *agent, const uint8_t address[16],
                char out[static PAYER_NAME_SIZE])
{
    static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
    if (key_id != 0) {
        bool has_owner = user[0] != '\0';
        snprintf(out, PAYER_NAME_SIZE, "%s %s", has_owner ? "user" : "agent",
                 has_owner ? user : agent);
        return;
    }
    int size = memcmp(address, mapped, sizeof(mapped)) == 0 ? IPV4_NETWORK : IPV6_NETWORK;
    int used = snprintf(out, PAYER_NAME_SIZE, "network ");
    for (int i = 0; i < size; i++)
        used += snprintf(out + used, PAYER_NAME_SIZE - (size_t)used, "%02x", address[i]);
}
