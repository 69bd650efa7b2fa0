/*
 * Where the agent's API listens and how its clients find it: the address that a user writes, the
 * token, and the files in which a user's own clients look for both, `api-url` and `api-token` in
 * the state directory (base/state_directory.h).
 */
#ifndef AGENT_API_PLACE_H
#define AGENT_API_PLACE_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    API_TOKEN_SIZE = 257, /* with its zero */
    API_URL_SIZE = 320,
};

struct api_address {
    char host[256]; /* "" for a unix socket; without brackets */
    uint16_t port;  /* 0: a free one */
    char path[108]; /* of the unix socket (unix(7)), else "" */
    bool is_loopback;
};

/* HOST:PORT, with an IPv6 address in brackets, or unix:PATH. Returns 0, or CULVERT_ERROR_INVALID
 * with a sentence in `why`. */
int api_address_parse(const char *string, struct api_address *address, char *why, size_t why_size);

/* Reads a token, which is a file's only line. A file that others may read is refused. Returns 0 or
 * an error, with "FILE: what" in `why`. */
int api_token_read(const char *path, char token[static API_TOKEN_SIZE], char *why, size_t why_size);

/* The files of the state directory. */
struct api_place {
    char token_path[PATH_MAX];
    char url_path[PATH_MAX];
    char url[API_URL_SIZE]; /* what was published; "" if nothing was */
};

/* The token of the state directory, made of 256 random bits where there is none yet, so that the
 * agents of a user share it. Returns 0 or an error, with a sentence in `why`. */
int api_place_open(struct api_place *place, char token[static API_TOKEN_SIZE], char *why,
                   size_t why_size);
/* Writes the URL where clients find it. Returns 0 or an error, with a sentence in `why`. */
int api_place_publish(struct api_place *place, const char *url, char *why, size_t why_size);
/* Takes it back, unless another agent has written its own since; repeatable. Whoever listens there
 * next must not be sent the token. */
void api_place_withdraw(struct api_place *place);

#endif
