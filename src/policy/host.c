#include "policy/host.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

enum { LABEL_MAX = 63, NAME_MAX_LENGTH = 253 };

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_name_character(char c)
{
    return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-' || c == '_';
}

static char lower(char c)
{
    return (char)(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
}

static struct text without_last_dot(struct text text)
{
    if (text.size > 1 && text.data[text.size - 1] == '.')
        text.size--;
    return text;
}

/* As resolvers do (inet_aton), a last label of digits, or of 0x and hexadecimal digits, makes the
 * whole an address. */
static bool is_number(struct text label)
{
    size_t i = 0;
    if (label.size >= 2 && label.data[0] == '0' && lower(label.data[1]) == 'x') {
        for (i = 2; i < label.size; i++) {
            char c = lower(label.data[i]);
            if (!is_digit(c) && !(c >= 'a' && c <= 'f'))
                return false;
        }
        return true;
    }
    while (i < label.size && is_digit(label.data[i]))
        i++;
    return i == label.size;
}

static bool is_name(struct text text)
{
    text = without_last_dot(text);
    if (text.size == 0 || text.size > NAME_MAX_LENGTH)
        return false;
    size_t start = 0;
    for (size_t i = 0; i <= text.size; i++) {
        if (i < text.size && text.data[i] != '.') {
            if (!is_name_character(text.data[i]))
                return false;
            continue;
        }
        if (i == start || i - start > LABEL_MAX)
            return false;
        if (i < text.size)
            start = i + 1;
    }
    return !is_number((struct text){text.data + start, text.size - start});
}

enum host_kind host_parse(struct text text, uint8_t *address)
{
    static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
    char buffer[INET6_ADDRSTRLEN];
    uint8_t bytes[HOST_ADDRESS_SIZE];
    enum host_kind kind = HOST_INVALID;
    if (text.size > 0 && memchr(text.data, 0, text.size) == NULL &&
        text_copy(text, buffer, sizeof buffer) == 0) {
        if (inet_pton(AF_INET, buffer, bytes + sizeof mapped) == 1) {
            memcpy(bytes, mapped, sizeof mapped);
            kind = HOST_IPV4;
        } else if (inet_pton(AF_INET6, buffer, bytes) == 1) {
            kind = HOST_IPV6;
        }
    }
    if (kind == HOST_INVALID)
        return is_name(text) ? HOST_NAME : HOST_INVALID;
    if (address != NULL)
        memcpy(address, bytes, sizeof bytes);
    return kind;
}

static bool is_zero(const uint8_t *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        if (bytes[i] != 0)
            return false;
    }
    return true;
}

void host_canonical(uint8_t address[static HOST_ADDRESS_SIZE])
{
    enum { PREFIX = 12 };
    static const uint8_t mapped[PREFIX] = {[10] = 0xff, [11] = 0xff};
    static const uint8_t translated[PREFIX] = {0x00, 0x64, 0xff, 0x9b};
    static const uint8_t loopback[] = {127, 0, 0, 1};
    uint8_t *ipv4 = address + PREFIX;
    bool is_compatible = is_zero(address, PREFIX);
    if (is_compatible && is_zero(ipv4, 3) && ipv4[3] <= 1)
        memcpy(ipv4, loopback, sizeof loopback);
    if (is_compatible || memcmp(address, translated, PREFIX) == 0)
        memcpy(address, mapped, PREFIX);
    if (memcmp(address, mapped, PREFIX) == 0 && is_zero(ipv4, sizeof loopback))
        memcpy(ipv4, loopback, sizeof loopback);
}

enum host_kind host_canonical_text(struct text host, char out[static HOST_NAME_SIZE])
{
    static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
    uint8_t address[HOST_ADDRESS_SIZE];
    enum host_kind kind = host_parse(host, address);
    if (kind == HOST_IPV4 || kind == HOST_IPV6) {
        host_canonical(address);
        bool is_ipv4 = memcmp(address, mapped, sizeof mapped) == 0;
        inet_ntop(is_ipv4 ? AF_INET : AF_INET6, is_ipv4 ? address + sizeof mapped : address, out,
                  HOST_NAME_SIZE);
        return kind;
    }
    if (kind == HOST_NAME)
        host = without_last_dot(host);
    if (host.size >= HOST_NAME_SIZE)
        host.size = HOST_NAME_SIZE - 1;
    for (size_t i = 0; i < host.size; i++)
        out[i] = kind == HOST_NAME ? lower(host.data[i]) : host.data[i];
    out[host.size] = '\0';
    return kind;
}

bool host_same_name(struct text a, struct text b)
{
    a = without_last_dot(a);
    b = without_last_dot(b);
    if (a.size != b.size)
        return false;
    for (size_t i = 0; i < a.size; i++) {
        if (lower(a.data[i]) != lower(b.data[i]))
            return false;
    }
    return true;
}

bool host_take_part(struct text *rest, struct text *part)
{
    size_t i = 0;
    bool inside = false;
    while (i < rest->size && (inside || rest->data[i] != ':')) {
        if (rest->data[i] == '[')
            inside = true;
        else if (rest->data[i] == ']')
            inside = false;
        i++;
    }
    *part = (struct text){rest->data, i};
    if (i == rest->size) {
        *rest = (struct text){rest->data + i, 0};
        return false;
    }
    *rest = (struct text){rest->data + i + 1, rest->size - i - 1};
    return true;
}

bool host_strip_brackets(struct text *text)
{
    if (text->size < 2 || text->data[0] != '[' || text->data[text->size - 1] != ']')
        return false;
    *text = (struct text){text->data + 1, text->size - 2};
    return true;
}

const char *host_port_text(const char *host, uint16_t port, char out[static HOST_PORT_TEXT_SIZE])
{
    bool needs_brackets = strchr(host, ':') != NULL;
    snprintf(out, HOST_PORT_TEXT_SIZE, "%s%.*s%s:%u", needs_brackets ? "[" : "", HOST_NAME_SIZE - 1,
             host, needs_brackets ? "]" : "", port);
    return out;
}
