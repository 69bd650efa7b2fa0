#include "policy/whitelist.h"

#include "base/error.h"
#include "base/memory.h"
#include "base/str.h"
#include "policy/host.h"

#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

enum { MAPPED_BITS = 96 };

static const uint8_t MAPPED_PREFIX[MAPPED_BITS / 8] = {[10] = 0xff, [11] = 0xff};
static const uint8_t LOOPBACK4[HOST_ADDRESS_SIZE] = {
    [10] = 0xff, [11] = 0xff, [12] = 127, [15] = 1};
static const uint8_t LOOPBACK6[HOST_ADDRESS_SIZE] = {[15] = 1};
static const uint8_t UNSPECIFIED[HOST_ADDRESS_SIZE];

/* Where a connection would go. */
struct target {
    uint8_t address[HOST_ADDRESS_SIZE];
    uint8_t reached[HOST_ADDRESS_SIZE]; /* what a connection to the address reaches */
    uint16_t port;
};

void whitelist_init(struct whitelist *list)
{
    *list = (struct whitelist){0};
}

void whitelist_deinit(struct whitelist *list)
{
    memory_free(list->rules);
    memory_free(list->denied);
    whitelist_init(list);
}

static bool target_of(const struct sockaddr_storage *address, struct target *target)
{
    if (address->ss_family == AF_INET) {
        const struct sockaddr_in *in = (const struct sockaddr_in *)(const void *)address;
        memcpy(target->address, MAPPED_PREFIX, sizeof MAPPED_PREFIX);
        memcpy(target->address + sizeof MAPPED_PREFIX, &in->sin_addr, sizeof in->sin_addr);
        target->port = ntohs(in->sin_port);
    } else if (address->ss_family == AF_INET6) {
        const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)(const void *)address;
        memcpy(target->address, &in6->sin6_addr, sizeof in6->sin6_addr);
        target->port = ntohs(in6->sin6_port);
    } else {
        return false;
    }
    memcpy(target->reached, target->address, sizeof target->reached);
    host_canonical(target->reached);
    return true;
}

static bool is_unspecified(const uint8_t *address)
{
    if (network_is_mapped(address))
        return address[12] == 0; /* RFC 1122 §3.2.1.3: 0.0.0.0/8 is this host on this network */
    return memcmp(address, UNSPECIFIED, HOST_ADDRESS_SIZE) == 0;
}

static bool is_loopback(const uint8_t *address)
{
    if (network_is_mapped(address))
        return address[12] == 127; /* RFC 1122 §3.2.1.3 */
    return memcmp(address, LOOPBACK6, HOST_ADDRESS_SIZE) == 0;
}

/* Addresses that a name must not lead to by itself, since whoever answers for the name chooses
 * them and they mean the agent's own machine or its wire. */
static bool is_special(const uint8_t *address)
{
    static const uint8_t compatible[MAPPED_BITS / 8];
    if (is_loopback(address) || is_unspecified(address))
        return true;
    if (network_is_mapped(address)) {
        bool is_link_local = address[12] == 169 && address[13] == 254; /* RFC 3927 §2.1 */
        bool is_multicast = (address[12] & 0xf0) == 0xe0;              /* RFC 5771 §3 */
        bool is_broadcast = memcmp(address + 12, "\xff\xff\xff\xff", 4) == 0;
        return is_link_local || is_multicast || is_broadcast;
    }
    return memcmp(address, compatible, sizeof compatible) == 0 || /* RFC 4291 §2.5.5.1 */
           (address[0] == 0xfe && (address[1] & 0xc0) == 0x80) || /* link-local, §2.5.6 */
           address[0] == 0xff;                                    /* multicast, §2.7 */
}

/* The piece of the user's rule that is complained about, short enough for a sentence. */
#define PIECE(text) (int)((text).size < 100 ? (text).size : 100), (text).data

static int parse_name(struct text host, struct whitelist_rule *rule, char *why, size_t why_size)
{
    if (host_parse(host, NULL) != HOST_NAME ||
        text_copy(host, rule->host, sizeof rule->host) != 0) {
        if (text_equals(host, "*"))
            snprintf(why, why_size,
                     "* stands alone as a rule that allows everything; write "
                     "0.0.0.0/0:PORT and [::/0]:PORT for every address");
        else
            snprintf(why, why_size, "\"%.*s\" is neither a host name nor an IP address",
                     PIECE(host));
        return CULVERT_ERROR_INVALID;
    }
    size_t size = host.size;
    if (rule->host[size - 1] == '.')
        rule->host[size - 1] = '\0';
    for (char *c = rule->host; *c != '\0'; c++)
        *c = (char)(*c >= 'A' && *c <= 'Z' ? *c - 'A' + 'a' : *c);
    return 0;
}

