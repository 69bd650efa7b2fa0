#include "gateway/gateway_listen.h"

#include "base/error.h"
#include "base/str.h"
#include "policy/host.h"

#include <stdio.h>
#include <string.h>

static int complain(char *why, size_t why_size, const char *sentence)
{
    snprintf(why, why_size, "%s", sentence);
    return CULVERT_ERROR_INVALID;
}

int gateway_listen_parse(const char *string, struct gateway_listen *listen, char *why,
                         size_t why_size)
{
    struct text port = text_of(string);
    struct text host = TEXT_NULL;
    struct text first;
    *listen = (struct gateway_listen){0};
    if (host_take_part(&port, &first))
        host = first;
    else
        port = first;
    if (port.size > 0 && memchr(port.data, ':', port.size) != NULL)
        return complain(why, why_size,
                        "too many colons; an IPv6 address stands in brackets, [::]:8080");
    bool has_brackets = host_strip_brackets(&host);
    if (host.size > 0 && !text_equals(host, "*")) {
        enum host_kind kind = host_parse(host, NULL);
        if (kind == HOST_INVALID || has_brackets != (kind == HOST_IPV6) ||
            text_copy(host, listen->host, sizeof listen->host) != 0) {
            snprintf(why, why_size,
                     "\"%.*s\" is neither a host name nor an IP address; write [HOST:]PORT",
                     (int)(host.size < 100 ? host.size : 100), host.data);
            return CULVERT_ERROR_INVALID;
        }
    } else if (has_brackets) {
        return complain(why, why_size, "there is no address in the brackets; write [HOST:]PORT");
    }
    if (str_parse_port(port, &listen->port) != 0) {
        snprintf(why, why_size,
                 "\"%.*s\" is not a port (0 to 65535, 0 picks a free one); write [HOST:]PORT",
                 (int)(port.size < 100 ? port.size : 100), port.data);
        return CULVERT_ERROR_INVALID;
    }
    return 0;
}
