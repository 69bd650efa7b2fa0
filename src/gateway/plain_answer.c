#include "gateway/plain_answer.h"

#include "carrier/upgrade.h"

#include <stddef.h>

/* Answers of health checks must not come out of a cache. */
#define NO_STORE "Cache-Control: no-store\r\n"

/* Without the query (RFC 3986 §3.4). */
static struct text path_of(struct text target)
{
    size_t size = 0;
    while (size < target.size && target.data[size] != '?')
        size++;
    return (struct text){target.data, size};
}

static struct plain_answer front_page(bool is_original)
{
    if (is_original)
        return (struct plain_answer){
            .status = "400 Bad Request", .fields = "", .body = "Bad Request\n"};
    return (struct plain_answer){
        .status = "200 OK",
        .fields = "",
        .body = "This is a culvert gateway. Agents connect to it by WebSocket or long poll.\n",
    };
}

static struct plain_answer readiness(const char *objection)
{
    return (struct plain_answer){
        .status = objection == NULL ? "200 OK" : "503 Service Unavailable",
        .fields = NO_STORE,
        .body = objection == NULL ? "ok\n" : objection,
    };
}

static struct plain_answer upgrade_required(void)
{
    return (struct plain_answer){
        .status = "426 Upgrade Required",
        .fields = "Upgrade: websocket\r\n",
        .body = "This is a culvert gateway. Agents connect to it by WebSocket (" UPGRADE_PROTOCOL
                ").\n",
    };
}

/* The paths that have an answer of their own. Returns whether this is one. */
static bool find_page(struct text path, bool is_original, const char *objection,
                      struct plain_answer *answer)
{
    if (text_equals(path, "/healthz"))
        *answer = (struct plain_answer){.status = "200 OK", .fields = NO_STORE, .body = "ok\n"};
    else if (text_equals(path, "/readyz"))
        *answer = readiness(objection);
    else if (text_equals(path, "/"))
        *answer = front_page(is_original);
    else
        return false;
    return true;
}

struct plain_answer plain_answer_to(const struct http1_head *head, bool is_original,
                                    const char *objection)
{
    struct plain_answer answer = {0};
    bool is_head = text_equals(head->method, "HEAD");
    bool is_agent = http1_find(head, "Sec-WebSocket-Key") != NULL;
    if (is_agent || (!is_head && !text_equals(head->method, "GET")) ||
        !find_page(path_of(head->target), is_original, objection, &answer))
        answer = upgrade_required();
    answer.has_no_body = is_head;
    return answer;
}
