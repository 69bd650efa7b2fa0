/*
 * Dialling through a proxy: libcurl connects and logs in (Basic, Digest, NTLM, Negotiate, RFC
 * 1929), then a plain descriptor is handed on, on which the target talks. Nothing blocks the loop
 * but Negotiate, where Kerberos itself may wait for its server.
 *
 * net/dial.h is what others use.
 */
#ifndef NET_PROXY_DIAL_H
#define NET_PROXY_DIAL_H

#include "net/curl_library.h"
#include "net/loop.h"
#include "net/proxy.h"

#include <stdbool.h>
#include <stdint.h>

struct proxy_dial;

struct proxy_dial_request {
    const struct proxy *proxy; /* not PROXY_NONE; copied */
    const char *host;          /* of the target, a name or a numeric address; copied */
    uint16_t port;
    unsigned timeout; /* milliseconds for all of it */
    /* Called once, never from inside proxy_dial_start: a connected descriptor (taken by the
     * callee), 0 and NULL; or -1, an error and a sentence about the proxy, which lives as long as
     * the call. */
    void (*done)(void *holder, int fd, int error, const char *why);
    void *holder;
};

/* Returns 0 or an error; then `done` is not called. CULVERT_ERROR_UNSUPPORTED without libcurl. */
int proxy_dial_start(struct loop *loop, const struct proxy_dial_request *request,
                     struct proxy_dial **dial);
/* `done` will not be called. Not to be used once `done` was. */
void proxy_dial_cancel(struct proxy_dial *dial);

/* Makes a handle's transfers go through the proxy, and through no other whatever the environment
 * says. For PROXY_NONE directly. Returns 0 or CULVERT_ERROR_NO_MEMORY. */
int proxy_set_options(const struct curl_library *curl, CURL *easy, const struct proxy *proxy);

/* Of the methods that a proxy offers libcurl takes Negotiate first and, where nobody is logged in
 * to Kerberos, no other. Returns whether a transfer that has ended is worth another try without it,
 * and then has set that. */
bool proxy_drop_negotiate(const struct curl_library *curl, CURL *easy, const struct proxy *proxy);

/* Writes a sentence about a transfer through the proxy that ended with `code`: what is wrong and
 * what may be done; with CURLE_OK it is the proxy's own answer to a plain request. `problem` is
 * what is in its CURLOPT_ERRORBUFFER. Returns our error. */
int proxy_explain(const struct curl_library *curl, CURL *easy, const struct proxy *proxy,
                  CURLcode code, const char *problem, char *out, size_t size);

#endif