static int parse_host(struct text text, struct whitelist_rule *rule, char *why, size_t why_size)
{
    struct network_parts parts;
    network_split(text, &parts);
    enum host_kind kind = host_parse(parts.host, NULL);
    if (parts.has_brackets != (kind == HOST_IPV6)) {
        if (parts.has_brackets)
            snprintf(why, why_size, "[%.*s] is not an IPv6 address", PIECE(parts.host));
        else
            snprintf(why, why_size, "the IPv6 address %.*s needs brackets", PIECE(parts.host));
        return CULVERT_ERROR_INVALID;
    }
    if (parts.has_bits || kind == HOST_IPV4 || kind == HOST_IPV6)
        return network_parse(&parts, &rule->network, why, why_size);
    return parse_name(parts.host, rule, why, why_size);
}

static int parse_rule(const char *string, struct whitelist_rule *rule, char *why, size_t why_size)
{
    struct text ports = text_of(string);
    struct text host;
    *rule = (struct whitelist_rule){0};
    if (strcmp(string, "*") == 0) {
        rule->any = true;
        rule->ports = (struct port_range){1, UINT16_MAX};
        return 0;
    }
    if (!host_take_part(&ports, &host)) {
        snprintf(why, why_size,
                 "\"%.100s\" names no port; a target is HOST:PORT, HOST:*, HOST:LO-HI, with a host "
                 "name, an address or a network, or * alone",
                 string);
        return CULVERT_ERROR_INVALID;
    }
    if (memchr(ports.data, ':', ports.size) != NULL) {
        snprintf(why, why_size,
                 "\"%.100s\" has too many colons; an IPv6 address stands in brackets, [::1]:80",
                 string);
        return CULVERT_ERROR_INVALID;
    }
    int error = parse_host(host, rule, why, why_size);
    return error != 0 ? error : port_range_parse(ports, &rule->ports, why, why_size);
}

int whitelist_add(struct whitelist *list, const char *rule, char *why, size_t why_size)
{
    struct whitelist_rule parsed;
    int error = parse_rule(rule, &parsed, why, why_size);
    if (error != 0)
        return error;
    struct whitelist_rule *rules = memory_grow(list->rules, (list->count + 1) * sizeof *rules);
    if (rules == NULL)
        return CULVERT_ERROR_NO_MEMORY;
    list->rules = rules;
    list->rules[list->count++] = parsed;
    return 0;
}

static struct whitelist_denial *find_denial(const struct whitelist *list,
                                            const struct target *target)
{
    for (size_t i = 0; i < list->denied_count; i++) {
        struct target denied;
        if (target_of(&list->denied[i].address, &denied) && denied.port == target->port &&
            memcmp(denied.address, target->address, HOST_ADDRESS_SIZE) == 0)
            return &list->denied[i];
    }
    return NULL;
}

int whitelist_deny(struct whitelist *list, const struct sockaddr_storage *address)
{
    struct target target;
    if (!target_of(address, &target) || target.port == 0)
        return CULVERT_ERROR_INVALID;
    /* An agent that dials its gateway again says the same again. */
    struct whitelist_denial *denial = find_denial(list, &target);
    if (denial != NULL) {
        denial->count++;
        return 0;
    }
    struct whitelist_denial *denied =
        memory_grow(list->denied, (list->denied_count + 1) * sizeof *denied);
    if (denied == NULL)
        return CULVERT_ERROR_NO_MEMORY;
    list->denied = denied;
    list->denied[list->denied_count++] = (struct whitelist_denial){*address, 1};
    return 0;
}

void whitelist_allow_again(struct whitelist *list, const struct sockaddr_storage *address)
{
    struct target target;
    struct whitelist_denial *denial =
        target_of(address, &target) ? find_denial(list, &target) : NULL;
    if (denial != NULL && --denial->count == 0)
        *denial = list->denied[--list->denied_count];
}

/* Returns the address that a connection to this one reaches. */
static struct sockaddr_storage reached_address(const struct target *target,
                                               const struct sockaddr_storage *address)
{
    if (!network_is_mapped(target->reached))
        return *address;
    struct sockaddr_storage reached = {0};
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(target->port)};
    memcpy(&in.sin_addr, target->reached + sizeof MAPPED_PREFIX, sizeof in.sin_addr);
    memcpy(&reached, &in, sizeof in);
    return reached;
}

