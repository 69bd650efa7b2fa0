/* A proxy that is accepted is one; what is refused leaves the result alone and gives a sentence
 * without the password; a list of hosts is read to its end. */
#include "base/error.h"
#include "net/proxy.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool condition)
{
    if (!condition)
        abort();
}

static void check_accepted(const struct proxy *proxy)
{
    struct proxy again;
    char text[PROXY_TEXT_SIZE];
    char why[256];
    if (proxy->kind == PROXY_NONE)
        return;
    require(proxy->port != 0 && proxy->host[0] != '\0');
    proxy_text(proxy, text);
    require(proxy_parse(text, &again, why, sizeof(why)) == 0);
    require(again.kind == proxy->kind && again.port == proxy->port &&
            strcmp(again.host, proxy->host) == 0 && !again.login.is_given);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct proxy proxy = {.port = 7};
    struct proxy_login login = {.is_given = false};
    char why[256] = "";
    char *text = malloc(size + 1);
    require(text != NULL);
    if (size > 0)
        memcpy(text, data, size);
    text[size] = '\0';

    int error = proxy_parse(text, &proxy, why, sizeof(why));
    if (error == 0) {
        check_accepted(&proxy);
    } else {
        require(error == CULVERT_ERROR_INVALID && why[0] != '\0' && proxy.port == 7);
        for (const char *c = why; *c != '\0'; c++)
            require(*c >= ' ' && *c <= '~');
    }
    if (proxy_parse_login(text, &login, why, sizeof(why)) != 0)
        require(!login.is_given);
    proxy_is_exempt(text, "gateway.example", 443);
    proxy_is_exempt(text, "192.0.2.1", 443);
    proxy_is_exempt(text, "fd00::1", 443);
    free(text);
    return 0;
}
