#include "agent/gateway_denial.h"

#include "base/log.h"
#include "base/memory.h"
#include "net/address.h"

#include <netdb.h>
#include <string.h>

/* A question to the resolver; may outlive who asked, because a running one cannot be called back.
 */
struct gateway_lookup {
    uv_getaddrinfo_t request;
    struct gateway_denial *denial; /* NULL: nobody waits */
    struct whitelist *list;
    uint16_t port;
};

void gateway_denial_add(struct whitelist *list, const struct sockaddr_storage *address)
{
    struct sockaddr_storage denied = *address;
    if (address_is_loopback(address) &&
        address_parse("0.0.0.0", address_port(address), &denied) != 0)
        return;
    if (whitelist_deny(list, &denied) != 0)
        log_error("out of memory: the gateway's address could not be denied");
}

static void deny_all(struct whitelist *list, const struct addrinfo *info, uint16_t port)
{
    for (; info != NULL; info = info->ai_next) {
        struct sockaddr_storage address = {.ss_family = AF_UNSPEC};
        if (info->ai_family != AF_INET && info->ai_family != AF_INET6)
            continue;
        memcpy(&address, info->ai_addr, info->ai_addrlen);
        address_set_port(&address, port);
        gateway_denial_add(list, &address);
    }
}

static void on_resolved(uv_getaddrinfo_t *request, int status, struct addrinfo *list)
{
    struct gateway_lookup *lookup = request->data;
    if (lookup->denial != NULL) {
        lookup->denial->lookup = NULL;
        if (status == 0)
            deny_all(lookup->list, list, lookup->port);
    }
    uv_freeaddrinfo(list);
    memory_free(lookup);
}

static int look_up(struct gateway_denial *denial, struct loop *loop, struct whitelist *list,
                   const char *host, uint16_t port)
{
    static const struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    struct gateway_lookup *lookup = memory_allocate_zero(sizeof(*lookup));
    if (lookup == NULL)
        return UV_ENOMEM;
    lookup->denial = denial;
    lookup->list = list;
    lookup->port = port;
    lookup->request.data = lookup;
    int error = uv_getaddrinfo(&loop->uv, &lookup->request, on_resolved, host, NULL, &hints);
    if (error != 0) {
        memory_free(lookup);
        return error;
    }
    denial->lookup = lookup;
    return 0;
}

void gateway_denial_start(struct gateway_denial *denial, struct loop *loop, struct whitelist *list,
                          const char *host, uint16_t port)
{
    struct sockaddr_storage address;
    if (address_parse(host, port, &address) == 0) {
        gateway_denial_add(list, &address);
        return;
    }
    if (list->count == 0 || denial->lookup != NULL)
        return;
    if (look_up(denial, loop, list, host, port) == UV_ENOMEM)
        log_error("out of memory: the gateway's address could not be denied");
}

void gateway_denial_cancel(struct gateway_denial *denial)
{
    if (denial->lookup == NULL)
        return;
    denial->lookup->denial = NULL;
    uv_cancel((uv_req_t *)&denial->lookup->request);
    denial->lookup = NULL;
}
