#include "gateway/front.h"

#include "base/error.h"
#include "base/log_stranger.h"
#include "codec/proxy_header.h"
#include "gateway/address_group.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

enum { MAPPED_SIZE = 12 }; /* of the prefix before an IPv4 address (RFC 4291 §2.5.5.2) */

static void set_mapped(uint8_t *address, const void *ipv4)
{
    static const uint8_t mapped[MAPPED_SIZE] = {[10] = 0xff, [11] = 0xff};
    memcpy(address, mapped, MAPPED_SIZE);
    memcpy(address + MAPPED_SIZE, ipv4, HOST_ADDRESS_SIZE - MAPPED_SIZE);
}

static void judge(struct front *front)
{
    front->is_trusted = false;
    for (size_t i = 0; i < front->trusted_count && !front->is_trusted; i++)
        front->is_trusted = network_covers(&front->trusted[i], front->address);
}

/* Makes the address's text; a port that is not known is left out. */
static void describe(struct front *front, uint16_t port, bool has_port)
{
    struct sockaddr_storage storage = {.ss_family = AF_UNSPEC};
    if (network_is_mapped(front->address)) {
        struct sockaddr_in *ipv4 = (struct sockaddr_in *)(void *)&storage;
        ipv4->sin_family = AF_INET;
        memcpy(&ipv4->sin_addr, front->address + MAPPED_SIZE, sizeof ipv4->sin_addr);
    } else {
        struct sockaddr_in6 *ipv6 = (struct sockaddr_in6 *)(void *)&storage;
        ipv6->sin6_family = AF_INET6;
        memcpy(&ipv6->sin6_addr, front->address, sizeof ipv6->sin6_addr);
    }
    address_set_port(&storage, port);
    address_text(&storage, front->text);
    char *colon = strrchr(front->text, ':');
    if (!has_port && colon != NULL)
        *colon = '\0';
}

void front_init(struct front *front, const struct network *trusted, size_t trusted_count,
                const struct conn *conn)
{
    struct sockaddr_storage peer = {.ss_family = AF_UNSPEC};
    socklen_t size = sizeof peer;
    *front = (struct front){.trusted = trusted, .trusted_count = trusted_count};
    conn_peer_text(conn, front->text, sizeof front->text);
    if (getpeername(conn_descriptor(conn), (struct sockaddr *)&peer, &size) != 0)
        return; /* it is gone already */
    if (peer.ss_family == AF_INET)
        set_mapped(front->address, &((const struct sockaddr_in *)(const void *)&peer)->sin_addr);
    else if (peer.ss_family == AF_INET6)
        memcpy(front->address, &((const struct sockaddr_in6 *)(const void *)&peer)->sin6_addr,
               sizeof front->address);
    else
        return;
    front->has_address = true;
    judge(front);
    describe(front, address_port(&peer), true); /* IPv4 as such, though an IPv6 socket has it */
}

uint64_t front_group(const struct front *front, bool limits_loopback)
{
    bool is_exempt = !limits_loopback && address_group_is_loopback(front->address);
    if (!front->has_address || front->is_trusted || is_exempt)
        return ADDRESS_GROUP_NONE;
    return address_group(front->address);
}

/* ---- the PROXY protocol ---- */

static void take_header(struct front *front, const struct proxy_header *header)
{
    if (header->kind == PROXY_HEADER_NONE)
        return;
    if (header->kind == PROXY_HEADER_IPV4)
        set_mapped(front->address, header->source);
    else
        memcpy(front->address, header->source, sizeof front->address);
    judge(front);
    describe(front, header->source_port, true);
}

/* What the bytes begin with: as proxy_header_parse, but whoever is not trusted is only found out.
 */
