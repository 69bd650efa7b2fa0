/* What is accepted, put together again from its parts, is accepted and has the same parts; what is
 * refused leaves the result alone and gives a printable sentence. */
#include "base/error.h"
#include "codec/url.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool condition)
{
    if (!condition)
        abort();
}

static bool is_same(const struct url *a, const struct url *b)
{
    return strcmp(a->scheme, b->scheme) == 0 && strcmp(a->host, b->host) == 0 &&
           a->port == b->port && strcmp(a->target, b->target) == 0 &&
           a->is_secure == b->is_secure && a->is_ipv6 == b->is_ipv6 &&
           a->is_loopback == b->is_loopback && a->is_poll == b->is_poll;
}

static void check_accepted(const struct url *url)
{
    char field[300], string[2048], why[400];
    struct url again;
    require(url->port != 0 && url->host[0] != '\0' && url->target[0] == '/');
    const char *scheme = url->is_secure ? "wss" : "ws";
    if (url->is_poll)
        scheme = url->is_secure ? "poll+https" : "poll+http";
    require(strcmp(url->scheme, scheme) == 0);
    require(url_host_field(url, field, sizeof(field)) == 0);
    snprintf(string, sizeof(string), "%s://%s%s", url->scheme, field, url->target);
    require(url_parse(string, &again, why, sizeof(why)) == 0);
    require(is_same(url, &again));
}

static void check_refused(const char *string, const struct url *url, const struct url *before,
                          const char *why, size_t why_size)
{
    size_t size = strnlen(why, why_size);
    require(is_same(url, before));
    require(size > 0 && size < why_size);
    for (size_t i = 0; i < size; i++)
        require(why[i] >= ' ' && why[i] <= '~');

    char small[8];
    struct url other;
    memset(small, 'x', sizeof(small));
    require(url_parse(string, &other, small, sizeof(small)) == CULVERT_ERROR_INVALID);
    require(memchr(small, '\0', sizeof(small)) != NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct url before = {.scheme = "before", .port = 7};
    struct url url = before;
    char why[400];
    char *string = malloc(size + 1);
    require(string != NULL);
    if (size > 0)
        memcpy(string, data, size);
    string[size] = '\0';

    int result = url_parse(string, &url, why, sizeof(why));
    require(result == 0 || result == CULVERT_ERROR_INVALID);
    if (result == 0)
        check_accepted(&url);
    else
        check_refused(string, &url, &before, why, sizeof(why));
    free(string);
    return 0;
}
