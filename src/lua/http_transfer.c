#include "lua/http_transfer.h"

#include "base/error.h"
#include "base/memory.h"
#include "lua/http_text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { POLL_MILLISECONDS = 1000, FIELD_EXTRA = 3 /* a colon, a space and a zero */ };

void http_transfer_fail(struct http_transfer *transfer, const char *why, const char *what)
{
    if (transfer->why[0] == '\0')
        snprintf(transfer->why, sizeof transfer->why, "%s%.100s", why, what);
}

static int fail(struct http_transfer *transfer, int error, const char *why, const char *what)
{
    http_transfer_fail(transfer, why, what);
    return error;
}

/* For an option that was set, or was not. */
static int check(struct http_transfer *transfer, CURLcode code)
{
    return code == CURLE_OK
               ? 0
               : fail(transfer, CULVERT_ERROR_INVALID, transfer->curl->easy_strerror(code), "");
}

/* ---- what comes ---- */

static bool add_bytes(struct http_bytes *bytes, const char *data, size_t size)
{
    if (size > bytes->limit - bytes->size)
        return false;
    char *grown = memory_grow(bytes->data, bytes->size + size + 1);
    if (grown == NULL)
        return false;
    memcpy(grown + bytes->size, data, size);
    bytes->data = grown;
    bytes->size += size;
    return true;
}

static size_t take_body(char *data, size_t unit, size_t count, void *context)
{
    struct http_transfer *transfer = context;
    size_t size = unit * count;
    if (add_bytes(&transfer->body, data, size))
        return size;
    http_transfer_fail(transfer, "the answer is larger than 1 MiB", "");
    return 0;
}

/* Each redirect and each interim answer (RFC 9110 §15.2) begins anew. */
static size_t take_head(char *data, size_t unit, size_t count, void *context)
{
    struct http_transfer *transfer = context;
    size_t size = unit * count;
    if (size >= 5 && memcmp(data, "HTTP/", 5) == 0)
        transfer->head.size = 0;
    if (add_bytes(&transfer->head, data, size))
        return size;
    http_transfer_fail(transfer, "the answer's fields are larger than 64 KiB", "");
    return 0;
}

/* ---- the request ---- */

static int set_method(struct http_transfer *transfer)
{
    const struct curl_library *curl = transfer->curl;
    const char *method = transfer->method;
    if (strcmp(method, "HEAD") == 0)
        return check(transfer, curl->easy_setopt(transfer->handle, CURLOPT_NOBODY, 1L));
    if (strcmp(method, "GET") == 0)
        return check(transfer, curl->easy_setopt(transfer->handle, CURLOPT_HTTPGET, 1L));
    /* Those that usually carry a body say so when it is empty. */
    if (strcmp(method, "POST") == 0 || strcmp(method, "PUT") == 0 || strcmp(method, "PATCH") == 0)
        return http_transfer_set_body(transfer, "", 0);
    return check(transfer, curl->easy_setopt(transfer->handle, CURLOPT_CUSTOMREQUEST, method));
}

static int set_options(struct http_transfer *transfer, const char *url)
{
    const struct {
        CURLoption option;
        long value;
    } numbers[] = {
        {CURLOPT_NOSIGNAL, 1},
        {CURLOPT_FOLLOWLOCATION, 1},
        {CURLOPT_MAXREDIRS, HTTP_REDIRECTS},
        {CURLOPT_SUPPRESS_CONNECT_HEADERS, 1},
        {CURLOPT_HTTPAUTH, (long)CURLAUTH_BASIC},
    };
    const struct {
        CURLoption option;
        const void *value;
    } pointers[] = {
        {CURLOPT_PROTOCOLS_STR, "http,https"},
        {CURLOPT_REDIR_PROTOCOLS_STR, "http,https"},
        {CURLOPT_URL, url},
        {CURLOPT_USERAGENT, "culvert/" CULVERT_VERSION},
        {CURLOPT_ACCEPT_ENCODING, "gzip"},
        {CURLOPT_CAINFO, getenv("SSL_CERT_FILE")},
        {CURLOPT_CAPATH, getenv("SSL_CERT_DIR")},
        {CURLOPT_ERRORBUFFER, transfer->error_text},
        {CURLOPT_PRIVATE, transfer},
        {CURLOPT_WRITEDATA, transfer},
        {CURLOPT_HEADERDATA, transfer},
    };
    const struct curl_library *curl = transfer->curl;
    int error = 0;
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers && error == 0; i++)
        error = check(transfer,
                      curl->easy_setopt(transfer->handle, numbers[i].option, numbers[i].value));
    for (size_t i = 0; i < sizeof pointers / sizeof *pointers && error == 0; i++) {
        if (pointers[i].value != NULL)
            error = check(transfer, curl->easy_setopt(transfer->handle, pointers[i].option,
                                                      pointers[i].value));
    }
    if (error == 0)
        error =
            check(transfer, curl->easy_setopt(transfer->handle, CURLOPT_WRITEFUNCTION, take_body));
    if (error == 0)
        error =
            check(transfer, curl->easy_setopt(transfer->handle, CURLOPT_HEADERFUNCTION, take_head));
    return error;
}

