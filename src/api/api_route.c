#include "api/api_route.h"

#include <stdio.h>
#include <string.h>

static bool starts_with(struct text text, const char *start, size_t size)
{
    return text.size >= size && memcmp(text.data, start, size) == 0;
}

static bool matches(const char *pattern, struct text path, struct text *parameter)
{
    const char *brace = strchr(pattern, '{');
    *parameter = TEXT_NULL;
    if (brace == NULL)
        return text_equals(path, pattern);
    size_t before = (size_t)(brace - pattern);
    if (!starts_with(path, pattern, before) || path.size == before)
        return false;
    *parameter = (struct text){path.data + before, path.size - before};
    return memchr(parameter->data, '/', parameter->size) == NULL;
}

static void add_method(char allow[static API_ALLOW_SIZE], const char *method)
{
    size_t size = strlen(allow);
    snprintf(allow + size, API_ALLOW_SIZE - size, "%s%s", size > 0 ? ", " : "", method);
    if (strcmp(method, "GET") == 0)
        add_method(allow, "HEAD");
}

const struct api_route *api_route_find(const struct api_route *routes, size_t count,
                                       struct text method, struct text path, struct text *parameter,
                                       char allow[static API_ALLOW_SIZE])
{
    if (text_equals(method, "HEAD"))
        method = text_of("GET");
    allow[0] = '\0';
    for (size_t i = 0; i < count; i++) {
        if (!matches(routes[i].path, path, parameter))
            continue;
        if (text_equals(method, routes[i].method))
            return &routes[i];
        add_method(allow, routes[i].method);
    }
    return NULL;
}
