/* Finding the route of a request by its method and path. */
#ifndef API_API_ROUTE_H
#define API_API_ROUTE_H

#include "api/api_server.h"
#include "base/str.h"

#include <stddef.h>

enum { API_ALLOW_SIZE = 64 };

/* The route, and what stands for {id} in its path (TEXT_NULL if it has none), borrowed from `path`;
 * HEAD takes the route of GET. Else NULL, and in `allow` the methods that the path does take ("GET,
 * HEAD, POST"), or "" when there is no such path. */
const struct api_route *api_route_find(const struct api_route *routes, size_t count,
                                       struct text method, struct text path, struct text *parameter,
                                       char allow[static API_ALLOW_SIZE]);

#endif
