#include "net/proxy.h"

#include "base/error.h"
#include "base/str.h"
#include "net/address.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

enum { DEFAULT_PORT = 1080, DEFAULT_SECURE_PORT = 443, ADDRESS_BYTES = 16 };

static const char *const SCHEMES[] = {
    [PROXY_HTTP] = "http",
    [PROXY_HTTPS] = "https",
    [PROXY_SOCKS5] = "socks5",
    [PROXY_SOCKS5H] = "socks5h",
};

static int complain(char *why, size_t why_size, const char *sentence)
{
    snprintf(why, why_size, "%s", sentence);
    return CULVERT_ERROR_INVALID;
}

/* Takes what stands before the first (or last) `separator` off `rest`, and that too. Returns
 * whether there was one; without one nothing is taken. */
static bool take_before(struct text *rest, char separator, bool is_last, struct text *part)
{
    const char *at = rest->size == 0 ? NULL
                     : is_last       ? memrchr(rest->data, separator, rest->size)
                                     : memchr(rest->data, separator, rest->size);
    if (at == NULL)
        return false;
    *part = (struct text){rest->data, (size_t)(at - rest->data)};
    *rest = (struct text){at + 1, rest->size - part->size - 1};
    return true;
}

/* ---- logins ---- */

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    int lower = tolower((unsigned char)c);
    return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

static int take_word(struct text text, bool is_encoded, char out[static PROXY_WORD_SIZE], char *why,
                     size_t why_size)
{
    size_t length = 0;
    for (size_t i = 0; i < text.size; i++) {
        unsigned char byte = (unsigned char)text.data[i];
        if (is_encoded && byte == '%') {
            int high = i + 2 < text.size ? hex_digit(text.data[i + 1]) : -1;
            int low = i + 2 < text.size ? hex_digit(text.data[i + 2]) : -1;
            if (high < 0 || low < 0)
                return complain(why, why_size,
                                "a % in the proxy's user or password is written %25");
            byte = (unsigned char)(high * 16 + low);
            i += 2;
        }
        if (byte < ' ' || byte == 0x7f)
            return complain(why, why_size,
                            "the proxy's user or password holds a control character");
        if (length == PROXY_WORD_SIZE - 1)
            return complain(why, why_size, "the proxy's user or password is longer than 255 bytes");
        out[length++] = (char)byte;
    }
    out[length] = '\0';
    return 0;
}

static int take_login(struct text text, bool is_encoded, struct proxy_login *login, char *why,
                      size_t why_size)
{
    struct text user = text;
    struct text rest = text;
    struct text password = TEXT_NULL;
    if (take_before(&rest, ':', false, &user))
        password = rest;
    int error = take_word(user, is_encoded, login->user, why, why_size);
    if (error == 0)
        error = take_word(password, is_encoded, login->password, why, why_size);
    login->is_given = error == 0;
    return error;
}

int proxy_parse_login(const char *text, struct proxy_login *login, char *why, size_t why_size)
{
    struct proxy_login taken = {.is_given = false};
    int error = text[0] == '\0' ? complain(why, why_size, "USER:PASSWORD is empty")
                                : take_login(text_of(text), false, &taken, why, why_size);
    if (error == 0)
        *login = taken;
    explicit_bzero(&taken, sizeof(taken));
    return error;
}

/* ---- the URL ---- */

static int take_scheme(struct text *rest, enum proxy_kind *kind, char *why, size_t why_size)
{
    const char *colon = memmem(rest->data, rest->size, "://", 3);
    *kind = PROXY_HTTP;
    if (colon == NULL)
        return 0;
    struct text scheme = {rest->data, (size_t)(colon - rest->data)};
    *rest = (struct text){colon + 3, rest->size - scheme.size - 3};
    for (size_t i = PROXY_HTTP; i < sizeof(SCHEMES) / sizeof(*SCHEMES); i++) {
        if (text_equals_ignore_case(scheme, SCHEMES[i])) {
            *kind = (enum proxy_kind)i;
            return 0;
        }
    }
    return complain(why, why_size,
                    "a proxy is an http, https, socks5 or socks5h one, such as "
                    "http://proxy.example:3128");
}

