/*
 * A client of a running agent's API (docs/agent-api.md): finds the agent, calls it, and waits for
 * the answer.
 */
#ifndef CLI_API_CLIENT_H
#define CLI_API_CLIENT_H

#include "agent/api_place.h"
#include "cli/options.h"

#include <jansson.h>
#include <stddef.h>

enum { API_CLIENT_URL_SIZE = 512 };

struct api_client {
    char url[API_CLIENT_URL_SIZE]; /* without a slash at the end */
    char socket[108];              /* the path of the unix socket (unix(7)); "": TCP */
    char token[API_TOKEN_SIZE];
    char place[128];         /* unix:PATH, where there is a socket */
    char token_source[1024]; /* where the token is from, such as "in $CULVERT_TOKEN" */
};

/* Where the agent is and what to say to it. `url` is http://HOST:PORT, https://..., HOST:PORT or
 * unix:PATH; where it or the token file is NULL, $CULVERT_API and $CULVERT_TOKEN stand for them,
 * and else the files of the state directory. The token of the state directory is sent only to this
 * machine. Returns 0 or an error with a sentence in `why`. */
int api_client_open(struct api_client *client, const char *url, const char *token_file,
                    char why[static OPTIONS_WHY_SIZE]);
/* Wipes the token. */
void api_client_close(struct api_client *client);

/* Calls, with `body` as JSON (NULL: none), and waits for the answer, whose JSON becomes the
 * caller's (NULL if it has none). Returns 0 if the call went well, else an error with a sentence in
 * `why`: CULVERT_ERROR_REFUSED is the API's own, with its detail. */
int api_client_call(const struct api_client *client, const char *method, const char *path,
                    const json_t *body, json_t **answer, char why[static OPTIONS_WHY_SIZE]);

#endif
