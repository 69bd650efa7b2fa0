#include "net/curl_library.h"

#include "base/error.h"
#include "net/pem_file.h"

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

/* As text, since libcurl keeps the authorities of a path for a day (CURLOPT_CA_CACHE_TIMEOUT),
 * whatever becomes of the file. Libraries that cannot do it take the path. */
static bool trust_text(const struct curl_library *curl, CURL *easy, const char *path, bool is_proxy)
{
#if LIBCURL_VERSION_NUM >= 0x074d00
    struct pem_file file;
    char why[256];
    if (pem_file_read(&file, path, why, sizeof(why)) != 0)
        return false;
    struct curl_blob blob = {.data = file.text, .len = file.size, .flags = CURL_BLOB_COPY};
    CURLcode code =
        curl->easy_setopt(easy, is_proxy ? CURLOPT_PROXY_CAINFO_BLOB : CURLOPT_CAINFO_BLOB, &blob);
    pem_file_deinit(&file);
    return code == CURLE_OK;
#else
    (void)curl;
    (void)easy;
    (void)path;
    (void)is_proxy;
    return false;
#endif
}

int curl_library_trust(const struct curl_library *curl, CURL *easy, const char *path, bool is_proxy)
{
    bool is_set =
        trust_text(curl, easy, path, is_proxy) ||
        curl->easy_setopt(easy, is_proxy ? CURLOPT_PROXY_CAINFO : CURLOPT_CAINFO, path) == CURLE_OK;
    is_set = is_set && curl->easy_setopt(easy, is_proxy ? CURLOPT_PROXY_CAPATH : CURLOPT_CAPATH,
                                         NULL) == CURLE_OK;
    return is_set ? 0 : CULVERT_ERROR_NO_MEMORY;
}
