#include "journal/webhook_post.h"

#include "base/error.h"
#include "base/memory.h"
#include "journal/clock.h"

#include <openssl/hmac.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { POLL_MAX = 1000 /* milliseconds; libcurl has timers of its own */ };

static int refuse(char *why, size_t why_size, const char *problem)
{
    snprintf(why, why_size, "the webhook's URL %s", problem);
    return CULVERT_ERROR_INVALID;
}

/* Fills in `place`. A URL without a host, such as file:///a, has no port either. */
static int look_at_parts(struct webhook_post *post, CURLU *parts, char *why, size_t why_size)
{
    const struct curl_library *curl = post->curl;
    char *scheme = NULL;
    char *host = NULL;
    char *port = NULL;
    int error = CULVERT_ERROR_NO_MEMORY;
    if (curl->url_get(parts, CURLUPART_SCHEME, &scheme, 0) != CURLUE_OK)
        return error;
    if (strcmp(scheme, "http") != 0 && strcmp(scheme, "https") != 0) {
        error = refuse(why, why_size, "must begin with http:// or https://");
    } else if (curl->url_get(parts, CURLUPART_HOST, &host, 0) == CURLUE_OK &&
               curl->url_get(parts, CURLUPART_PORT, &port, CURLU_DEFAULT_PORT) == CURLUE_OK) {
        snprintf(post->place, sizeof post->place, "%s://%s:%s", scheme, host, port);
        error = 0;
    }
    curl->free(scheme);
    curl->free(host);
    curl->free(port);
    return error;
}

static int check_url(struct webhook_post *post, const char *url, char *why, size_t why_size)
{
    CURLU *parts = post->curl->url();
    if (parts == NULL)
        return CULVERT_ERROR_NO_MEMORY;
    CURLUcode code = post->curl->url_set(parts, CURLUPART_URL, url, CURLU_NON_SUPPORT_SCHEME);
    int error = CULVERT_ERROR_NO_MEMORY;
    if (code == CURLUE_OK)
        error = look_at_parts(post, parts, why, why_size);
    else if (code != CURLUE_OUT_OF_MEMORY)
        error = refuse(why, why_size, "is none; it looks like https://host/path");
    post->curl->url_cleanup(parts);
    return error;
}

static size_t skip_answer(char *data, size_t size, size_t count, void *context)
{
    struct webhook_post *post = context;
    (void)data;
    post->answer_size += size * count;
    return post->answer_size <= WEBHOOK_ANSWER ? size * count : 0;
}

static int set_options(struct webhook_post *post, const char *url)
{
    const struct curl_library *curl = post->curl;
    CURL *easy = post->easy;
    int failed = curl->easy_setopt(easy, CURLOPT_URL, url) != CURLE_OK;
    failed |= curl->easy_setopt(easy, CURLOPT_POST, 1L) != CURLE_OK;
    failed |= curl->easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L) != CURLE_OK;
    failed |= curl->easy_setopt(easy, CURLOPT_TIMEOUT_MS, (long)WEBHOOK_TIMEOUT) != CURLE_OK;
    failed |= curl->easy_setopt(easy, CURLOPT_WRITEFUNCTION, skip_answer) != CURLE_OK;
    failed |= curl->easy_setopt(easy, CURLOPT_WRITEDATA, post) != CURLE_OK;
    failed |= curl->easy_setopt(easy, CURLOPT_ERRORBUFFER, post->problem) != CURLE_OK;
    return failed ? CULVERT_ERROR_NO_MEMORY : curl_library_set_up(curl, easy);
}

int webhook_post_init(struct webhook_post *post, const char *url, const char *secret, char *why,
                      size_t why_size)
{
    *post = (struct webhook_post){.curl = curl_library()};
    if (post->curl == NULL) {
        snprintf(why, why_size, "a webhook needs libcurl (libcurl.so.4), which cannot be loaded");
        return CULVERT_ERROR_UNSUPPORTED;
    }
    int error = check_url(post, url, why, why_size);
    if (error == CULVERT_ERROR_INVALID)
        return error;
    post->multi = post->curl->multi_init();
    post->easy = post->curl->easy_init();
    if (secret != NULL)
        post->secret = memory_copy_text(secret);
    if (error != 0 || post->multi == NULL || post->easy == NULL ||
        (secret != NULL && post->secret == NULL) || set_options(post, url) != 0) {
        snprintf(why, why_size, "cannot start the webhook: %s",
                 error_text(CULVERT_ERROR_NO_MEMORY));
        return CULVERT_ERROR_NO_MEMORY;
    }
    return 0;
}

static void forget_secret(struct webhook_post *post)
{
    if (post->secret != NULL)
        explicit_bzero(post->secret, strlen(post->secret));
    memory_free(post->secret);
    post->secret = NULL;
}

int webhook_post_set_secret(struct webhook_post *post, const char *secret)
{
    char *copy = memory_copy_text(secret);
    if (copy == NULL)
        return CULVERT_ERROR_NO_MEMORY;
    forget_secret(post);
    post->secret = copy;
    return 0;
}

bool webhook_post_has_secret(const struct webhook_post *post, const char *secret)
{
    return post->secret != NULL && strcmp(post->secret, secret) == 0;
}

