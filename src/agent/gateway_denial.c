#include "agent/gateway_denial.h"

#include "base/error.h"
#include "base/log.h"
#include "net/address.h"

#include <string.h>

void gateway_denial_add(struct whitelist *list, const struct sockaddr_storage *address)
{
    struct sockaddr_storage denied = *address;
    if (address_is_loopback(address) &&
        address_parse("0.0.0.0", address_port(address), &denied) != 0)
        return;
    if (whitelist_deny(list, &denied) != 0)
        log_error("out of memory: the gateway's address could not be denied");
}

static void on_resolved(struct lookup *lookup, int error, const struct addrinfo *info)
{
    struct gateway_denial *denial = lookup->holder;
    for (; error == 0 && info != NULL; info = info->ai_next) {
        struct sockaddr_storage address = {.ss_family = AF_UNSPEC};
        if (info->ai_family != AF_INET && info->ai_family != AF_INET6)
            continue;
        memcpy(&address, info->ai_addr, info->ai_addrlen);
        address_set_port(&address, denial->port);
        gateway_denial_add(denial->list, &address);
    }
}

void gateway_denial_start(struct gateway_denial *denial, struct loop *loop, struct whitelist *list,
                          const char *host, uint16_t port)
{
    struct sockaddr_storage known[RESOLVER_KNOWN_MAX];
    unsigned count = resolver_know(host, known);
    for (unsigned i = 0; i < count; i++) {
        address_set_port(&known[i], port);
        gateway_denial_add(list, &known[i]);
    }
    if (count > 0 || list->count == 0 || list_node_is_linked(&denial->lookup.node))
        return;
    denial->list = list;
    denial->port = port;
    denial->lookup.done = on_resolved;
    denial->lookup.holder = denial;
    if (resolver_start(loop, &denial->lookup, host, NULL) == CULVERT_ERROR_NO_MEMORY)
        log_error("out of memory: the gateway's address could not be denied");
}

void gateway_denial_cancel(struct gateway_denial *denial)
{
    resolver_cancel(&denial->lookup);
}
