#include "api/api_answer.h"

#include "api/problem.h"
#include "base/error.h"
#include "base/memory.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

enum { HEAD_SIZE = 1024, DATE_SIZE = 48 };

void api_answer_deinit(struct api_answer *answer)
{
    if (answer->data != NULL)
        explicit_bzero(answer->data, answer->size);
    memory_free(answer->data);
    *answer = (struct api_answer){0};
}

/* RFC 9110 §5.6.7 */
static void write_date(long long now, char date[static DATE_SIZE])
{
    struct tm parts;
    time_t time = (time_t)now;
    date[0] = '\0';
    if (gmtime_r(&time, &parts) == NULL ||
        strftime(date, DATE_SIZE, "Date: %a, %d %b %Y %H:%M:%S GMT\r\n", &parts) == 0)
        date[0] = '\0';
}

static void append_field(char head[static HEAD_SIZE], const char *name, const char *value)
{
    size_t size = strlen(head);
    if (value[0] != '\0')
        snprintf(head + size, HEAD_SIZE - size, "%s: %s\r\n", name, value);
}

static void write_head(const struct api_call *call, const struct api_response *response,
                       size_t body_size, long long now, char head[static HEAD_SIZE])
{
    char date[DATE_SIZE];
    char length[32] = "";
    bool is_problem = response->status >= 400;
    write_date(now, date);
    if (response->status != 204) /* RFC 9110 §8.6 */
        snprintf(length, sizeof length, "%zu", body_size);
    snprintf(head, HEAD_SIZE, "HTTP/1.1 %d %s\r\n%s", response->status,
             problem_title(response->status), date);
    if (response->body != NULL)
        append_field(head, "Content-Type",
                     is_problem ? "application/problem+json" : "application/json");
    append_field(head, "Content-Length", length);
    append_field(head, "Location", response->location);
    if (response->status == 405)
        append_field(head, "Allow", call->allow);
    if (response->status == 401)
        append_field(head, "WWW-Authenticate", "Bearer");
    append_field(head, "Cache-Control", "no-store");
    append_field(head, "X-Content-Type-Options", "nosniff");
    append_field(head, "Connection", call->keeps_open ? "" : "close");
    snprintf(head + strlen(head), HEAD_SIZE - strlen(head), "\r\n");
}

static int settle(struct api_response *response)
{
    if (response->status >= 400) {
        json_decref(response->body);
        response->body = problem_new(response->status, response->detail, response->field);
        return response->body != NULL ? 0 : CULVERT_ERROR_NO_MEMORY;
    }
    if (response->status == 0)
        response->status = response->body != NULL ? 200 : 204;
    return 0;
}

int api_answer_compose(struct api_answer *answer, const struct api_call *call,
                       struct api_response *response, long long now)
{
    char head[HEAD_SIZE];
    int result = settle(response);
    if (result != 0)
        goto out;
    size_t body_size = 0;
    result = CULVERT_ERROR_NO_MEMORY;
    if (response->body != NULL) {
        body_size = json_dumpb(response->body, NULL, 0, JSON_COMPACT);
        if (body_size == 0)
            goto out;
    }
    write_head(call, response, body_size, now, head);
    size_t head_size = strlen(head);
    size_t sent_size = call->is_head ? 0 : body_size;
    char *data = memory_allocate(head_size + sent_size);
    if (data == NULL)
        goto out;
    memcpy(data, head, head_size);
    if (sent_size > 0 &&
        json_dumpb(response->body, data + head_size, sent_size, JSON_COMPACT) != sent_size) {
        memory_free(data);
        goto out;
    }
    *answer = (struct api_answer){.data = data, .size = head_size + sent_size};
    result = 0;
out:
    json_decref(response->body);
    response->body = NULL;
    return result;
}