int http_transfer_init(struct http_transfer *transfer, const struct curl_library *curl,
                       const char *method, const char *url)
{
    *transfer = (struct http_transfer){
        .curl = curl, .body.limit = HTTP_BODY_MAX, .head.limit = HTTP_HEAD_MAX};
    snprintf(transfer->method, sizeof transfer->method, "%s", method);
    transfer->handle = curl->easy_init();
    if (transfer->handle == NULL)
        return fail(transfer, CULVERT_ERROR_NO_MEMORY, "memory has run out", "");
    int error = set_options(transfer, url);
    return error == 0 ? set_method(transfer) : error;
}

/* Takes the line in curl's own form, where a name alone removes a field. */
static int append_field(struct http_transfer *transfer, const char *line)
{
    struct curl_slist *fields = transfer->curl->slist_append(transfer->fields, line);
    if (fields == NULL)
        return fail(transfer, CULVERT_ERROR_NO_MEMORY, "memory has run out", "");
    transfer->fields = fields;
    return 0;
}

int http_transfer_add_field(struct http_transfer *transfer, const char *name, const char *value)
{
    if (!http_text_is_token(text_of(name)))
        return fail(transfer, CULVERT_ERROR_INVALID, "this cannot be the name of a field: ", name);
    if (!http_text_is_value(text_of(value)))
        return fail(transfer, CULVERT_ERROR_INVALID, "there are control characters in the field ",
                    name);
    size_t size = strlen(name) + strlen(value) + FIELD_EXTRA;
    char *line = memory_allocate(size);
    if (line == NULL)
        return fail(transfer, CULVERT_ERROR_NO_MEMORY, "memory has run out", "");
    if (value[strspn(value, " \t")] == '\0')
        snprintf(line, size, "%s;", name);
    else
        snprintf(line, size, "%s: %s", name, value);
    int error = append_field(transfer, line);
    memory_free(line);
    if (strcasecmp(name, "Content-Type") == 0)
        transfer->has_content_type = true;
    return error;
}

int http_transfer_set_body(struct http_transfer *transfer, const char *body, size_t size)
{
    CURL *handle = transfer->handle;
    const struct curl_library *curl = transfer->curl;
    int error = 0;
    if (strcmp(transfer->method, "HEAD") == 0)
        return 0;
    transfer->has_body = true;
    /* A body makes it a POST, which curl redirects as browsers do; the others need their name. */
    if (strcmp(transfer->method, "POST") != 0)
        error = check(transfer, curl->easy_setopt(handle, CURLOPT_CUSTOMREQUEST, transfer->method));
    if (error == 0)
        error = check(transfer,
                      curl->easy_setopt(handle, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)size));
    return error != 0 ? error
                      : check(transfer, curl->easy_setopt(handle, CURLOPT_COPYPOSTFIELDS, body));
}

int http_transfer_set_cookies(struct http_transfer *transfer, const char *cookies)
{
    return check(transfer, transfer->curl->easy_setopt(transfer->handle, CURLOPT_COOKIE, cookies));
}

int http_transfer_set_login(struct http_transfer *transfer, const char *user, const char *password)
{
    const struct curl_library *curl = transfer->curl;
    int error = check(transfer, curl->easy_setopt(transfer->handle, CURLOPT_USERNAME, user));
    if (error == 0)
        error = check(transfer, curl->easy_setopt(transfer->handle, CURLOPT_PASSWORD, password));
    return error;
}