static bool is_host_name(struct text host)
{
    for (size_t i = 0; i < host.size; i++) {
        if (!isalnum((unsigned char)host.data[i]) && strchr(".-_", host.data[i]) == NULL)
            return false;
    }
    return host.size > 0 && host.data[0] != '.' && host.data[0] != '-';
}

/* HOST[:PORT] or [ADDRESS][:PORT]; leaves ":PORT" or nothing in `rest`. */
static int take_host(struct text *rest, char host[static PROXY_HOST_SIZE], char *why,
                     size_t why_size)
{
    unsigned char address[ADDRESS_BYTES];
    struct text part = TEXT_NULL;
    if (rest->size > 0 && rest->data[0] == '[') {
        *rest = (struct text){rest->data + 1, rest->size - 1};
        if (!take_before(rest, ']', false, &part) || text_copy(part, host, PROXY_HOST_SIZE) != 0 ||
            inet_pton(AF_INET6, host, address) != 1)
            return complain(why, why_size,
                            "the proxy's address in brackets is no IPv6 address; it looks like "
                            "http://[fd00::1]:3128");
        return 0;
    }
    const char *colon = rest->size == 0 ? NULL : memchr(rest->data, ':', rest->size);
    part = (struct text){rest->data, colon != NULL ? (size_t)(colon - rest->data) : rest->size};
    *rest = (struct text){rest->data + part.size, rest->size - part.size};
    if (!is_host_name(part) || text_copy(part, host, PROXY_HOST_SIZE) != 0)
        return complain(why, why_size,
                        "the proxy's host is missing or malformed; it looks like "
                        "http://proxy.example:3128");
    return 0;
}

static int take_port(struct text rest, enum proxy_kind kind, uint16_t *port, char *why,
                     size_t why_size)
{
    *port = kind == PROXY_HTTPS ? DEFAULT_SECURE_PORT : DEFAULT_PORT;
    if (rest.size == 0)
        return 0;
    struct text digits = {rest.data + 1, rest.size - 1};
    if (rest.data[0] != ':' || str_parse_port(digits, port) != 0 || *port == 0)
        return complain(why, why_size, "the proxy's port is a number from 1 to 65535");
    return 0;
}

static int parse_authority(struct text rest, struct proxy *proxy, char *why, size_t why_size)
{
    struct text login = TEXT_NULL;
    int error = 0;
    if (take_before(&rest, '@', true, &login))
        error = take_login(login, true, &proxy->login, why, why_size);
    if (error == 0)
        error = take_host(&rest, proxy->host, why, why_size);
    return error != 0 ? error : take_port(rest, proxy->kind, &proxy->port, why, why_size);
}

int proxy_parse(const char *text, struct proxy *proxy, char *why, size_t why_size)
{
    struct proxy parsed = {.kind = PROXY_NONE};
    struct text rest = text_of(text);
    if (rest.size == 0 || text_equals_ignore_case(rest, "none")) {
        *proxy = parsed;
        return 0;
    }
    int error = take_scheme(&rest, &parsed.kind, why, why_size);
    if (error == 0 && rest.size > 0 && rest.data[rest.size - 1] == '/')
        rest.size--;
    if (error == 0)
        error = parse_authority(rest, &parsed, why, why_size);
    if (error == 0)
        *proxy = parsed;
    proxy_wipe(&parsed);
    return error;
}

/* ---- no_proxy ---- */

/* What an entry of the list may be taken apart into. */
struct entry {
    struct text host;
    struct text bits;
    uint16_t port; /* 0: any */
};

