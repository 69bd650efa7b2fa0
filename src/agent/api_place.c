#include "agent/api_place.h"

#include "base/error.h"
#include "base/private_file.h"
#include "base/state_directory.h"
#include "base/str.h"
#include "policy/host.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

enum { RANDOM_SIZE = 32, MOST_FILE = 4096 };

#define ADDRESS_FORM "HOST:PORT, [IPV6]:PORT or unix:PATH"

/* ---- the address ---- */

static int complain(const char *string, const char *what, char *why, size_t why_size)
{
    snprintf(why, why_size, "\"%.200s\" %s; an address is " ADDRESS_FORM, string, what);
    return CULVERT_ERROR_INVALID;
}

static bool is_loopback_host(const char *host)
{
    static const uint8_t mapped[] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 127};
    static const uint8_t loopback6[HOST_ADDRESS_SIZE] = {[15] = 1};
    uint8_t address[HOST_ADDRESS_SIZE];
    enum host_kind kind = host_parse(text_of(host), address);
    if (kind == HOST_NAME)
        return host_same_name(text_of(host), text_of("localhost"));
    return memcmp(address, mapped, sizeof mapped) == 0 ||
           memcmp(address, loopback6, sizeof loopback6) == 0;
}

static int parse_path(const char *string, const char *path, struct api_address *address, char *why,
                      size_t why_size)
{
    if (path[0] == '\0')
        return complain(string, "names no path", why, why_size);
    if (text_copy(text_of(path), address->path, sizeof address->path) != 0)
        return complain(string, "has a path that is too long for a socket", why, why_size);
    address->is_loopback = true;
    return 0;
}

int api_address_parse(const char *string, struct api_address *address, char *why, size_t why_size)
{
    struct text rest = text_of(string);
    struct text host;
    *address = (struct api_address){0};
    if (strncmp(string, "unix:", strlen("unix:")) == 0)
        return parse_path(string, string + strlen("unix:"), address, why, why_size);
    if (!host_take_part(&rest, &host))
        return complain(string, "names no port", why, why_size);
    bool has_brackets = host_strip_brackets(&host);
    enum host_kind kind = host_parse(host, NULL);
    if (kind == HOST_INVALID || has_brackets != (kind == HOST_IPV6) ||
        text_copy(host, address->host, sizeof address->host) != 0)
        return complain(string, "names no host", why, why_size);
    if (str_parse_port(rest, &address->port) != 0)
        return complain(string, "names no port (0 to 65535)", why, why_size);
    address->is_loopback = is_loopback_host(address->host);
    return 0;
}

/* ---- the token ---- */

/* RFC 6750 §2.1 */
static bool is_token(const char *token)
{
    static const char characters[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~+/=";
    size_t size = strlen(token);
    return size > 0 && size < API_TOKEN_SIZE && strspn(token, characters) == size;
}

int api_token_read(const char *path, char token[static API_TOKEN_SIZE], char *why, size_t why_size)
{
    char what[256] = "";
    char *text = NULL;
    size_t size = 0;
    bool is_shared = false;
    int error = private_file_read(path, MOST_FILE, &text, &size, &is_shared, what, sizeof what);
    if (error != 0)
        goto out;
    size_t length = size;
    while (length > 0 && strchr(" \t\r\n", text[length - 1]) != NULL)
        text[--length] = '\0';
    if (is_shared) {
        error = CULVERT_ERROR_PERMISSION;
    } else if (strlen(text) != length || !is_token(text)) {
        error = CULVERT_ERROR_INVALID;
        snprintf(what, sizeof what,
                 "it holds no token: one line of letters, digits and -._~+/=, at most 256");
    } else {
        memcpy(token, text, length + 1);
    }
out:
    private_file_free(text, size);
    if (error != 0)
        snprintf(why, why_size, "%.900s: %s", path, what);
    return error;
}

static int make_token(char token[static API_TOKEN_SIZE])
{
    uint8_t bytes[RANDOM_SIZE];
    if (getrandom(bytes, sizeof bytes, 0) != (ssize_t)sizeof bytes)
        return -errno;
    for (size_t i = 0; i < sizeof bytes; i++)
        snprintf(token + 2 * i, 3, "%02x", bytes[i]);
    explicit_bzero(bytes, sizeof bytes);
    return 0;
}

/* ---- the files ---- */

static int join(const char *directory, const char *name, char out[static PATH_MAX])
{
    return snprintf(out, PATH_MAX, "%s/%s", directory, name) < PATH_MAX ? 0
                                                                        : CULVERT_ERROR_TOO_LARGE;
}

/* Two agents may start at once: the one whose file is there first has made the token of both. */
static int make_token_file(const char *path)
{
    char token[API_TOKEN_SIZE];
    char line[API_TOKEN_SIZE + 1];
    int error = make_token(token);
    if (error != 0)
        return error;
    int size = snprintf(line, sizeof line, "%s\n", token);
    error = private_file_make(path, line, (size_t)size);
    explicit_bzero(token, sizeof token);
    explicit_bzero(line, sizeof line);
    return error == -EEXIST ? 0 : error;
}

int api_place_open(struct api_place *place, char token[static API_TOKEN_SIZE], char *why,
                   size_t why_size)
{
    char directory[PATH_MAX] = "";
    *place = (struct api_place){.url = ""};
    int error = state_directory_path(directory, sizeof directory);
    if (error != 0) {
        snprintf(why, why_size,
                 "there is no home directory to keep the API's token in; name a file with "
                 "--api-token-file");
        return error;
    }
    error = join(directory, "api-token", place->token_path);
    if (error == 0)
        error = join(directory, "api-url", place->url_path);
    if (error == 0)
        error = state_directory_make(directory);
    if (error == 0) {
        error = state_directory_check(directory, why, why_size);
        if (error != 0)
            return error;
    }
    if (error == 0 && access(place->token_path, F_OK) != 0)
        error = make_token_file(place->token_path);
    if (error != 0) {
        snprintf(why, why_size, "cannot make the API's token in %.900s: %s", directory,
                 error_text(error));
        return error;
    }
    return api_token_read(place->token_path, token, why, why_size);
}

int api_place_publish(struct api_place *place, const char *url, char *why, size_t why_size)
{
    char line[API_URL_SIZE + 1];
    int size = snprintf(line, sizeof line, "%s\n", url);
    int error = size >= (int)sizeof line
                    ? CULVERT_ERROR_TOO_LARGE
                    : private_file_replace(place->url_path, line, (size_t)size);
    if (error != 0)
        snprintf(why, why_size, "cannot write %.900s: %s", place->url_path, error_text(error));
    else
        snprintf(place->url, sizeof place->url, "%s", url);
    return error;
}

void api_place_withdraw(struct api_place *place)
{
    char what[128];
    char *text = NULL;
    size_t size = 0;
    bool is_shared = false;
    size_t length = strlen(place->url);
    if (length == 0)
        return;
    int error = private_file_read(place->url_path, API_URL_SIZE, &text, &size, &is_shared, what,
                                  sizeof what);
    if (error == 0 && size == length + 1 && memcmp(text, place->url, length) == 0)
        (void)unlink(place->url_path);
    private_file_free(text, size);
    place->url[0] = '\0';
}