int http_transfer_set_timeout(struct http_transfer *transfer, uint32_t milliseconds)
{
    /* 0 would be none. */
    long time = milliseconds > 0 ? (long)milliseconds : 1;
    return check(transfer, transfer->curl->easy_setopt(transfer->handle, CURLOPT_TIMEOUT_MS, time));
}

void http_transfer_deinit(struct http_transfer *transfer)
{
    if (transfer->curl == NULL)
        return;
    if (transfer->handle != NULL)
        transfer->curl->easy_cleanup(transfer->handle);
    transfer->curl->slist_free_all(transfer->fields);
    memory_free(transfer->url);
    memory_free(transfer->head.data);
    memory_free(transfer->body.data);
    *transfer = (struct http_transfer){0};
}

/* ---- performing ---- */

/* What curl would add of its own and Go does not. */
static int finish_request(struct http_transfer *transfer)
{
    int error = append_field(transfer, "Expect:");
    if (error == 0 && transfer->has_body && !transfer->has_content_type)
        error = append_field(transfer, "Content-Type:");
    if (error == 0)
        error = check(transfer, transfer->curl->easy_setopt(transfer->handle, CURLOPT_HTTPHEADER,
                                                            transfer->fields));
    return error;
}

static void note_url(struct http_transfer *transfer)
{
    char *url = NULL;
    transfer->curl->easy_getinfo(transfer->handle, CURLINFO_EFFECTIVE_URL, &url);
    transfer->url = memory_copy_text(url != NULL ? url : "");
    if (transfer->url != NULL)
        http_text_strip_login(transfer->url);
    else
        http_transfer_fail(transfer, "memory has run out", "");
}

static void note_result(struct http_transfer *transfer, CURLcode code)
{
    transfer->is_done = true;
    note_url(transfer);
    if (code == CURLE_OK || transfer->why[0] != '\0')
        return;
    const char *text = transfer->error_text[0] != '\0' ? transfer->error_text
                                                       : transfer->curl->easy_strerror(code);
    snprintf(transfer->why, sizeof transfer->why, "%s", text);
}

/* Takes what is done off the multi; returns how many those are. */
static size_t take_done(CURLM *multi, const struct curl_library *curl)
{
    size_t count = 0;
    int left;
    CURLMsg *message;
    while ((message = curl->multi_info_read(multi, &left)) != NULL) {
        char *private = NULL;
        CURL *handle = message->easy_handle;
        CURLcode code = message->data.result;
        if (message->msg != CURLMSG_DONE)
            continue;
        curl->easy_getinfo(handle, CURLINFO_PRIVATE, &private);
        curl->multi_remove_handle(multi, handle);
        note_result((struct http_transfer *)(void *)private, code);
        count++;
    }
    return count;
}

/* Ends what can go on no more. */
static void abandon(CURLM *multi, struct http_transfer *transfers, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (transfers[i].is_done || transfers[i].handle == NULL)
            continue;
        transfers[i].curl->multi_remove_handle(multi, transfers[i].handle);
        http_transfer_fail(&transfers[i], "libcurl gave up", "");
    }
}

void http_transfer_perform(const struct curl_library *curl, CURLM *multi,
                           struct http_transfer *transfers, size_t count)
{
    size_t next = 0;
    size_t active = 0;
    CURLMcode code = CURLM_OK;
    while (code == CURLM_OK && (next < count || active > 0)) {
        int running;
        for (; next < count && active < HTTP_AT_ONCE; next++) {
            struct http_transfer *transfer = &transfers[next];
            if (transfer->why[0] != '\0' || finish_request(transfer) != 0)
                continue;
            if (curl->multi_add_handle(multi, transfer->handle) == CURLM_OK)
                active++;
            else
                http_transfer_fail(transfer, "memory has run out", "");
        }
        code = curl->multi_perform(multi, &running);
        size_t done = take_done(multi, curl);
        active -= done;
        if (code == CURLM_OK && active > 0 && done == 0)
            code = curl->multi_poll(multi, NULL, 0, POLL_MILLISECONDS, NULL);
    }
    if (code != CURLM_OK)
        abandon(multi, transfers, count);
}

/* ---- the answer ---- */

long http_transfer_status(const struct http_transfer *transfer)
{
    long status = 0;
    transfer->curl->easy_getinfo(transfer->handle, CURLINFO_RESPONSE_CODE, &status);
    return status;
}