static bool split_entry(struct text text, struct entry *entry)
{
    struct text rest = text;
    struct text port = TEXT_NULL;
    *entry = (struct entry){.host = text};
    if (text.data[0] == '[') {
        rest = (struct text){text.data + 1, text.size - 1};
        if (!take_before(&rest, ']', false, &entry->host))
            return false;
        if (rest.size > 0 && rest.data[0] == '/')
            entry->bits = (struct text){rest.data + 1, rest.size - 1};
        else if (rest.size > 0 && rest.data[0] == ':')
            port = (struct text){rest.data + 1, rest.size - 1};
        else if (rest.size > 0)
            return false;
    } else {
        if (take_before(&rest, '/', false, &entry->host)) {
            entry->bits = rest;
        } else if (memchr(text.data, ':', text.size) == memrchr(text.data, ':', text.size) &&
                   take_before(&rest, ':', false, &entry->host)) {
            port = rest;
        }
    }
    return port.data == NULL || (str_parse_port(port, &entry->port) == 0 && entry->port != 0);
}

/* The address's bytes; their number, 0 if it is none. */
static size_t parse_address(struct text text, unsigned char bytes[static ADDRESS_BYTES])
{
    char copy[64];
    if (text_copy(text, copy, sizeof(copy)) != 0)
        return 0;
    if (inet_pton(AF_INET, copy, bytes) == 1)
        return 4;
    return inet_pton(AF_INET6, copy, bytes) == 1 ? 16 : 0;
}

static bool address_matches(const struct entry *entry, const unsigned char *address, size_t size)
{
    unsigned char network[ADDRESS_BYTES];
    uint64_t bits = size * 8;
    if (parse_address(entry->host, network) != size)
        return false;
    if (entry->bits.data != NULL && str_parse_number(entry->bits, size * 8, &bits) != 0)
        return false;
    for (size_t i = 0; i < size && bits > 0; i++) {
        unsigned taken = bits < 8 ? (unsigned)bits : 8;
        unsigned mask = 0xffU << (8 - taken);
        if (((network[i] ^ address[i]) & mask & 0xffU) != 0)
            return false;
        bits -= taken;
    }
    return true;
}

static bool name_matches(struct text name, struct text host)
{
    if (name.size > 1 && name.data[0] == '*' && name.data[1] == '.')
        name = (struct text){name.data + 1, name.size - 1};
    if (name.size > 0 && name.data[0] == '.')
        name = (struct text){name.data + 1, name.size - 1};
    if (name.size > 0 && name.data[name.size - 1] == '.')
        name.size--;
    if (name.size == 0 || name.size > host.size ||
        strncasecmp(host.data + host.size - name.size, name.data, name.size) != 0)
        return false;
    return name.size == host.size || host.data[host.size - name.size - 1] == '.';
}

static bool entry_matches(struct text text, struct text host, uint16_t port)
{
    unsigned char address[ADDRESS_BYTES];
    struct entry entry;
    if (text_equals(text, "*"))
        return true;
    if (!split_entry(text, &entry) || (entry.port != 0 && entry.port != port))
        return false;
    size_t size = parse_address(host, address);
    if (size > 0)
        return address_matches(&entry, address, size);
    return entry.bits.data == NULL && name_matches(entry.host, host);
}

bool proxy_is_exempt(const char *list, const char *host, uint16_t port)
{
    struct text name = text_of(host);
    if (name.size > 0 && name.data[name.size - 1] == '.')
        name.size--;
    while (*list != '\0') {
        list += strspn(list, ", \t");
        struct text entry = {list, strcspn(list, ", \t")};
        if (entry.size > 0 && entry_matches(entry, name, port))
            return true;
        list += entry.size;
    }
    return false;
}

/* ---- the choice ---- */

static bool read_variable(struct proxy_variable *variable, const char *name,
                          char *(*get)(const char *name))
{
    const char *value = get(name + 1);
    if (value == NULL || value[0] == '\0')
        return false;
    *variable = (struct proxy_variable){name, value};
    return true;
}

