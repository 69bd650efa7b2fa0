/* For tests: the routes of a small API. */
#ifndef API_API_TEST_ROUTES_H
#define API_API_TEST_ROUTES_H

#include "api/api_server.h"

#define API_TEST_TOKEN "0123456789abcdef"

enum { API_TEST_ROUTES = 6 };

struct api_test_calls {
    int count;
    struct api_server *to_close; /* the handler of POST /v1/end closes it */
};

extern const struct api_route api_test_routes[API_TEST_ROUTES];

#endif
