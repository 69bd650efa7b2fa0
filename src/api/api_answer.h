/* An answer of the API as bytes. */
#ifndef API_API_ANSWER_H
#define API_API_ANSWER_H

#include "api/api_request.h"
#include "api/api_server.h"

#include <stddef.h>

struct api_answer {
    char *data; /* NULL: none */
    size_t size;
    size_t sent;
};

/* Composes head and body; the response's JSON is given back in any case. `now` is the time of day
 * in seconds. Returns 0 or CULVERT_ERROR_NO_MEMORY. */
int api_answer_compose(struct api_answer *answer, const struct api_call *call,
                       struct api_response *response, long long now);
/* Wipes and frees. */
void api_answer_deinit(struct api_answer *answer);

#endif