static bool is_denied(const struct whitelist *list, const struct target *target,
                      const struct sockaddr_storage *address)
{
    struct sockaddr_storage reached = reached_address(target, address);
    bool reaches_us = is_loopback(target->reached) || is_unspecified(target->address);
    for (size_t i = 0; i < list->denied_count; i++) {
        struct target denied;
        if (!target_of(&list->denied[i].address, &denied) || denied.port != target->port)
            continue;
        if (memcmp(denied.reached, target->reached, HOST_ADDRESS_SIZE) == 0 ||
            is_unspecified(target->address))
            return true;
        if (is_unspecified(denied.address) &&
            (reaches_us || (list->is_local != NULL && list->is_local(&reached))))
            return true;
    }
    return false;
}

static bool name_rule_allows(const struct whitelist_rule *rule, struct text host,
                             const struct target *target)
{
    const uint8_t *address = target->address;
    bool is_named = host_same_name(host, text_of(rule->host));
    if (strcmp(rule->host, "localhost") != 0)
        return is_named && !is_special(address) && !is_special(target->reached);
    return (is_named && is_loopback(address)) ||
           memcmp(address, LOOPBACK4, HOST_ADDRESS_SIZE) == 0 ||
           memcmp(address, LOOPBACK6, HOST_ADDRESS_SIZE) == 0;
}

/* A rule for an IPv4 address also allows its IPv6 notations. Loopback addresses are distinguished,
 * because different programs may listen on 127.0.0.1 and on ::1. */
static bool network_allows(const struct network *network, const struct target *target)
{
    return network_covers(network, target->address) ||
           (!is_loopback(target->reached) && network_covers(network, target->reached));
}

bool whitelist_allows(const struct whitelist *list, const char *host,
                      const struct sockaddr_storage *address)
{
    struct target target;
    if (!target_of(address, &target) || target.port == 0 || is_denied(list, &target, address))
        return false;
    for (size_t i = 0; i < list->count; i++) {
        const struct whitelist_rule *rule = &list->rules[i];
        if (!port_range_holds(&rule->ports, target.port))
            continue;
        if (rule->any)
            return true;
        if (rule->host[0] != '\0' ? name_rule_allows(rule, text_of(host), &target)
                                  : network_allows(&rule->network, &target))
            return true;
    }
    return false;
}

/* Whether no name needs to be resolved for the sake of this network, since only `localhost` is
 * meant to lead to loopback. */
static bool is_loopback_network(const struct network *network)
{
    return is_loopback(network->address) &&
           network->prefix >= (network_is_mapped(network->address) ? MAPPED_BITS + 8 : 128);
}

static bool rule_may_resolve(const struct whitelist_rule *rule, struct text name)
{
    bool is_localhost = host_same_name(name, text_of("localhost"));
    if (rule->any)
        return true;
    if (rule->host[0] != '\0')
        return host_same_name(name, text_of(rule->host));
    return is_localhost || !is_loopback_network(&rule->network);
}

bool whitelist_may_resolve(const struct whitelist *list, const char *host, uint16_t port)
{
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
    uint8_t bytes[HOST_ADDRESS_SIZE];
    enum host_kind kind = host_parse(text_of(host), bytes);
    if (kind == HOST_IPV4 || kind == HOST_IPV6) {
        struct sockaddr_storage address = {0};
        memcpy(&in6.sin6_addr, bytes, sizeof bytes);
        memcpy(&address, &in6, sizeof in6);
        return whitelist_allows(list, host, &address);
    }
    for (size_t i = 0; i < list->count; i++) {
        const struct whitelist_rule *rule = &list->rules[i];
        if (port_range_holds(&rule->ports, port) && rule_may_resolve(rule, text_of(host)))
            return true;
    }
    return false;
}

/* Whether the default of loopback targets allows the host, so that something else is in the way. */
static bool is_loopback_host(const char *host)
{
    uint8_t address[HOST_ADDRESS_SIZE];
    switch (host_parse(text_of(host), address)) {
    case HOST_NAME:
        return host_same_name(text_of(host), text_of("localhost"));
    case HOST_IPV4:
    case HOST_IPV6:
        host_canonical(address);
        return is_loopback(address);
    case HOST_INVALID:
        break;
    }
    return false;
}

const char *whitelist_objection(const struct whitelist *list, const char *host,
                                const struct sockaddr_storage *address)
{
    struct target target;
    if (target_of(address, &target) && is_denied(list, &target, address))
        return "the target is a gateway's address or a listener of the dialling agent, which are "
               "never dialled";
    if (list->origin == WHITELIST_DEFAULT_NOTHING)
        return "the dialling agent has no --allow and dials nothing for others; give it "
               "--allow HOST:PORT";
    if (list->origin == WHITELIST_DEFAULT_LOOPBACK && !is_loopback_host(host))
        return "the dialling agent has no --allow and dials loopback targets only; give "
               "it --allow HOST:PORT";
    return "the dialling agent's allowlist does not allow this target";
}
