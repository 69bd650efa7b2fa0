/*
 * One POST at a time to a URL, through libcurl: signed, bounded in time, interruptible. Belongs to
 * one thread.
 */
#ifndef JOURNAL_WEBHOOK_POST_H
#define JOURNAL_WEBHOOK_POST_H

#include "net/curl_library.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    WEBHOOK_TIMEOUT = 10000,    /* milliseconds for a whole POST */
    WEBHOOK_SECRET_SIZE = 257,  /* that a file may hold, with the final zero */
    WEBHOOK_ANSWER = 64 * 1024, /* bytes of an answer's body, which is not looked at */
};

struct webhook_post {
    const struct curl_library *curl;
    CURLM *multi;
    CURL *easy;
    char *secret;
    /* To be shown: the URL may hold a password, or be a secret as a whole. */
    char place[320];
    char problem[CURL_ERROR_SIZE];
    size_t answer_size;
};

enum webhook_result {
    WEBHOOK_ANSWERED, /* look at the status */
    WEBHOOK_FAILED,   /* `problem` says why */
    WEBHOOK_INTERRUPTED,
};

/* Until when a POST may take. */
struct webhook_limit {
    const _Atomic(int64_t) *deadline; /* milliseconds, monotonic; 0: none so far */
    int changed; /* an eventfd that is readable when the deadline has been set; is emptied */
};

/* The URL is http or https. `secret` may be NULL. Texts are copied. Returns 0, or an error with a
 * sentence in `why`. */
int webhook_post_init(struct webhook_post *post, const char *url, const char *secret, char *why,
                      size_t why_size);
/* Signs with this secret from the next POST on. Returns 0 or CULVERT_ERROR_NO_MEMORY, after which
 * the old secret stays. */
int webhook_post_set_secret(struct webhook_post *post, const char *secret);
/* Whether it signs with this secret. */
bool webhook_post_has_secret(const struct webhook_post *post, const char *secret);
/* Repeatable, also after a failed init. */
void webhook_post_deinit(struct webhook_post *post);

/* `status` is set for WEBHOOK_ANSWERED, as is `retry_after`: the seconds that the answer asks for,
 * or 0. */
enum webhook_result webhook_post_send(struct webhook_post *post, const struct webhook_limit *limit,
                                      const char *body, size_t size, long *status,
                                      int64_t *retry_after);

#endif
