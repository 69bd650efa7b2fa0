#include "cli/api_client.h"

#include "base/error.h"
#include "base/memory.h"
#include "base/private_file.h"
#include "base/state_directory.h"
#include "base/str.h"
#include "net/curl_library.h"
#include "policy/host.h"

#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    ANSWER_MAX = 16 * 1024 * 1024,
    ANSWER_FIRST = 4096,
    CONNECT_MILLISECONDS = 5000,
    CALL_MILLISECONDS = 30000,
    MOST_FILE = 4096,
};

/* ---- finding ---- */

static int complain(char *why, int error, const char *sentence)
{
    snprintf(why, OPTIONS_WHY_SIZE, "%s", sentence);
    return error;
}

static int state_file(const char *name, char path[static PATH_MAX])
{
    char directory[PATH_MAX];
    int error = state_directory_path(directory, sizeof directory);
    if (error == 0 && snprintf(path, PATH_MAX, "%s/%s", directory, name) >= PATH_MAX)
        error = CULVERT_ERROR_TOO_LARGE;
    return error;
}

/* The URL that a running agent has left, without the end of its line. */
static int read_published(char url[static API_CLIENT_URL_SIZE], char why[static OPTIONS_WHY_SIZE])
{
    char path[PATH_MAX];
    char reason[256];
    char *text = NULL;
    size_t size = 0;
    bool is_shared;
    int error = state_file("api-url", path);
    if (error == 0)
        error = private_file_read(path, MOST_FILE, &text, &size, &is_shared, reason, sizeof reason);
    if (error != 0)
        return complain(why, CULVERT_ERROR_NOT_FOUND,
                        "no agent of yours serves an API on this machine: start one with --api "
                        "127.0.0.1:7070, or say where it is (--api or $CULVERT_API)");
    if (is_shared) {
        private_file_free(text, size);
        snprintf(why, OPTIONS_WHY_SIZE, "%.500s is not used: %s; name the API with --api", path,
                 reason);
        return CULVERT_ERROR_PERMISSION;
    }
    error = text_copy((struct text){text, strcspn(text, "\r\n")}, url, API_CLIENT_URL_SIZE);
    private_file_free(text, size);
    return error == 0 ? 0 : complain(why, error, "the URL in the state directory is too long");
}

static bool starts_with(const char *text, const char *start)
{
    return strncmp(text, start, strlen(start)) == 0;
}

static int parse_url(struct api_client *client, const char *url, char why[static OPTIONS_WHY_SIZE])
{
    bool has_scheme = starts_with(url, "http://") || starts_with(url, "https://");
    if (starts_with(url, "unix:")) {
        snprintf(client->url, sizeof client->url, "http://localhost");
        snprintf(client->place, sizeof client->place, "%.113s", url);
        if (text_copy(text_of(url + strlen("unix:")), client->socket, sizeof client->socket) != 0)
            return complain(why, CULVERT_ERROR_TOO_LARGE, "the path of the socket is too long");
        return client->socket[0] != '\0'
                   ? 0
                   : complain(why, CULVERT_ERROR_INVALID, "unix: needs a path behind it");
    }
    if ((!has_scheme && strstr(url, "://") != NULL) || url[0] == '\0')
        return complain(why, CULVERT_ERROR_INVALID,
                        "an API is at http://HOST:PORT or at unix:PATH");
    int size = snprintf(client->url, sizeof client->url, "%s%s", has_scheme ? "" : "http://", url);
    if (size >= (int)sizeof client->url)
        return complain(why, CULVERT_ERROR_TOO_LARGE, "the URL is too long");
    while (size > 0 && client->url[size - 1] == '/')
        client->url[--size] = '\0';
    return 0;
}

/* Whether what is sent there stays on this machine. */
static bool is_here(const struct api_client *client)
{
    struct api_address address;
    char authority[API_CLIENT_URL_SIZE];
    char ignored[256];
    if (client->socket[0] != '\0')
        return true;
    const char *start = strstr(client->url, "://") + strlen("://");
    size_t size = strcspn(start, "/?#");
    bool has_port = size > 0 && memrchr(start, ':', size) != NULL && start[size - 1] != ']';
    snprintf(authority, sizeof authority, "%.*s%s", (int)size, start, has_port ? "" : ":80");
    return api_address_parse(authority, &address, ignored, sizeof ignored) == 0 &&
           address.is_loopback;
}