void proxy_read_environment(struct proxy_settings *settings, char *(*get)(const char *name))
{
    struct proxy_variable all = {NULL, NULL};
    struct proxy_variable no_proxy = {NULL, NULL};
    if (!read_variable(&all, "$all_proxy", get))
        read_variable(&all, "$ALL_PROXY", get);
    settings->plain = all;
    settings->secure = all;
    /* Not $HTTP_PROXY: a web server sets that from a client's "Proxy" header (CVE-2016-5385). */
    read_variable(&settings->plain, "$http_proxy", get);
    if (!read_variable(&settings->secure, "$https_proxy", get))
        read_variable(&settings->secure, "$HTTPS_PROXY", get);
    if (!read_variable(&no_proxy, "$no_proxy", get))
        read_variable(&no_proxy, "$NO_PROXY", get);
    settings->no_proxy = no_proxy.value;
}

static int choose(const struct proxy_settings *settings, const struct proxy_variable *variable,
                  struct proxy *proxy, char *why, size_t why_size)
{
    char wrong[256];
    if (settings->is_given) {
        *proxy = settings->given;
        return 0;
    }
    if (variable->value == NULL)
        return 0;
    int error = proxy_parse(variable->value, proxy, wrong, sizeof(wrong));
    if (error != 0)
        snprintf(why, why_size, "%s: %s", variable->name, wrong);
    proxy->source = variable->name;
    return error;
}

int proxy_choose(const struct proxy_settings *settings, const char *host, uint16_t port,
                 bool is_secure, struct proxy *proxy, char *why, size_t why_size)
{
    *proxy = (struct proxy){.kind = PROXY_NONE};
    if (settings == NULL)
        return 0;
    if (!settings->is_given && settings->no_proxy != NULL &&
        proxy_is_exempt(settings->no_proxy, host, port))
        return 0;
    int error =
        choose(settings, is_secure ? &settings->secure : &settings->plain, proxy, why, why_size);
    if (error != 0 || proxy->kind == PROXY_NONE)
        return error;
    if (settings->login.is_given)
        proxy->login = settings->login;
    if (proxy->ca == NULL)
        proxy->ca = settings->ca;
    return 0;
}

/* ---- telling, and the end ---- */

void proxy_text(const struct proxy *proxy, char out[static PROXY_TEXT_SIZE])
{
    bool is_ipv6 = strchr(proxy->host, ':') != NULL;
    if (proxy->kind == PROXY_NONE)
        snprintf(out, PROXY_TEXT_SIZE, "none");
    else
        snprintf(out, PROXY_TEXT_SIZE, "%s://%s%s%s:%u", SCHEMES[proxy->kind], is_ipv6 ? "[" : "",
                 proxy->host, is_ipv6 ? "]" : "", proxy->port);
}

void proxy_label(const struct proxy *proxy, char out[static PROXY_LABEL_SIZE])
{
    char text[PROXY_TEXT_SIZE];
    proxy_text(proxy, text);
    if (proxy->source != NULL)
        snprintf(out, PROXY_LABEL_SIZE, "the proxy %s (%s)", text, proxy->source);
    else
        snprintf(out, PROXY_LABEL_SIZE, "the proxy %s", text);
}

bool proxy_is_loopback(const struct proxy *proxy)
{
    struct sockaddr_storage address;
    if (address_parse(proxy->host, proxy->port, &address) == 0)
        return address_is_loopback(&address);
    return strcasecmp(proxy->host, "localhost") == 0;
}

void proxy_wipe(struct proxy *proxy)
{
    explicit_bzero(&proxy->login, sizeof(proxy->login));
}

void proxy_settings_wipe(struct proxy_settings *settings)
{
    proxy_wipe(&settings->given);
    explicit_bzero(&settings->login, sizeof(settings->login));
}
