#include "codec/proxy_header.h"

#include "base/error.h"
#include "base/str.h"
#include "codec/url_address.h"

#include <stdbool.h>
#include <string.h>

static const uint8_t TEXT_SIGNATURE[] = {'P', 'R', 'O', 'X', 'Y', ' '};
static const uint8_t BINARY_SIGNATURE[] = {0x0D, 0x0A, 0x0D, 0x0A, 0x00, 0x0D,
                                           0x0A, 0x51, 0x55, 0x49, 0x54, 0x0A};

enum {
    BINARY_FIXED_SIZE = 16, /* signature, version and command, family, length */
    PORTS_SIZE = 4,
    IPV4_SIZE = 4,
    IPV6_SIZE = 16,
};

static int find_signature(const uint8_t *data, size_t size, const uint8_t *signature,
                          size_t signature_size)
{
    size_t common = size < signature_size ? size : signature_size;
    if (common > 0 && memcmp(data, signature, common) != 0)
        return CULVERT_ERROR_NOT_FOUND;
    return common < signature_size ? CULVERT_NEED_MORE : 0;
}

static bool is_binary(const uint8_t *data)
{
    return data[0] == BINARY_SIGNATURE[0];
}

int proxy_header_find(const uint8_t *data, size_t size)
{
    if (size == 0)
        return CULVERT_NEED_MORE;
    return is_binary(data) ? find_signature(data, size, BINARY_SIGNATURE, sizeof BINARY_SIGNATURE)
                           : find_signature(data, size, TEXT_SIGNATURE, sizeof TEXT_SIGNATURE);
}

/* ---- version 1 ---- */

/* Takes the part up to the next single space, or all of it, off `rest`. */
static struct text take_part(struct text *rest)
{
    const char *space = rest->size > 0 ? memchr(rest->data, ' ', rest->size) : NULL;
    struct text part = *rest;
    if (space == NULL) {
        *rest = TEXT_NULL;
        return part;
    }
    part.size = (size_t)(space - rest->data);
    rest->data += part.size + 1;
    rest->size -= part.size + 1;
    return part;
}

static int take_address(struct text *rest, bool is_ipv4, uint8_t *address)
{
    struct text part = take_part(rest);
    bool is_good =
        part.size > 0 && (is_ipv4 ? url_parse_ipv4(part, address) : url_parse_ipv6(part, address));
    return is_good ? 0 : CULVERT_ERROR_PROTOCOL;
}

static int take_port(struct text *rest, uint16_t *port)
{
    struct text part = take_part(rest);
    bool has_zeroes = part.size > 1 && part.data[0] == '0'; /* §2.1: no leading zeroes */
    return has_zeroes || str_parse_port(part, port) != 0 ? CULVERT_ERROR_PROTOCOL : 0;
}

/* What stands between signature and line's end (§2.1). */
static int parse_line(struct text line, struct proxy_header *header)
{
    uint8_t destination[IPV6_SIZE];
    uint16_t destination_port;
    struct text protocol = take_part(&line);
    if (text_equals(protocol, "UNKNOWN"))
        return 0; /* whatever stands behind it is to be ignored */
    bool is_ipv4 = text_equals(protocol, "TCP4");
    if (!is_ipv4 && !text_equals(protocol, "TCP6"))
        return CULVERT_ERROR_PROTOCOL;
    bool is_good = take_address(&line, is_ipv4, header->source) == 0 &&
                   take_address(&line, is_ipv4, destination) == 0 &&
                   take_port(&line, &header->source_port) == 0 && line.data != NULL &&
                   memchr(line.data, ' ', line.size) == NULL &&
                   take_port(&line, &destination_port) == 0;
    header->kind = is_ipv4 ? PROXY_HEADER_IPV4 : PROXY_HEADER_IPV6;
    return is_good ? 0 : CULVERT_ERROR_PROTOCOL;
}

static int parse_text(const uint8_t *data, size_t size, struct proxy_header *header, size_t *used)
{
    size_t room = size < PROXY_HEADER_TEXT_SIZE ? size : PROXY_HEADER_TEXT_SIZE;
    const uint8_t *end = memchr(data, '\r', room);
    if (end == NULL)
        return size < PROXY_HEADER_TEXT_SIZE ? CULVERT_NEED_MORE : CULVERT_ERROR_TOO_LARGE;
    size_t before = (size_t)(end - data);
    if (before + 2 > PROXY_HEADER_TEXT_SIZE)
        return CULVERT_ERROR_TOO_LARGE;
    if (before + 2 > size)
        return CULVERT_NEED_MORE;
    struct text line = {(const char *)data + sizeof TEXT_SIGNATURE, before - sizeof TEXT_SIGNATURE};
    if (data[before + 1] != '\n')
        return CULVERT_ERROR_PROTOCOL;
    int error = parse_line(line, header);
    if (error == 0)
        *used = before + 2;
    return error;
}

/* ---- version 2 ---- */

enum { VERSION_2_LOCAL = 0x20, VERSION_2_PROXY = 0x21, FAMILY_TCP4 = 0x11, FAMILY_TCP6 = 0x21 };

static uint16_t number_at(const uint8_t *at)
{
    return (uint16_t)(at[0] << 8 | at[1]);
}

/* The bytes that the family's addresses take, 0 for one that is not looked at, or -1 for one that
 * there is not (§2.2). */
static int addresses_size(uint8_t family)
{
    if (family == FAMILY_TCP4)
        return 2 * IPV4_SIZE + PORTS_SIZE;
    if (family == FAMILY_TCP6)
        return 2 * IPV6_SIZE + PORTS_SIZE;
    return family >> 4 <= 3 && (family & 0x0F) <= 2 ? 0 : -1;
}

static int parse_binary(const uint8_t *data, size_t size, struct proxy_header *header, size_t *used)
{
    if (size < BINARY_FIXED_SIZE)
        return CULVERT_NEED_MORE;
    uint8_t command = data[12];
    uint8_t family = data[13];
    size_t length = number_at(data + 14);
    int addresses = command == VERSION_2_PROXY ? addresses_size(family) : 0;
    if ((command != VERSION_2_LOCAL && command != VERSION_2_PROXY) || addresses < 0 ||
        length < (size_t)addresses)
        return CULVERT_ERROR_PROTOCOL;
    if (length > PROXY_HEADER_MAX_SIZE - BINARY_FIXED_SIZE)
        return CULVERT_ERROR_TOO_LARGE;
    if (size < BINARY_FIXED_SIZE + length)
        return CULVERT_NEED_MORE;
    const uint8_t *at = data + BINARY_FIXED_SIZE;
    if (addresses > 0) {
        size_t address_size = family == FAMILY_TCP4 ? IPV4_SIZE : IPV6_SIZE;
        header->kind = family == FAMILY_TCP4 ? PROXY_HEADER_IPV4 : PROXY_HEADER_IPV6;
        memcpy(header->source, at, address_size);
        header->source_port = number_at(at + 2 * address_size);
    }
    *used = BINARY_FIXED_SIZE + length; /* the TLVs behind the addresses (§2.2.7) as well */
    return 0;
}

int proxy_header_parse(const uint8_t *data, size_t size, struct proxy_header *header, size_t *used)
{
    struct proxy_header parsed = {.kind = PROXY_HEADER_NONE};
    int result = proxy_header_find(data, size);
    if (result == 0)
        result = is_binary(data) ? parse_binary(data, size, &parsed, used)
                                 : parse_text(data, size, &parsed, used);
    if (result == 0)
        *header = parsed;
    return result;
}
