/*
 * For a proxy that is itself reached by TLS: libcurl does that TLS, so what it gives is no socket.
 * The pump carries bytes between its handle and one end of a socket pair, each way only as fast as
 * the other side takes them; who has the other end need not know.
 */
#ifndef NET_PROXY_PUMP_H
#define NET_PROXY_PUMP_H

#include "net/curl_library.h"
#include "net/loop.h"

/* Takes both handles, of which `easy` is connected (CURLOPT_CONNECT_ONLY) and in `multi`, whose
 * callbacks must be off. Returns 0 and the other end's descriptor, to be closed by the caller, or
 * an error, and then the handles are the caller's as before. The pump ends with either side, or
 * with the loop. */
int proxy_pump_start(struct loop *loop, const struct curl_library *curl, CURLM *multi, CURL *easy,
                     int *fd);

#endif