void webhook_post_deinit(struct webhook_post *post)
{
    if (post->curl == NULL)
        return;
    if (post->easy != NULL)
        post->curl->easy_cleanup(post->easy);
    if (post->multi != NULL)
        post->curl->multi_cleanup(post->multi);
    forget_secret(post);
    *post = (struct webhook_post){.curl = NULL};
}

static bool sign(const struct webhook_post *post, const char *body, size_t size, char *out,
                 size_t out_size)
{
    unsigned char digest[SHA256_DIGEST_LENGTH];
    unsigned digest_size = 0;
    if (HMAC(EVP_sha256(), post->secret, (int)strlen(post->secret), (const unsigned char *)body,
             size, digest, &digest_size) == NULL)
        return false;
    int at = snprintf(out, out_size, "Culvert-Signature: sha256=");
    for (unsigned i = 0; i < digest_size; i++)
        at += snprintf(out + at, out_size - (size_t)at, "%02x", digest[i]);
    return true;
}

static bool add_header(const struct webhook_post *post, struct curl_slist **list, const char *text)
{
    struct curl_slist *longer = post->curl->slist_append(*list, text);
    if (longer != NULL)
        *list = longer;
    return longer != NULL;
}

/* "Expect: 100-continue" would cost a large batch a round trip, or a second with who ignores it. */
static bool add_headers(const struct webhook_post *post, struct curl_slist **list, const char *body,
                        size_t size)
{
    char signature[128];
    return add_header(post, list, "Content-Type: application/json") &&
           add_header(post, list, "Expect:") &&
           (post->secret == NULL || (sign(post, body, size, signature, sizeof signature) &&
                                     add_header(post, list, signature)));
}

static void drain(int descriptor)
{
    uint64_t count;
    while (read(descriptor, &count, sizeof count) > 0)
        continue;
}

/* Returns false when the limit came first. */
static bool run(struct webhook_post *post, const struct webhook_limit *limit)
{
    for (int running = 1;;) {
        if (post->curl->multi_perform(post->multi, &running) != CURLM_OK || running == 0)
            return true;
        int64_t deadline = atomic_load(limit->deadline);
        int64_t left = deadline == 0 ? POLL_MAX : deadline - clock_milliseconds();
        if (left <= 0)
            return false;
        struct curl_waitfd extra = {.fd = limit->changed, .events = CURL_WAIT_POLLIN};
        post->curl->multi_poll(post->multi, &extra, 1, left < POLL_MAX ? (int)left : POLL_MAX,
                               NULL);
        drain(limit->changed);
    }
}

static CURLcode outcome(struct webhook_post *post)
{
    int left = 0;
    for (CURLMsg *message; (message = post->curl->multi_info_read(post->multi, &left)) != NULL;) {
        if (message->msg == CURLMSG_DONE)
            return message->data.result;
    }
    return CURLE_OUT_OF_MEMORY;
}

static enum webhook_result judge(struct webhook_post *post, CURLcode code, long *status,
                                 int64_t *retry_after)
{
    curl_off_t after = 0;
    *status = 0;
    /* Whoever sends more than anybody wants to read has answered nevertheless. */
    if (code == CURLE_OK || post->answer_size > WEBHOOK_ANSWER)
        post->curl->easy_getinfo(post->easy, CURLINFO_RESPONSE_CODE, status);
    if (*status == 0) {
        if (post->problem[0] == '\0')
            snprintf(post->problem, sizeof post->problem, "%s", post->curl->easy_strerror(code));
        return WEBHOOK_FAILED;
    }
    post->curl->easy_getinfo(post->easy, CURLINFO_RETRY_AFTER, &after);
    *retry_after = after > 0 ? (int64_t)after : 0;
    return WEBHOOK_ANSWERED;
}

enum webhook_result webhook_post_send(struct webhook_post *post, const struct webhook_limit *limit,
                                      const char *body, size_t size, long *status,
                                      int64_t *retry_after)
{
    const struct curl_library *curl = post->curl;
    struct curl_slist *headers = NULL;
    enum webhook_result result = WEBHOOK_FAILED;
    post->answer_size = 0;
    post->problem[0] = '\0';
    if (!add_headers(post, &headers, body, size) ||
        curl->easy_setopt(post->easy, CURLOPT_HTTPHEADER, headers) != CURLE_OK ||
        curl->easy_setopt(post->easy, CURLOPT_POSTFIELDS, body) != CURLE_OK ||
        curl->easy_setopt(post->easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)size) != CURLE_OK ||
        curl->multi_add_handle(post->multi, post->easy) != CURLM_OK) {
        snprintf(post->problem, sizeof post->problem, "%s", error_text(CULVERT_ERROR_NO_MEMORY));
    } else {
        bool is_over = run(post, limit);
        CURLcode code = is_over ? outcome(post) : CURLE_OK;
        result = is_over ? judge(post, code, status, retry_after) : WEBHOOK_INTERRUPTED;
        curl->multi_remove_handle(post->multi, post->easy);
    }
    curl->easy_setopt(post->easy, CURLOPT_HTTPHEADER, NULL);
    curl->easy_setopt(post->easy, CURLOPT_POSTFIELDS, NULL);
    curl->slist_free_all(headers);
    return result;
}
