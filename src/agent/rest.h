/* The agent's REST API (docs/agent-api.md, src/agent/openapi.json). */
#ifndef AGENT_REST_H
#define AGENT_REST_H

#include "api/api_server.h"

#include <stddef.h>

struct agent;
struct rest;

/* Serves at config.api; the token is in place before anybody can ask. Returns 0 or an error, with a
 * sentence in `why`. */
int rest_open(struct agent *agent, struct rest **rest, char *why, size_t why_size);
/* Reads the token's file again, whether it has changed or not; when it is wrong the token stays and
 * a warning is logged. */
void rest_reload_token(struct rest *rest);
/* NULL is fine. */
void rest_close(struct rest *rest);

/* ---- for the parts of the API ---- */

/* Answers with a body, which is taken; NULL: memory has run out. */
void rest_answer(struct api_response *response, int status, json_t *body);
/* Answers with a problem. */
void rest_refuse(struct api_response *response, int status, const char *detail);

/* A JSON string of bytes that come from a peer: what is not UTF-8 becomes U+FFFD. */
json_t *rest_text(const char *bytes);

/* The number that stands for {id}. Returns whether there is one. */
bool rest_id(const struct api_request *request, uint64_t *id);

/* ---- rest_forwards.c; the context is the agent ---- */

void rest_list_forwards(void *context, const struct api_request *request,
                        struct api_response *response);
void rest_add_forward(void *context, const struct api_request *request,
                      struct api_response *response);
void rest_show_forward(void *context, const struct api_request *request,
                       struct api_response *response);
void rest_remove_forward(void *context, const struct api_request *request,
                         struct api_response *response);

#endif
