/*
 * Input: what a caller sends on one connection, requests one behind the other. Each beginning of a
 * head must need more or be decided as the whole is; what is refused says why, in an answer whose
 * body is JSON again; what is taken has a body that is JSON or is refused.
 */
#include "api/api_answer.h"
#include "api/api_request.h"
#include "api/api_test_routes.h"
#include "base/error.h"
#include "codec/guarded_page.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct guarded_page page;
static struct api_access access_granted;

static void require(bool condition)
{
    if (!condition)
        abort();
}

static int read_head(const uint8_t *data, size_t size, struct api_call *call, size_t *used)
{
    struct http1_head head;
    int result = http1_parse_request(guarded_page_put(&page, data, size), size, &head, used);
    if (result == CULVERT_NEED_MORE)
        return result;
    if (result == 0)
        api_request_head(&access_granted, api_test_routes, API_TEST_ROUTES, &head, call);
    else
        api_request_malformed(call, result);
    return 0;
}

static void check_beginnings(const uint8_t *data, size_t size, const struct api_call *whole)
{
    struct api_call call;
    size_t used = 0;
    size_t step = size < 256 ? 1 : 61;
    for (size_t i = 0; i < size; i += step) {
        if (read_head(data, i, &call, &used) == CULVERT_NEED_MORE)
            continue;
        require(call.problem.status == whole->problem.status && !call.keeps_open);
    }
}

/* The answer to a problem is HTTP, and its body JSON with this status. */
static void check_answer(struct api_call *call)
{
    struct api_answer answer = {0};
    struct http1_head head;
    size_t used = 0;
    uint64_t length = 0;
    int status = call->problem.status;
    require(call->problem.detail[0] != '\0');
    require(api_answer_compose(&answer, call, &call->problem, 784111777) == 0);
    require(http1_parse_response((const uint8_t *)answer.data, answer.size, &head, &used) == 0);
    require(head.status == status && http1_content_length(&head, &length) == 0);
    if (call->is_head) {
        require(used == answer.size);
    } else {
        require(length == answer.size - used);
        json_t *problem = json_loadb(answer.data + used, (size_t)length, 0, NULL);
        require(json_integer_value(json_object_get(problem, "status")) == status);
        json_decref(problem);
    }
    api_answer_deinit(&answer);
}

/* Returns how many bytes the request took, 0 if the connection ends here. */
static size_t check_request(const uint8_t *data, size_t size)
{
    struct api_call call;
    size_t head_size = 0;
    if (read_head(data, size, &call, &head_size) == CULVERT_NEED_MORE)
        return 0;
    check_beginnings(data, head_size > 0 ? head_size : size, &call);
    size_t end = head_size + call.body_size;
    if (call.problem.status == 0) {
        require(call.route != NULL && call.body_size <= API_MAX_BODY);
        require(call.route->has_body || call.body_size == 0);
        if (end > size)
            return 0;
        if (!call.route->has_body)
            return end;
        json_t *body =
            api_request_body(&call, guarded_page_put(&page, data + head_size, call.body_size));
        require((body == NULL) == (call.problem.status != 0));
        json_decref(body);
    }
    bool goes_on = call.keeps_open;
    if (call.problem.status != 0)
        check_answer(&call);
    return goes_on ? end : 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (page.bytes == NULL) {
        struct sockaddr_storage address = {.ss_family = AF_UNIX};
        page = guarded_page_new(1024 * 1024);
        api_access_init(&access_granted, API_TEST_TOKEN, "", &address);
        /* So that Host and Origin are looked at too. */
        access_granted.takes_any_host = false;
        access_granted.port = 80;
        access_granted.host_count = 1;
        access_granted.hosts[0][0] = 'a';
    }
    size_t used;
    for (size = size < page.capacity ? size : page.capacity; size > 0; size -= used, data += used) {
        used = check_request(data, size);
        if (used == 0)
            break;
    }
    return 0;
}
