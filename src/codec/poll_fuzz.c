/*
 * Input: a request's head. What is read from it keeps its bounds, and what has been read stands in
 * the head as one field each; a request that was read is read the same when it is written anew.
 */
#include "base/error.h"
#include "codec/guarded_page.h"
#include "codec/poll.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct guarded_page page;

static void require(bool condition)
{
    if (!condition)
        abort();
}

static bool is_refusal(int status)
{
    return status == 400 || status == 403 || status == 405 || status == 411 || status == 413;
}

static void check_id(const char *id)
{
    require(strlen(id) == POLL_ID_TEXT_SIZE - 1);
    require(strspn(id, "0123456789abcdef") == POLL_ID_TEXT_SIZE - 1);
}

static int write_anew(const struct poll_request *request, char *out, size_t room)
{
    const char *kept = request->is_kept ? "keep-alive" : "close";
    const char *expects = request->asks_first ? "Expect: 100-continue\r\n" : "";
    if (request->kind == POLL_OPEN)
        return snprintf(out, room,
                        "POST / HTTP/1.1\r\nHost: a\r\nCulvert-Poll: open\r\nConnection: %s\r\n"
                        "%s%s%s\r\n",
                        kept, request->has_link ? "Culvert-Link: " : "", request->link,
                        request->has_link ? "\r\n" : "");
    return snprintf(out, room,
                    "POST / HTTP/1.1\r\nHost: a\r\nCulvert-Poll: %s\r\nConnection: %s\r\n"
                    "Culvert-%s: %llu\r\nContent-Length: %zu\r\n%s\r\n",
                    request->id, kept, request->kind == POLL_UP ? "Up" : "Down",
                    (unsigned long long)request->number, request->size, expects);
}

static void check_request(const struct poll_request *request)
{
    require(request->kind == POLL_OPEN || request->kind == POLL_UP || request->kind == POLL_DOWN);
    if (request->kind == POLL_OPEN) {
        require(request->id[0] == '\0' && request->number == 0 && !request->asks_first);
        if (request->has_link)
            check_id(request->link);
    } else {
        check_id(request->id);
        require(request->number >= 1 && request->number <= POLL_MAX_NUMBER);
    }
    require(request->size <= POLL_MAX_BODY);
    require((request->size > 0) == (request->kind == POLL_UP));

    char text[512];
    struct http1_head head;
    struct poll_request again;
    size_t used = 0;
    int size = write_anew(request, text, sizeof(text));
    require(http1_parse_request((const uint8_t *)text, (size_t)size, &head, &used) == 0);
    require(poll_read_request(&head, &again) == 0);
    require(again.kind == request->kind && again.is_kept == request->is_kept &&
            again.asks_first == request->asks_first && again.has_link == request->has_link &&
            again.number == request->number && again.size == request->size &&
            strcmp(again.id, request->id) == 0 && strcmp(again.link, request->link) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (page.bytes == NULL)
        page = guarded_page_new(1024 * 1024);
    struct http1_head head;
    size_t used = 0;
    if (size > page.capacity ||
        http1_parse_request(guarded_page_put(&page, data, size), size, &head, &used) != 0)
        return 0;
    struct poll_request request;
    int status = poll_read_request(&head, &request);
    require(status == 0 || is_refusal(status));
    require(status != 0 || poll_is_request(&head));
    if (status == 0)
        check_request(&request);
    return 0;
}