static int find_token(struct api_client *client, const char *file,
                      char why[static OPTIONS_WHY_SIZE])
{
    const char *token = getenv("CULVERT_TOKEN");
    char path[PATH_MAX];
    if (file != NULL)
        snprintf(client->token_source, sizeof client->token_source, "in %.1000s", file);
    if (file != NULL)
        return api_token_read(file, client->token, why, OPTIONS_WHY_SIZE);
    if (token != NULL && token[0] != '\0') {
        if (text_copy(text_of(token), client->token, sizeof client->token) != 0)
            return complain(why, CULVERT_ERROR_TOO_LARGE,
                            "the token in $CULVERT_TOKEN is too long");
        snprintf(client->token_source, sizeof client->token_source, "in $CULVERT_TOKEN");
        if (strpbrk(client->token, "\r\n") != NULL)
            return complain(why, CULVERT_ERROR_INVALID, "$CULVERT_TOKEN has more than one line");
        return 0;
    }
    if (!is_here(client))
        return complain(why, CULVERT_ERROR_NOT_FOUND,
                        "the API is not on this machine; give its token with --token-file or "
                        "$CULVERT_TOKEN");
    if (state_file("api-token", path) != 0)
        return complain(why, CULVERT_ERROR_NOT_FOUND,
                        "there is no home directory to look for the token in; give --token-file");
    snprintf(client->token_source, sizeof client->token_source, "in %.1000s", path);
    return api_token_read(path, client->token, why, OPTIONS_WHY_SIZE);
}

int api_client_open(struct api_client *client, const char *url, const char *token_file,
                    char why[static OPTIONS_WHY_SIZE])
{
    char published[API_CLIENT_URL_SIZE];
    const char *environment = getenv("CULVERT_API");
    int error = 0;
    *client = (struct api_client){0};
    if (url == NULL && environment != NULL && environment[0] != '\0')
        url = environment;
    if (url == NULL) {
        error = read_published(published, why);
        url = published;
    }
    if (error == 0)
        error = parse_url(client, url, why);
    if (error == 0)
        error = find_token(client, token_file, why);
    if (error != 0)
        api_client_close(client);
    return error;
}

void api_client_close(struct api_client *client)
{
    explicit_bzero(client->token, sizeof client->token);
}

/* ---- calling ---- */

static const char *place_of(const struct api_client *client)
{
    return client->socket[0] != '\0' ? client->place : client->url;
}

struct reply {
    char *data;
    size_t size;
    size_t capacity;
};

static size_t on_data(const char *data, size_t one, size_t size, void *context)
{
    struct reply *reply = context;
    (void)one;
    if (size > ANSWER_MAX - reply->size)
        return CURL_WRITEFUNC_ERROR;
    if (reply->size + size > reply->capacity) {
        size_t capacity = reply->capacity == 0 ? ANSWER_FIRST : reply->capacity;
        while (capacity < reply->size + size)
            capacity *= 2;
        char *grown = memory_grow(reply->data, capacity);
        if (grown == NULL)
            return CURL_WRITEFUNC_ERROR;
        reply->data = grown;
        reply->capacity = capacity;
    }
    if (size > 0)
        memcpy(reply->data + reply->size, data, size);
    reply->size += size;
    return size;
}

/* What the API says about a call that it refused. */
static int explain_refusal(const struct api_client *client, long status, const json_t *answer,
                           char why[static OPTIONS_WHY_SIZE])
{
    if (status == 401) {
        snprintf(why, OPTIONS_WHY_SIZE,
                 "the API at %.400s refused the token %.500s; give the token of that agent with "
                 "--token-file FILE or $CULVERT_TOKEN",
                 place_of(client), client->token_source);
        return CULVERT_ERROR_REFUSED;
    }
    const char *detail = json_string_value(json_object_get(answer, "detail"));
    if (detail == NULL || detail[0] == '\0') {
        snprintf(why, OPTIONS_WHY_SIZE, "the API answered with status %ld", status);
        return CULVERT_ERROR_REFUSED;
    }
    snprintf(why, OPTIONS_WHY_SIZE, "%.900s", detail);
    for (char *c = why; *c != '\0'; c++) {
        if ((unsigned char)*c < ' ' || *c == 0x7f) /* a terminal would obey it */
            *c = '?';
    }
    return CULVERT_ERROR_REFUSED;
}

static int judge(const struct api_client *client, long status, const struct reply *reply,
                 json_t **answer, char why[static OPTIONS_WHY_SIZE])
{
    json_t *json = NULL;
    if (reply->size > 0)
        json = json_loadb(reply->data, reply->size, JSON_REJECT_DUPLICATES, NULL);
    int error = 0;
    if (status < 200 || status > 299)
        error = explain_refusal(client, status, json, why);
    else if (reply->size > 0 && json == NULL)
        error = complain(why, CULVERT_ERROR_PROTOCOL,
                         "the answer is not JSON; is this the API of "
                         "an agent?");
    if (error != 0) {
        json_decref(json);
        json = NULL;
    }
    *answer = json;
    return error;
}

struct exchange {
    const struct curl_library *curl;
    CURL *handle;
    struct curl_slist *headers;
    char url[API_CLIENT_URL_SIZE + 128];
    char error[CURL_ERROR_SIZE];
    struct reply reply;
};

static int add_header(struct exchange *exchange, const char *line)
{
    struct curl_slist *longer = exchange->curl->slist_append(exchange->headers, line);
    if (longer == NULL)
        return CULVERT_ERROR_NO_MEMORY;
    exchange->headers = longer;
    return 0;
}

