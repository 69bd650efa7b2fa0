#include "net/address.h"

#include "base/error.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <uv.h>

static const struct sockaddr_in *as_ipv4(const struct sockaddr_storage *address)
{
    return (const struct sockaddr_in *)(const void *)address;
}

static const struct sockaddr_in6 *as_ipv6(const struct sockaddr_storage *address)
{
    return (const struct sockaddr_in6 *)(const void *)address;
}

int address_parse(const char *host, uint16_t port, struct sockaddr_storage *address)
{
    struct sockaddr_storage parsed;

    memset(&parsed, 0, sizeof(parsed));
    if (uv_ip4_addr(host, port, (struct sockaddr_in *)(void *)&parsed) != 0) {
        memset(&parsed, 0, sizeof(parsed));
        if (uv_ip6_addr(host, port, (struct sockaddr_in6 *)(void *)&parsed) != 0)
            return CULVERT_ERROR_INVALID;
    }
    *address = parsed;
    return 0;
}

socklen_t address_size(const struct sockaddr_storage *address)
{
    switch (address->ss_family) {
    case AF_INET:
        return sizeof(struct sockaddr_in);
    case AF_INET6:
        return sizeof(struct sockaddr_in6);
    default:
        return sizeof(*address);
    }
}

/* RFC 4291 §2.5.5.2 */
static void unmap(struct sockaddr_storage *address)
{
    struct sockaddr_in ipv4 = {.sin_family = AF_INET};
    const struct sockaddr_in6 *ipv6 = as_ipv6(address);
    if (address->ss_family != AF_INET6 || !IN6_IS_ADDR_V4MAPPED(&ipv6->sin6_addr))
        return;
    ipv4.sin_port = ipv6->sin6_port;
    memcpy(&ipv4.sin_addr, ipv6->sin6_addr.s6_addr + 12, sizeof(ipv4.sin_addr));
    memset(address, 0, sizeof(*address));
    memcpy(address, &ipv4, sizeof(ipv4));
}

const char *address_pair_text(int fd, bool is_client, char *out, size_t size)
{
    struct sockaddr_storage own = {.ss_family = AF_UNSPEC};
    struct sockaddr_storage peer = {.ss_family = AF_UNSPEC};
    socklen_t own_size = sizeof(own);
    socklen_t peer_size = sizeof(peer);
    char texts[2][ADDRESS_TEXT_SIZE];
    if (getsockname(fd, (struct sockaddr *)&own, &own_size) != 0 ||
        getpeername(fd, (struct sockaddr *)&peer, &peer_size) != 0 ||
        (own.ss_family != AF_INET && own.ss_family != AF_INET6))
        return NULL;
    unmap(&own);
    unmap(&peer);
    address_text(is_client ? &own : &peer, texts[0]);
    address_text(is_client ? &peer : &own, texts[1]);
    int written = snprintf(out, size, "%s %s", texts[0], texts[1]);
    return written > 0 && (size_t)written < size ? out : NULL;
}

uint16_t address_port(const struct sockaddr_storage *address)
{
    switch (address->ss_family) {
    case AF_INET:
        return ntohs(as_ipv4(address)->sin_port);
    case AF_INET6:
        return ntohs(as_ipv6(address)->sin6_port);
    default:
        return 0;
    }
}

void address_text(const struct sockaddr_storage *address, char out[static ADDRESS_TEXT_SIZE])
{
    char host[INET6_ADDRSTRLEN] = "";

    switch (address->ss_family) {
    case AF_INET:
        inet_ntop(AF_INET, &as_ipv4(address)->sin_addr, host, sizeof(host));
        snprintf(out, ADDRESS_TEXT_SIZE, "%s:%u", host, (unsigned)address_port(address));
        break;
    case AF_INET6:
        inet_ntop(AF_INET6, &as_ipv6(address)->sin6_addr, host, sizeof(host));
        snprintf(out, ADDRESS_TEXT_SIZE, "[%s]:%u", host, (unsigned)address_port(address));
        break;
    case AF_UNIX:
        snprintf(out, ADDRESS_TEXT_SIZE, "local socket");
        break;
    default:
        snprintf(out, ADDRESS_TEXT_SIZE, "unknown address");
        break;
    }
}

/* The IPv4 address, also of an IPv4-mapped IPv6 one, in network order. */
static bool ipv4_of(const struct sockaddr_storage *address, uint32_t *ipv4)
{
    if (address->ss_family == AF_INET) {
        *ipv4 = as_ipv4(address)->sin_addr.s_addr;
        return true;
    }
    if (address->ss_family == AF_INET6 && IN6_IS_ADDR_V4MAPPED(&as_ipv6(address)->sin6_addr)) {
        memcpy(ipv4, as_ipv6(address)->sin6_addr.s6_addr + 12, sizeof(*ipv4));
        return true;
    }
    return false;
}

bool address_is_loopback(const struct sockaddr_storage *address)
{
    uint32_t ipv4 = 0;

    if (ipv4_of(address, &ipv4))
        return (ntohl(ipv4) >> 24) == IN_LOOPBACKNET;
    return address->ss_family == AF_INET6 && IN6_IS_ADDR_LOOPBACK(&as_ipv6(address)->sin6_addr);
}

bool address_equals_host(const struct sockaddr_storage *a, const struct sockaddr_storage *b)
{
    uint32_t first = 0;
    uint32_t second = 0;
    bool first_is_ipv4 = ipv4_of(a, &first);
    bool second_is_ipv4 = ipv4_of(b, &second);

    if (first_is_ipv4 || second_is_ipv4)
        return first_is_ipv4 && second_is_ipv4 && first == second;
    return a->ss_family == AF_INET6 && b->ss_family == AF_INET6 &&
           IN6_ARE_ADDR_EQUAL(&as_ipv6(a)->sin6_addr, &as_ipv6(b)->sin6_addr) &&
           as_ipv6(a)->sin6_scope_id == as_ipv6(b)->sin6_scope_id;
}

void address_set_port(struct sockaddr_storage *address, uint16_t port)
{
    if (address->ss_family == AF_INET)
        ((struct sockaddr_in *)(void *)address)->sin_port = htons(port);
    else if (address->ss_family == AF_INET6)
        ((struct sockaddr_in6 *)(void *)address)->sin6_port = htons(port);
}