static int look(struct front *front, const uint8_t *bytes, size_t size, size_t *used)
{
    struct proxy_header header;
    if (!front->is_trusted) {
        if (proxy_header_find(bytes, size) != 0)
            return proxy_header_find(bytes, size);
        log_stranger(front->text,
                     "a PROXY header came from %s, which no --trusted-proxy names: the connection "
                     "is closed",
                     front->text);
        return CULVERT_ERROR_REFUSED;
    }
    int result = proxy_header_parse(bytes, size, &header, used);
    if (result == 0)
        take_header(front, &header);
    else if (result == CULVERT_ERROR_PROTOCOL || result == CULVERT_ERROR_TOO_LARGE)
        log_stranger(front->text, "the PROXY header from %s is %s: the connection is closed",
                     front->text, result == CULVERT_ERROR_PROTOCOL ? "malformed" : "too large");
    return result;
}

/* Takes bytes that were only looked at off the socket. */
static int consume(const struct conn *conn, uint8_t *bytes, size_t size)
{
    ssize_t got = recv(conn_descriptor(conn), bytes, size, 0);
    return got == (ssize_t)size ? 0 : CULVERT_ERROR_CLOSED;
}

int front_read(struct front *front, struct head_reader *reader, struct conn *conn)
{
    uint8_t bytes[PROXY_HEADER_MAX_SIZE];
    size_t kept = reader->size;
    size_t used = 0;
    if (kept > 0)
        memcpy(bytes, reader->buffer, kept);
    ssize_t got =
        recv(conn_descriptor(conn), bytes + kept, sizeof bytes - kept, MSG_PEEK | MSG_DONTWAIT);
    if (got < 0)
        return errno == EAGAIN || errno == EINTR ? CULVERT_NEED_MORE : -errno;
    if (got == 0)
        return CULVERT_ERROR_CLOSED;
    int result = look(front, bytes, kept + (size_t)got, &used);
    if (result == CULVERT_ERROR_NOT_FOUND) {
        front->is_passed = true;
        return 0;
    }
    if (result == CULVERT_NEED_MORE) {
        int error = consume(conn, bytes + kept, (size_t)got);
        if (error == 0)
            error = head_reader_keep(reader, bytes + kept, (size_t)got);
        return error == 0 ? CULVERT_NEED_MORE : error;
    }
    if (result != 0)
        return result;
    head_reader_deinit(reader);
    front->is_passed = true;
    return consume(conn, bytes + kept, used - kept);
}

/* ---- X-Forwarded-For ---- */

static struct text trim(struct text text)
{
    while (text.size > 0 && (text.data[0] == ' ' || text.data[0] == '\t')) {
        text.data++;
        text.size--;
    }
    while (text.size > 0 && (text.data[text.size - 1] == ' ' || text.data[text.size - 1] == '\t'))
        text.size--;
    return text;
}

/* Takes the part behind the last comma, or all of it, off `rest`. */
static struct text take_last(struct text *rest)
{
    size_t start = rest->size;
    while (start > 0 && rest->data[start - 1] != ',')
        start--;
    struct text part = {rest->data + start, rest->size - start};
    rest->size = start > 0 ? start - 1 : 0;
    return trim(part);
}

static bool is_address(enum host_kind kind)
{
    return kind == HOST_IPV4 || kind == HOST_IPV6;
}

/* An address, or, as some proxies write it, an address and a port. Returns whether it is one. */
static bool take_hop(struct front *front, struct text hop)
{
    uint16_t port = 0;
    bool has_port = false;
    uint8_t address[HOST_ADDRESS_SIZE];
    if (!is_address(host_parse(hop, address))) {
        struct text host;
        has_port = host_take_part(&hop, &host);
        host_strip_brackets(&host);
        if (!is_address(host_parse(host, address)) || (has_port && str_parse_port(hop, &port) != 0))
            return false;
    }
    memcpy(front->address, address, sizeof address);
    judge(front);
    describe(front, port, has_port);
    return true;
}

void front_take_fields(struct front *front, const struct http1_head *head)
{
    for (size_t i = head->field_count; i > 0; i--) {
        struct text rest = head->fields[i - 1].value;
        if (!text_equals_ignore_case(head->fields[i - 1].name, "X-Forwarded-For"))
            continue;
        while (rest.size > 0) {
            struct text hop = take_last(&rest);
            if (!front->is_trusted || (hop.size > 0 && !take_hop(front, hop)))
                return;
        }
    }
}
