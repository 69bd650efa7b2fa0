#include "codec/url.h"

#include "base/error.h"
#include "base/str.h"
#include "codec/url_address.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum {
    SHOWN_MAX = 80,           /* characters of a URL that are repeated in a sentence about it */
    HOST_NAME_MAX_SIZE = 253, /* RFC 1035 §2.3.4, without the root's dot */
    LABEL_MAX_SIZE = 63,
};

struct parser {
    const char *string;
    size_t at;
    struct url url;
    char *why;
    size_t why_size;
};

static bool is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_hex_digit(char c)
{
    return is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

static char to_lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

static struct text part(const char *string, size_t start, size_t end)
{
    return (struct text){string + start, end - start};
}

/* The URL as a sentence may repeat it: on one line, cut, and with what stands before an "@", which
 * may be a password, left out. */
static void show(const char *string, char out[static SHOWN_MAX + 4])
{
    const char *at_sign = strrchr(string, '@');
    size_t secret = 0;
    if (at_sign != NULL) {
        secret = strcspn(string, ":@");
        secret += strspn(string + secret, ":/");
    }
    size_t size = 0;
    for (size_t i = 0; string[i] != '\0' && size < SHOWN_MAX; i++) {
        if (at_sign != NULL && i == secret && string + i < at_sign) {
            size += (size_t)snprintf(out + size, 4, "...");
            i = (size_t)(at_sign - string);
        }
        out[size++] = string[i] >= ' ' && string[i] <= '~' ? string[i] : '?';
    }
    out[size] = '\0';
}

__attribute__((format(printf, 2, 3))) static int refuse(struct parser *parser, const char *format,
                                                        ...)
{
    char shown[SHOWN_MAX + 4];
    char reason[256];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(reason, sizeof(reason), format, arguments);
    va_end(arguments);
    show(parser->string, shown);
    snprintf(parser->why, parser->why_size, "%s: %s", shown, reason);
    return CULVERT_ERROR_INVALID;
}

static int check_characters(struct parser *parser)
{
    if (parser->string[0] == '\0') {
        snprintf(parser->why, parser->why_size,
                 "the URL is empty; it should look like ws://host:8080");
        return CULVERT_ERROR_INVALID;
    }
    for (const char *c = parser->string; *c != '\0'; c++) {
        if (*c == ' ')
            return refuse(parser, "there must be no spaces in a URL");
        if ((*c >= '\1' && *c < ' ') || *c == 0x7f)
            return refuse(parser, "there must be no control characters in a URL");
        if (*c < ' ' || *c > '~')
            return refuse(parser, "a URL is ASCII: an international name is written as xn--..., "
                                  "other characters as %%XX");
        if (*c == '#')
            return refuse(parser, "a fragment (#...) has no meaning here: leave it out");
    }
    return 0;
}

/* RFC 3986 §3.1: a letter, then letters, digits and "+-.". */
static size_t scheme_length(const char *string)
{
    size_t size = 0;
    if (!is_letter(string[0]))
        return 0;
    while (is_letter(string[size]) || is_digit(string[size]) ||
           (string[size] != '\0' && strchr("+-.", string[size]) != NULL))
        size++;
    return size;
}

static const struct {
    const char *name;
    bool is_secure, is_poll;
} schemes[] = {
    {"ws", false, false},
    {"wss", true, false},
    {"poll+http", false, true},
    {"poll+https", true, true},
};

/* Whether it is one of those above, which goes into the URL. */
static bool take_scheme(struct parser *parser, struct text scheme)
{
    for (size_t i = 0; i < sizeof(schemes) / sizeof(schemes[0]); i++) {
        if (!text_equals_ignore_case(scheme, schemes[i].name))
            continue;
        snprintf(parser->url.scheme, sizeof(parser->url.scheme), "%s", schemes[i].name);
        parser->url.is_secure = schemes[i].is_secure;
        parser->url.is_poll = schemes[i].is_poll;
        parser->url.port = schemes[i].is_secure ? 443 : 80;
        return true;
    }
    return false;
}

static int refuse_scheme(struct parser *parser, struct text scheme, bool is_known)
{
    const char *string = parser->string;
    if (is_known && string[scheme.size] == '/')
        return refuse(parser, "a colon must follow %.*s (as in %.*s://host:8080)", (int)scheme.size,
                      scheme.data, (int)scheme.size, scheme.data);
    if (scheme.size == 0 || strncmp(string + scheme.size, "://", 3) != 0)
        return refuse(parser, "a URL must begin with ws:// or wss:// (as in ws://host:8080)");
    if (text_equals_ignore_case(scheme, "http") || text_equals_ignore_case(scheme, "https")) {
        bool is_secure = text_equals_ignore_case(scheme, "https");
        const char *instead = is_secure ? "wss" : "ws";
        return refuse(parser,
                      "the scheme must be ws or wss; instead of %.*s write %s "
                      "(as in %s://host:8080), or poll+%s for long poll",
                      (int)scheme.size, scheme.data, instead, instead,
                      is_secure ? "https" : "http");
    }
    return refuse(parser, "the scheme must be ws or wss (as in ws://host:8080)");
}

/* RFC 6455 §3: ws-URI and wss-URI; and ours. */
static int parse_scheme(struct parser *parser)
{
    const char *string = parser->string;
    struct text scheme = part(string, 0, scheme_length(string));
    bool is_known = take_scheme(parser, scheme);
    if (!is_known || string[scheme.size] != ':')
        return refuse_scheme(parser, scheme, is_known);

    const char *rest = string + scheme.size + 1;
    size_t slashes = strspn(rest, "/");
    if (slashes < 2)
        return refuse(parser, "two slashes must follow %s: (as in %s://host:8080)",
                      parser->url.scheme, parser->url.scheme);
    if (slashes > 2)
        return refuse(parser,
                      "the host is missing: it must follow the two slashes "
                      "(as in %s://host:8080)",
                      parser->url.scheme);
    parser->at = scheme.size + 3;
    return 0;
}

static int parse_bracketed(struct parser *parser, struct text authority, size_t *host_end)
{
    const char *closing = memchr(authority.data, ']', authority.size);
    if (closing == NULL)
        return refuse(parser,
                      "the bracket around the IPv6 address is not closed "
                      "(as in %s://[::1]:8080)",
                      parser->url.scheme);
    struct text host = {authority.data + 1, (size_t)(closing - authority.data) - 1};
    uint8_t address[16];
    static const uint8_t loopback[16] = {[15] = 1};
    if (memchr(host.data, '%', host.size) != NULL)
        return refuse(parser, "an IPv6 address with a zone (%%...) cannot be used in a URL");
    if (!url_parse_ipv6(host, address))
        return refuse(parser, "[%.*s] is not an IPv6 address (as in %s://[::1]:8080)",
                      (int)(host.size < SHOWN_MAX ? host.size : SHOWN_MAX), host.data,
                      parser->url.scheme);
    parser->url.is_ipv6 = true;
    parser->url.is_loopback = memcmp(address, loopback, sizeof(loopback)) == 0;
    for (size_t i = 0; i < host.size; i++)
        parser->url.host[i] = to_lower(host.data[i]);
    *host_end = host.size + 2;
    return 0;
}

/* RFC 1123 §2.1, and the underscore that some internal names have. */
static bool is_label(struct text label)
{
    if (label.size == 0 || label.size > LABEL_MAX_SIZE || label.data[0] == '-' ||
        label.data[label.size - 1] == '-')
        return false;
    for (size_t i = 0; i < label.size; i++)
        if (!is_letter(label.data[i]) && !is_digit(label.data[i]) && label.data[i] != '-' &&
            label.data[i] != '_')
            return false;
    return true;
}

/* Checks a name label by label; `numeric` tells whether its last label is a number. */
static bool is_host_name(struct text host, bool *numeric)
{
    size_t start = 0;
    if (host.size > HOST_NAME_MAX_SIZE)
        return false;
    for (size_t i = 0; i <= host.size; i++) {
        if (i < host.size && host.data[i] != '.')
            continue;
        struct text label = part(host.data, start, i);
        uint64_t ignored;
        if (!is_label(label))
            return false;
        *numeric = str_parse_number(label, UINT64_MAX, &ignored) == 0;
        start = i + 1;
    }
    return true;
}

static int parse_name(struct parser *parser, struct text authority, size_t *host_end)
{
    const char *colon = memchr(authority.data, ':', authority.size);
    size_t size = colon != NULL ? (size_t)(colon - authority.data) : authority.size;
    struct text host = {authority.data, size};
    if (colon != NULL && memchr(colon + 1, ':', authority.size - size - 1) != NULL)
        return refuse(parser, "an IPv6 address must stand in brackets (as in %s://[::1]:8080)",
                      parser->url.scheme);
    if (size == 0)
        return refuse(parser,
                      "the host is missing: it must follow the two slashes "
                      "(as in %s://host:8080)",
                      parser->url.scheme);

    bool numeric = false;
    uint8_t address[4] = {0};
    if (!is_host_name(host, &numeric))
        return refuse(parser,
                      "%.*s is not a host name: letters, digits, hyphens and single dots "
                      "between (as in %s://gate.example.org:8080)",
                      (int)(size < SHOWN_MAX ? size : SHOWN_MAX), host.data, parser->url.scheme);
    /* A name whose last label is a number would be read as an address by some and not by others. */
    if (numeric && !url_parse_ipv4(host, address))
        return refuse(parser,
                      "%.*s is not an IPv4 address: four numbers from 0 to 255 "
                      "(as in %s://127.0.0.1:8080)",
                      (int)(size < SHOWN_MAX ? size : SHOWN_MAX), host.data, parser->url.scheme);
    for (size_t i = 0; i < size; i++)
        parser->url.host[i] = to_lower(host.data[i]);
    parser->url.is_loopback =
        numeric ? address[0] == 127 : strcmp(parser->url.host, "localhost") == 0;
    *host_end = size;
    return 0;
}

static int parse_port(struct parser *parser, struct text authority, size_t host_end)
{
    struct text rest = part(authority.data, host_end, authority.size);
    if (rest.size == 0)
        return 0;
    if (rest.data[0] != ':')
        return refuse(parser,
                      "only a colon and a port may follow the bracket "
                      "(as in %s://[::1]:8080)",
                      parser->url.scheme);
    struct text port = part(rest.data, 1, rest.size);
    if (port.size == 0)
        return refuse(parser,
                      "a port must follow the colon behind the host "
                      "(as in %s://host:8080)",
                      parser->url.scheme);
    if (str_parse_port(port, &parser->url.port) != 0 || parser->url.port == 0)
        return refuse(parser, "the port must be a number from 1 to 65535 (as in %s://host:8080)",
                      parser->url.scheme);
    return 0;
}

/* RFC 3986 §3.2 */
static int parse_authority(struct parser *parser)
{
    const char *start = parser->string + parser->at;
    struct text authority = {start, strcspn(start, "/?")};
    if (memchr(authority.data, '@', authority.size) != NULL)
        return refuse(parser,
                      "a user name or password cannot stand in the URL "
                      "(as in %s://host:8080)",
                      parser->url.scheme);
    size_t host_end = 0;
    int result = authority.size > 0 && start[0] == '['
                     ? parse_bracketed(parser, authority, &host_end)
                     : parse_name(parser, authority, &host_end);
    if (result == 0)
        result = parse_port(parser, authority, host_end);
    parser->at += authority.size;
    return result;
}

/* RFC 3986 §3.3, §3.4: path and query, as they will stand in the request line. */
static int parse_target(struct parser *parser)
{
    const char *rest = parser->string + parser->at;
    for (const char *c = rest; *c != '\0'; c++) {
        if (strchr("\"<>\\^`{|}", *c) != NULL)
            return refuse(parser, "the character %c in the path must be written as %%%02X", *c,
                          (unsigned)*c);
        if (*c == '%' && (!is_hex_digit(c[1]) || !is_hex_digit(c[2])))
            return refuse(parser, "two hexadecimal digits must follow a %% (as in %%20)");
    }
    size_t added = rest[0] == '/' ? 0 : 1;
    size_t size = strlen(rest);
    if (added + size >= sizeof(parser->url.target))
        return refuse(parser, "the path is longer than %zu characters",
                      sizeof(parser->url.target) - 1);
    parser->url.target[0] = '/';
    memcpy(parser->url.target + added, rest, size);
    return 0;
}

int url_parse(const char *string, struct url *url, char *why, size_t why_size)
{
    struct parser parser = {.string = string, .why = why, .why_size = why_size};
    int result = check_characters(&parser);
    if (result == 0)
        result = parse_scheme(&parser);
    if (result == 0)
        result = parse_authority(&parser);
    if (result == 0)
        result = parse_target(&parser);
    if (result == 0)
        *url = parser.url;
    return result;
}

int url_host_field(const struct url *url, char *out, size_t size)
{
    const char *opening = url->is_ipv6 ? "[" : "";
    const char *closing = url->is_ipv6 ? "]" : "";
    char port[8] = "";
    if (url->port != (url->is_secure ? 443 : 80))
        snprintf(port, sizeof(port), ":%u", (unsigned)url->port);
    int length = snprintf(out, size, "%s%s%s%s", opening, url->host, closing, port);
    return length >= 0 && (size_t)length < size ? 0 : CULVERT_ERROR_TOO_LARGE;
}
