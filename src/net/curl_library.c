#include "net/curl_library.h"

#include "base/error.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>

static struct curl_library library;
static const struct curl_library *loaded;
static pthread_once_t once = PTHREAD_ONCE_INIT;

/* Copies the address of the function, since C has no cast from an object's pointer to one. */
static int find(void *handle, const char *name, void *function)
{
    void *address = dlsym(handle, name);
    memcpy(function, &address, sizeof(address));
    return address == NULL;
}

static void load(void)
{
    void *handle = dlopen("libcurl.so.4", RTLD_NOW | RTLD_LOCAL);
    if (handle == NULL)
        return;
    CURLcode (*global_init)(long flags) = NULL;
    int missing = find(handle, "curl_global_init", &global_init) +
                  find(handle, "curl_easy_init", &library.easy_init) +
                  find(handle, "curl_easy_setopt", &library.easy_setopt) +
                  find(handle, "curl_easy_perform", &library.easy_perform) +
                  find(handle, "curl_easy_getinfo", &library.easy_getinfo) +
                  find(handle, "curl_easy_reset", &library.easy_reset) +
                  find(handle, "curl_easy_cleanup", &library.easy_cleanup) +
                  find(handle, "curl_easy_send", &library.easy_send) +
                  find(handle, "curl_easy_recv", &library.easy_recv) +
                  find(handle, "curl_easy_escape", &library.easy_escape) +
                  find(handle, "curl_easy_strerror", &library.easy_strerror) +
                  find(handle, "curl_free", &library.free) +
                  find(handle, "curl_slist_append", &library.slist_append) +
                  find(handle, "curl_slist_free_all", &library.slist_free_all) +
                  find(handle, "curl_multi_init", &library.multi_init) +
                  find(handle, "curl_multi_add_handle", &library.multi_add_handle) +
                  find(handle, "curl_multi_remove_handle", &library.multi_remove_handle) +
                  find(handle, "curl_multi_perform", &library.multi_perform) +
                  find(handle, "curl_multi_poll", &library.multi_poll) +
                  find(handle, "curl_multi_setopt", &library.multi_setopt) +
                  find(handle, "curl_multi_socket_action", &library.multi_socket_action) +
                  find(handle, "curl_multi_assign", &library.multi_assign) +
                  find(handle, "curl_multi_info_read", &library.multi_info_read) +
                  find(handle, "curl_multi_cleanup", &library.multi_cleanup) +
                  find(handle, "curl_url", &library.url) +
                  find(handle, "curl_url_set", &library.url_set) +
                  find(handle, "curl_url_get", &library.url_get) +
                  find(handle, "curl_url_cleanup", &library.url_cleanup);
    if (missing == 0 && global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK)
        loaded = &library;
    else
        dlclose(handle);
}

const struct curl_library *curl_library(void)
{
    pthread_once(&once, load);
    return loaded;
}

static curl_socket_t open_socket(void *context, curlsocktype purpose, struct curl_sockaddr *address)
{
    (void)context;
    (void)purpose;
    return socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
}

int curl_library_set_up(const struct curl_library *curl, CURL *easy)
{
    int failed = curl->easy_setopt(easy, CURLOPT_NOSIGNAL, 1L) != CURLE_OK;
    failed |= curl->easy_setopt(easy, CURLOPT_USERAGENT, "culvert/" CULVERT_VERSION) != CURLE_OK;
    failed |= curl->easy_setopt(easy, CURLOPT_OPENSOCKETFUNCTION, open_socket) != CURLE_OK;
#if LIBCURL_VERSION_NUM >= 0x075700
    /* An older library does not know the option, and then it may wait. */
    curl->easy_setopt(easy, CURLOPT_QUICK_EXIT, 1L);
#endif
    return failed ? CULVERT_ERROR_NO_MEMORY : 0;
}
