/*
 * libcurl, loaded when it is first needed: linked, it and what it links would cost every process 4
 * MB. What is not among these functions is not used of it.
 */
#ifndef NET_CURL_LIBRARY_H
#define NET_CURL_LIBRARY_H

#include <curl/curl.h>
#include <stdbool.h>

struct curl_library {
    CURL *(*easy_init)(void);
    CURLcode (*easy_setopt)(CURL *handle, CURLoption option, ...);
    CURLcode (*easy_perform)(CURL *handle);
    CURLcode (*easy_getinfo)(CURL *handle, CURLINFO info, ...);
    void (*easy_reset)(CURL *handle);
    void (*easy_cleanup)(CURL *handle);
    CURLcode (*easy_send)(CURL *handle, const void *bytes, size_t size, size_t *sent);
    CURLcode (*easy_recv)(CURL *handle, void *bytes, size_t size, size_t *received);
    char *(*easy_escape)(CURL *handle, const char *string, int length);
    const char *(*easy_strerror)(CURLcode code);
    void (*free)(void *memory);
    struct curl_slist *(*slist_append)(struct curl_slist *list, const char *string);
    void (*slist_free_all)(struct curl_slist *list);
    CURLM *(*multi_init)(void);
    CURLMcode (*multi_add_handle)(CURLM *multi, CURL *handle);
    CURLMcode (*multi_remove_handle)(CURLM *multi, CURL *handle);
    CURLMcode (*multi_perform)(CURLM *multi, int *running);
    CURLMcode (*multi_poll)(CURLM *multi, struct curl_waitfd *extra, unsigned count, int timeout,
                            int *ready);
    CURLMcode (*multi_setopt)(CURLM *multi, CURLMoption option, ...);
    CURLMcode (*multi_socket_action)(CURLM *multi, curl_socket_t socket, int events, int *running);
    CURLMcode (*multi_assign)(CURLM *multi, curl_socket_t socket, void *assigned);
    CURLMsg *(*multi_info_read)(CURLM *multi, int *left);
    CURLMcode (*multi_cleanup)(CURLM *multi);
    CURLU *(*url)(void);
    CURLUcode (*url_set)(CURLU *url, CURLUPart part, const char *text, unsigned flags);
    CURLUcode (*url_get)(const CURLU *url, CURLUPart part, char **text, unsigned flags);
    void (*url_cleanup)(CURLU *url);
};

/* Any thread. NULL if there is no libcurl on this machine. It is never unloaded. */
const struct curl_library *curl_library(void);

/* Sets what holds for every transfer of ours: no signals, sockets that programs which are started
 * do not inherit, our name, and no waiting for a name server when a transfer is given up. Returns 0
 * or CULVERT_ERROR_NO_MEMORY. */
int curl_library_set_up(const struct curl_library *curl, CURL *easy);

/* Trusts only the authorities in the PEM file, which is read now; a file that cannot be read, or
 * that holds no certificate, fails the transfer. With `is_proxy` for the connection to an HTTPS
 * proxy, otherwise for the server. Returns 0 or CULVERT_ERROR_NO_MEMORY. */
int curl_library_trust(const struct curl_library *curl, CURL *easy, const char *path,
                       bool is_proxy);

#endif
