#include "api/api_access.h"

#include "net/address.h"

#include <stdio.h>
#include <string.h>

enum { DEFAULT_PORT = 80 }; /* RFC 9110 §4.2.1 */

static void add_host(struct api_access *access, const char *host)
{
    if (access->host_count == API_ACCESS_HOSTS || host[0] == '\0')
        return;
    bool is_bare = strchr(host, ':') != NULL && host[0] != '[';
    snprintf(access->hosts[access->host_count++], API_ACCESS_HOST_SIZE, "%s%.256s%s",
             is_bare ? "[" : "", host, is_bare ? "]" : "");
}

void api_access_init(struct api_access *access, const char *token, const char *given,
                     const struct sockaddr_storage *own)
{
    *access = (struct api_access){.token = token};
    if (own->ss_family != AF_INET && own->ss_family != AF_INET6) {
        access->takes_any_host = true;
        return;
    }
    char text[ADDRESS_TEXT_SIZE];
    address_text(own, text);
    *strrchr(text, ':') = '\0';
    access->port = address_port(own);
    add_host(access, text);
    add_host(access, given);
    if (address_is_loopback(own))
        add_host(access, "localhost");
}

static bool is_token(const char *token, struct text given)
{
    size_t size = strlen(token);
    volatile unsigned char difference = size != given.size || size == 0;
    for (size_t i = 0; i < size; i++) {
        char c = i < given.size ? given.data[i] : '\0';
        difference = (unsigned char)(difference | (unsigned char)(token[i] ^ c));
    }
    return difference == 0;
}

/* RFC 9110 §11.4: the scheme in any case, spaces, the token. */
static bool take_scheme(struct text *value)
{
    static const char SCHEME[] = "bearer";
    const size_t size = sizeof SCHEME - 1;
    if (value->size <= size || value->data[size] != ' ' ||
        !text_equals_ignore_case((struct text){value->data, size}, SCHEME))
        return false;
    *value = (struct text){value->data + size, value->size - size};
    while (value->size > 0 && value->data[0] == ' ')
        *value = (struct text){value->data + 1, value->size - 1};
    return true;
}

/* The only field of its name; *is_there tells whether there is any. */
static const struct http1_field *find_single(const struct http1_head *head, const char *name,
                                             bool *is_there)
{
    const struct http1_field *found = NULL;
    size_t count = 0;
    for (size_t i = 0; i < head->field_count; i++) {
        if (!text_equals_ignore_case(head->fields[i].name, name))
            continue;
        found = &head->fields[i];
        count++;
    }
    *is_there = count > 0;
    return count == 1 ? found : NULL;
}

bool api_access_knows_token(const struct api_access *access, const struct http1_head *head)
{
    bool is_there;
    const struct http1_field *field = find_single(head, "Authorization", &is_there);
    if (field == NULL)
        return false;
    struct text value = field->value;
    return take_scheme(&value) && is_token(access->token, value);
}

/* Takes ":PORT" off the end. Where there is none, the port is the scheme's own. */
static bool take_port(struct text *authority, uint16_t *port)
{
    for (size_t i = authority->size; i > 0; i--) {
        char c = authority->data[i - 1];
        if (c == ']')
            break;
        if (c != ':')
            continue;
        struct text digits = {authority->data + i, authority->size - i};
        authority->size = i - 1;
        return str_parse_port(digits, port) == 0;
    }
    *port = DEFAULT_PORT;
    return true;
}

bool api_access_is_own(const struct api_access *access, struct text authority)
{
    uint16_t port;
    if (access->takes_any_host)
        return true;
    if (!take_port(&authority, &port) || port != access->port)
        return false;
    for (unsigned i = 0; i < access->host_count; i++) {
        if (text_equals_ignore_case(authority, access->hosts[i]))
            return true;
    }
    return false;
}

bool api_access_takes_origin(const struct api_access *access, const struct http1_head *head)
{
    static const char SCHEME[] = "http://";
    const size_t size = sizeof SCHEME - 1;
    bool is_there;
    const struct http1_field *origin = find_single(head, "Origin", &is_there);
    if (origin == NULL)
        return !is_there;
    if (access->takes_any_host || origin->value.size <= size ||
        !text_equals_ignore_case((struct text){origin->value.data, size}, SCHEME))
        return false;
    return api_access_is_own(access,
                             (struct text){origin->value.data + size, origin->value.size - size});
}