static int add_headers(struct exchange *exchange, const struct api_client *client, bool has_body)
{
    char authorization[API_TOKEN_SIZE + 32];
    snprintf(authorization, sizeof authorization, "Authorization: Bearer %s", client->token);
    int error = add_header(exchange, authorization);
    if (error == 0 && has_body)
        error = add_header(exchange, "Content-Type: application/json");
    explicit_bzero(authorization, sizeof authorization);
    return error;
}

/* Whether an option was refused is not asked one by one: what must not be missing is known to every
 * libcurl since 7.40. */
static void set_options(struct exchange *exchange, const struct api_client *client,
                        const char *method, const char *body)
{
    const struct curl_library *curl = exchange->curl;
    CURL *handle = exchange->handle;
    curl->easy_setopt(handle, CURLOPT_URL, exchange->url);
    if (client->socket[0] != '\0')
        curl->easy_setopt(handle, CURLOPT_UNIX_SOCKET_PATH, client->socket);
    curl->easy_setopt(handle, CURLOPT_NOPROXY, "*"); /* the token is for the agent alone */
    curl->easy_setopt(handle, CURLOPT_CUSTOMREQUEST, method);
    curl->easy_setopt(handle, CURLOPT_HTTPHEADER, exchange->headers);
    curl->easy_setopt(handle, CURLOPT_USERAGENT, "culvert/" CULVERT_VERSION);
    curl->easy_setopt(handle, CURLOPT_NOSIGNAL, 1L);
    curl->easy_setopt(handle, CURLOPT_CONNECTTIMEOUT_MS, (long)CONNECT_MILLISECONDS);
    curl->easy_setopt(handle, CURLOPT_TIMEOUT_MS, (long)CALL_MILLISECONDS);
    curl->easy_setopt(handle, CURLOPT_ERRORBUFFER, exchange->error);
    curl->easy_setopt(handle, CURLOPT_WRITEFUNCTION, on_data);
    curl->easy_setopt(handle, CURLOPT_WRITEDATA, &exchange->reply);
    if (body != NULL) {
        curl->easy_setopt(handle, CURLOPT_POSTFIELDSIZE, (long)strlen(body));
        curl->easy_setopt(handle, CURLOPT_POSTFIELDS, body);
    }
}

static int perform(struct exchange *exchange, const struct api_client *client, long *status,
                   char why[static OPTIONS_WHY_SIZE])
{
    const struct curl_library *curl = exchange->curl;
    CURLcode code = curl->easy_perform(exchange->handle);
    if (code == CURLE_OK) {
        curl->easy_getinfo(exchange->handle, CURLINFO_RESPONSE_CODE, status);
        return 0;
    }
    long number = 0;
    curl->easy_getinfo(exchange->handle, CURLINFO_OS_ERRNO, &number);
    if (client->socket[0] != '\0' && code == CURLE_COULDNT_CONNECT && number != 0)
        snprintf(why, OPTIONS_WHY_SIZE,
                 "no agent listens at %.400s: %s; start one with --api %.400s, or say where it is "
                 "(--api or $CULVERT_API)",
                 place_of(client), error_text(-(int)number), place_of(client));
    else
        snprintf(why, OPTIONS_WHY_SIZE, "the API at %.400s does not answer: %.300s",
                 place_of(client),
                 exchange->error[0] != '\0' ? exchange->error : curl->easy_strerror(code));
    return code == CURLE_OUT_OF_MEMORY ? CULVERT_ERROR_NO_MEMORY : CULVERT_ERROR_CLOSED;
}

int api_client_call(const struct api_client *client, const char *method, const char *path,
                    const json_t *body, json_t **answer, char why[static OPTIONS_WHY_SIZE])
{
    struct exchange exchange = {.curl = curl_library()};
    char *text = NULL;
    long status = 0;
    int error = CULVERT_ERROR_NO_MEMORY;
    *answer = NULL;
    if (exchange.curl == NULL)
        return complain(why, CULVERT_ERROR_UNSUPPORTED,
                        "this needs libcurl (libcurl.so.4), which is not on this machine");
    complain(why, error, error_text(error));
    exchange.handle = exchange.curl->easy_init();
    if (body != NULL)
        text = json_dumps(body, JSON_COMPACT);
    if (exchange.handle == NULL || (body != NULL && text == NULL) ||
        add_headers(&exchange, client, body != NULL) != 0)
        goto out;
    snprintf(exchange.url, sizeof exchange.url, "%s%s", client->url, path);
    set_options(&exchange, client, method, text);
    error = perform(&exchange, client, &status, why);
    if (error == 0)
        error = judge(client, status, &exchange.reply, answer, why);
out:
    memory_free(exchange.reply.data);
    exchange.curl->slist_free_all(exchange.headers);
    if (exchange.handle != NULL)
        exchange.curl->easy_cleanup(exchange.handle);
    if (text != NULL)
        explicit_bzero(text, strlen(text)); /* there may be a key in it */
    free(text);
    return error;
}
