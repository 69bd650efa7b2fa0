#include "policy/whitelist.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A rule that parses must be well formed, and must allow its own network's first address. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct whitelist list;
    char why[128];
    char *rule = malloc(size + 1);
    if (rule == NULL)
        return 0;
    memcpy(rule, data, size);
    rule[size] = '\0';
    whitelist_init(&list);
    if (whitelist_add(&list, rule, why, sizeof why) == 0) {
        const struct whitelist_rule *parsed = &list.rules[0];
        struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = htons(parsed->ports.low)};
        struct sockaddr_storage address = {0};
        memcpy(&in6.sin6_addr, parsed->network.address, sizeof parsed->network.address);
        memcpy(&address, &in6, sizeof in6);
        if (parsed->ports.low == 0 || parsed->ports.low > parsed->ports.high ||
            parsed->network.prefix > 128)
            abort();
        if (parsed->host[0] == '\0') {
            if (!whitelist_allows(&list, "x", &address))
                abort();
        } else if (!whitelist_may_resolve(&list, parsed->host, parsed->ports.high)) {
            abort();
        }
    } else if (memchr(why, 0, sizeof why) == NULL) {
        abort();
    }
    whitelist_deinit(&list);
    free(rule);
    return 0;
}
