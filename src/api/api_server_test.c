#include "api/api_connection.h"
#include "api/api_test_client.h"
#include "api/api_test_routes.h"
#include "base/error.h"
#include "base/log.h"
#include "base/memory.h"
#include "ends/test_loop.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

enum { QUIET_TURNS = 20 };

#define HEAD(method, path) \
    method " " path " HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer " API_TEST_TOKEN "\r\n"
#define GET(path) HEAD("GET", path) "\r\n"

struct fixture {
    struct test_loop test;
    struct api_test_calls calls;
    struct api_server *server;
    char directory[64];
    char path[128];
};

/* ---- the server ---- */

static int open_at(struct fixture *fixture, const char *host, uint16_t port, const char *path,
                   struct api_server **server, char why[static API_DETAIL_SIZE])
{
    struct api_server_config config = {
        .host = host,
        .port = port,
        .path = path,
        .token = API_TEST_TOKEN,
        .routes = api_test_routes,
        .route_count = API_TEST_ROUTES,
        .context = &fixture->calls,
    };
    why[0] = '\0';
    return api_server_new(&fixture->test.loop, &config, server, why, API_DETAIL_SIZE);
}

static int set_up(void **state)
{
    static struct fixture fixture;
    char why[API_DETAIL_SIZE];
    memset(&fixture, 0, sizeof fixture);
    test_loop_open(&fixture.test);
    umask(0);
    snprintf(fixture.directory, sizeof fixture.directory, "/tmp/culvert-api-XXXXXX");
    assert_non_null(mkdtemp(fixture.directory));
    snprintf(fixture.path, sizeof fixture.path, "%s/socket", fixture.directory);
    assert_int_equal(open_at(&fixture, NULL, 0, fixture.path, &fixture.server, why), 0);
    fixture.calls.to_close = fixture.server;
    *state = &fixture;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;
    if (fixture->calls.to_close != NULL)
        api_server_close(fixture->server);
    test_loop_close(&fixture->test);
    assert_int_equal(access(fixture->path, F_OK), -1);
    assert_int_equal(rmdir(fixture->directory), 0);
    return 0;
}

static void client_await(struct fixture *fixture, struct client *client, const char *text,
                         unsigned times)
{
    client->awaited = text;
    client->times = times;
    test_loop_until(&fixture->test, client_has_come, client);
}

/* ---- tests ---- */

static void test_answers_with_json(void **state)
{
    struct fixture *fixture = *state;
    struct client client;
    client_open(&client, fixture->path);
    client_send(&client, GET("/v1/things"));
    client_await(fixture, &client, "{\"things\":[]}", 1);
    assert_memory_equal(client.answer, "HTTP/1.1 200 OK\r\n", 17);
    client_assert_has(&client, "\r\nContent-Type: application/json\r\n");
    client_assert_has(&client, "\r\nContent-Length: 13\r\n");
    client_assert_has(&client, "\r\nCache-Control: no-store\r\n");
    client_assert_has(&client, "\r\nX-Content-Type-Options: nosniff\r\n");
    client_close(&client);
}

#define POST(path, length, body) \
    HEAD("POST", path)           \
    "Content-Type: application/json\r\nContent-Length: " length "\r\n\r\n" body

static void test_takes_a_body_and_tells_a_location(void **state)
{
    struct fixture *fixture = *state;
    struct client client;
    client_open(&client, fixture->path);
    client_send(&client, POST("/v1/things", "12", "{\"name\":\"a\"}"));
    client_await(fixture, &client, "{\"name\":\"a\"}", 1);
    assert_memory_equal(client.answer, "HTTP/1.1 201 Created\r\n", 22);
    client_assert_has(&client, "\r\nLocation: /v1/things/a\r\n");
    client_send(&client, HEAD("DELETE", "/v1/things/a") "\r\n");
    client_await(fixture, &client, "HTTP/1.1 204 No Content\r\n", 1);
    client_close(&client);
}

static void test_tells_problems(void **state)
{
    struct fixture *fixture = *state;
    struct client client;
    client_open(&client, fixture->path);
    client_send(&client, POST("/v1/things", "2", "{}"));
    client_await(fixture, &client, "}", 1);
    client_assert_has(&client, "\r\nContent-Type: application/problem+json\r\n");
    client_assert_has(&client, "{\"type\":\"about:blank\",\"title\":\"Bad Request\",\"status\":400,"
                               "\"detail\":\"name is missing\",\"field\":\"name\"}");
    client_send(&client, GET("/v2"));
    client_await(fixture, &client, "HTTP/1.1 404 Not Found\r\n", 1);
    client_send(&client, HEAD("PUT", "/v1/things") "\r\n");
    client_await(fixture, &client, "HTTP/1.1 405 Method Not Allowed\r\n", 1);
    client_await(fixture, &client, "\r\nAllow: GET, HEAD, POST\r\n", 1);
    client_close(&client);
}

static void test_one_byte_at_a_time(void **state)
{
    struct fixture *fixture = *state;
    struct client client;
    static const char REQUEST[] = POST("/v1/things", "12", "{\"name\":\"a\"}");
    client_open(&client, fixture->path);
    for (size_t i = 0; i < sizeof REQUEST - 1; i++) {
        assert_int_equal(fixture->calls.count, 0);
        assert_int_equal(send(client.fd, REQUEST + i, 1, MSG_NOSIGNAL), 1);
        uv_run(&fixture->test.loop.uv, UV_RUN_NOWAIT);
    }
    client_await(fixture, &client, "HTTP/1.1 201 Created\r\n", 1);
    client_close(&client);
}

static void test_answers_pipelined_requests_in_turn(void **state)
{
    struct fixture *fixture = *state;
    struct client client;
    client_open(&client, fixture->path);
    client_send(&client, GET("/v1/things/1") POST("/v1/things", "12", "{\"name\":\"2\"}")
                             HEAD("HEAD", "/v1/things/3") "\r\n" GET("/v1/things/4"));
    client_await(fixture, &client, "{\"name\":\"4\"}", 1);
    assert_int_equal(fixture->calls.count, 4);
    const char *one = strstr(client.answer, "{\"name\":\"1\"}");
    const char *two = strstr(client.answer, "{\"name\":\"2\"}");
    assert_true(one != NULL && two != NULL && one < two);
    assert_null(strstr(client.answer, "{\"name\":\"3\"}"));
    assert_int_equal(client_count_text(client.answer, "\r\nContent-Length: 12\r\n"), 4);
    client_close(&client);
}

static int warnings;

static bool note_warning(enum log_level level, const char *message)
{
    warnings += level == LOG_WARNING && strstr(message, "refused a call from local socket");
    return true;
}

static void test_waits_with_a_strangers_refusal(void **state)
{
    struct fixture *fixture = *state;
    struct client stranger;
    struct client client;
    warnings = 0;
    log_set_receiver(note_warning);
    client_open(&stranger, fixture->path);
    client_open(&client, fixture->path);
    client_send(&stranger, "GET /v1/things HTTP/1.1\r\nHost: localhost\r\n"
                           "Authorization: Bearer 0123456789abcdeF\r\n\r\n");
    client_send(&client, GET("/v1/things") GET("/v1/things/a"));
    client_await(fixture, &client, "{\"name\":\"a\"}", 1);
    client_read(&stranger);
    assert_int_equal(stranger.size, 0);
    client_await(fixture, &stranger, "HTTP/1.1 401 Unauthorized\r\n", 1);
    assert_int_equal(warnings, 1);
    log_set_receiver(NULL);
    client_assert_has(&stranger, "\r\nWWW-Authenticate: Bearer\r\n");
    assert_int_equal(fixture->calls.count, 2);
    client_close(&stranger);
    client_close(&client);
}

static void test_says_continue(void **state)
{
    struct fixture *fixture = *state;
    struct client client;
    client_open(&client, fixture->path);
    client_send(&client,
                HEAD("POST", "/v1/things") "Content-Type: application/json\r\n"
                                           "Content-Length: 12\r\nExpect: 100-continue\r\n\r\n");
    client_await(fixture, &client, "HTTP/1.1 100 Continue\r\n\r\n", 1);
    client_send(&client, "{\"name\"");
    uv_run(&fixture->test.loop.uv, UV_RUN_NOWAIT);
    client_send(&client, ":\"a\"}");
    client_await(fixture, &client, "HTTP/1.1 201 Created\r\n", 1);
    assert_int_equal(client_count_text(client.answer, "100 Continue"), 1);
    client_close(&client);
}

/* The body that follows must not reset the connection before the answer has been read. */
static void test_a_refused_body_does_not_cost_the_answer(void **state)
{
    struct fixture *fixture = *state;
    struct client client;
    char piece[8192];
    memset(piece, ' ', sizeof piece);
    client_open(&client, fixture->path);
    client_send(&client, POST("/v1/things", "65537", ""));
    for (int i = 0; i < 8; i++) {
        assert_int_equal(send(client.fd, piece, sizeof piece, MSG_NOSIGNAL), sizeof piece);
        uv_run(&fixture->test.loop.uv, UV_RUN_NOWAIT);
    }
    client_await(fixture, &client, "HTTP/1.1 413 Content Too Large\r\n", 1);
    client_assert_has(&client, "\r\nConnection: close\r\n");
    test_loop_until(&fixture->test, client_has_ended, &client);
    client_close(&client);
}

/* What follows a request that was refused is thrown away, but not for as long as it comes. */
static void test_a_refused_caller_who_goes_on_is_sent_away(void **state)
{
    enum { FAR_TOO_MUCH = 16 * 1024 * 1024 };
    struct fixture *fixture = *state;
    struct client client;
    char piece[8192];
    size_t sent = 0;
    ssize_t count = 0;
    memset(piece, ' ', sizeof piece);
    client_open(&client, fixture->path);
    client_send(&client, POST("/v1/things", "65537", ""));
    while (sent < FAR_TOO_MUCH && (count >= 0 || errno == EAGAIN)) {
        count = send(client.fd, piece, sizeof piece, MSG_NOSIGNAL);
        sent += count > 0 ? (size_t)count : 0;
        uv_run(&fixture->test.loop.uv, UV_RUN_NOWAIT);
    }
    assert_in_range(sent, 1024 * 1024, FAR_TOO_MUCH - 1);
    client_await(fixture, &client, "HTTP/1.1 413 Content Too Large\r\n", 1);
    client_close(&client);
}

static void test_a_slow_reader_holds_nobody(void **state)
{
    struct fixture *fixture = *state;
    static struct client slow;
    struct client client;
    client_open(&slow, fixture->path);
    client_open(&client, fixture->path);
    client_send(&slow, GET("/v1/much") GET("/v1/things/a"));
    client_send(&client, GET("/v1/things"));
    client_await(fixture, &client, "{\"things\":[]}", 1);
    assert_int_equal(fixture->calls.count, 2);
    client_send(&slow, GET("/v1/things/b"));
    assert_true(test_loop_idle(&fixture->test) < QUIET_TURNS);
    size_t received = 0;
    while (fixture->calls.count < 3) {
        slow.size = 0;
        client_read(&slow);
        received += slow.size;
        uv_run(&fixture->test.loop.uv, UV_RUN_NOWAIT);
    }
    assert_true(received > 4 * 1024 * 1024);
    client_close(&slow);
    client_close(&client);
}

/* As many clients as there may be, who have all sent this. */
static void crowd_open(struct fixture *fixture, struct client crowd[API_MAX_CONNECTIONS],
                       const char *text)
{
    for (int i = 0; i < API_MAX_CONNECTIONS; i++) {
        client_open(&crowd[i], fixture->path);
        client_send(&crowd[i], text);
    }
    test_loop_idle(&fixture->test);
}

static void crowd_close(struct client crowd[API_MAX_CONNECTIONS])
{
    for (int i = 0; i < API_MAX_CONNECTIONS; i++)
        client_close(&crowd[i]);
}

static void test_an_idle_connection_makes_room(void **state)
{
    struct fixture *fixture = *state;
    static struct client idle[API_MAX_CONNECTIONS];
    struct client client;
    crowd_open(fixture, idle, GET("/v1/things"));
    client_open(&client, fixture->path);
    client_send(&client, GET("/v1/things"));
    client_await(fixture, &client, "{\"things\":[]}", 1);
    test_loop_until(&fixture->test, client_has_ended, &idle[0]);
    client_assert_has(&idle[0], "{\"things\":[]}");
    client_read(&idle[API_MAX_CONNECTIONS - 1]);
    assert_false(idle[API_MAX_CONNECTIONS - 1].has_ended);
    crowd_close(idle);
    client_close(&client);
}

/* One that has shown the token and sends its body. */
static void test_a_busy_connection_does_not(void **state)
{
    struct fixture *fixture = *state;
    static struct client busy[API_MAX_CONNECTIONS];
    struct client client;
    crowd_open(fixture, busy, POST("/v1/things", "12", "{"));
    client_open(&client, fixture->path);
    client_send(&client, GET("/v1/things"));
    for (int i = 0; i < 4; i++) /* longer than API_CONNECTION_GRACE */
        assert_true(test_loop_idle(&fixture->test) < QUIET_TURNS);
    client_read(&client);
    assert_true(client.size == 0 && !client.has_ended);
    client_send(&busy[7], "\"name\":\"a\"}");
    client_await(fixture, &busy[7], "201 Created", 1);
    client_await(fixture, &client, "{\"things\":[]}", 1);
    crowd_close(busy);
    client_close(&client);
}

static void test_strangers_make_room(void **state)
{
    struct fixture *fixture = *state;
    static struct client strangers[API_MAX_CONNECTIONS];
    static const char *const REQUESTS[] = {"", "GET", "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
                                           "\x16\x03\x01"};
    for (size_t i = 0; i < sizeof REQUESTS / sizeof *REQUESTS; i++) {
        struct client client;
        crowd_open(fixture, strangers, REQUESTS[i]);
        client_open(&client, fixture->path);
        client_send(&client, GET("/v1/things"));
        client_await(fixture, &client, "{\"things\":[]}", 1);
        crowd_close(strangers);
        client_close(&client);
    }
}

/* Nobody is sent away for having come at the same moment as others. */
static void test_a_crowd_is_served(void **state)
{
    struct fixture *fixture = *state;
    static struct client clients[3 * API_MAX_CONNECTIONS];
    for (int i = 0; i < 3 * API_MAX_CONNECTIONS; i++) {
        client_open(&clients[i], fixture->path);
        client_send(&clients[i], GET("/v1/things"));
    }
    for (int i = 0; i < 3 * API_MAX_CONNECTIONS; i++)
        client_await(fixture, &clients[i], "{\"things\":[]}", 1);
    for (int i = 0; i < 3 * API_MAX_CONNECTIONS; i++)
        client_close(&clients[i]);
}

static void test_a_handler_may_close_the_server(void **state)
{
    struct fixture *fixture = *state;
    struct client client;
    client_open(&client, fixture->path);
    client_send(&client, POST("/v1/end", "2", "{}") GET("/v1/things"));
    test_loop_until(&fixture->test, client_has_ended, &client);
    assert_int_equal(fixture->calls.count, 1);
    client_close(&client);
}

static void test_socket_is_private_and_replaced_when_stale(void **state)
{
    struct fixture *fixture = *state;
    struct api_server *second = NULL;
    struct stat status;
    char why[API_DETAIL_SIZE];
    char text[160];
    char expected[160];
    assert_int_equal(stat(fixture->path, &status), 0);
    assert_int_equal(status.st_mode & 0777, 0600);
    snprintf(expected, sizeof expected, "unix:%s", fixture->path);
    api_server_text(fixture->server, text, sizeof text);
    assert_string_equal(text, expected);

    assert_int_equal(open_at(fixture, NULL, 0, fixture->path, &second, why), -EADDRINUSE);
    assert_non_null(strstr(why, "another process listens on"));

    char other[160];
    memset(other, 'x', sizeof other - 1);
    other[sizeof other - 1] = '\0';
    assert_int_equal(open_at(fixture, NULL, 0, other, &second, why), CULVERT_ERROR_INVALID);
    assert_string_equal(why, "the path of a unix socket has 1 to 107 bytes");
    snprintf(other, sizeof other, "%s/stale", fixture->directory);
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    memcpy(address.sun_path, other, strlen(other));
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    close(fd);
    assert_int_equal(open_at(fixture, NULL, 0, other, &second, why), 0);
    /* What somebody else has put there in the meantime stays. */
    assert_int_equal(unlink(other), 0);
    assert_int_equal(mkdir(other, 0700), 0);
    api_server_close(second);
    assert_int_equal(open_at(fixture, NULL, 0, other, &second, why), -EEXIST);
    assert_non_null(strstr(why, "is not a socket"));
    assert_int_equal(rmdir(other), 0);
}

static void test_a_socket_that_others_could_replace(void **state)
{
    struct fixture *fixture = *state;
    struct api_server *server = NULL;
    char why[API_DETAIL_SIZE];
    char folder[160];
    char path[sizeof folder + 8];
    snprintf(folder, sizeof folder, "%s/open", fixture->directory);
    snprintf(path, sizeof path, "%s/socket", folder);
    assert_int_equal(mkdir(folder, 0700), 0);
    assert_int_equal(chmod(folder, 0777), 0);
    assert_int_equal(open_at(fixture, NULL, 0, path, &server, why), CULVERT_ERROR_PERMISSION);
    assert_non_null(strstr(why, "run chmod go-w"));
    /* As /tmp is. */
    assert_int_equal(chmod(folder, 01777), 0);
    assert_int_equal(open_at(fixture, NULL, 0, path, &server, why), 0);
    api_server_close(server);
    if (geteuid() == 0) {
        assert_int_equal(chown(folder, 64001, 64001), 0);
        assert_int_equal(open_at(fixture, NULL, 0, path, &server, why), CULVERT_ERROR_PERMISSION);
        assert_non_null(strstr(why, "belongs to user 64001"));
    }
    (void)unlink(path);
    assert_int_equal(rmdir(folder), 0);
}

static void test_listens_on_tcp(void **state)
{
    struct fixture *fixture = *state;
    struct api_server *server;
    struct api_server *second;
    char why[API_DETAIL_SIZE];
    char text[64];
    char expected[64];
    static struct client client;
    assert_int_equal(open_at(fixture, "localhost", 0, NULL, &server, why), 0);
    uint16_t port = api_server_port(server);
    assert_true(port > 0);
    api_server_text(server, text, sizeof text);
    snprintf(expected, sizeof expected, "http://127.0.0.1:%u", port);
    if (strchr(text, '[') == NULL)
        assert_string_equal(text, expected);

    assert_int_equal(open_at(fixture, "localhost", port, NULL, &second, why), -EADDRINUSE);
    assert_non_null(strstr(why, "the API cannot listen on port"));
    assert_int_equal(open_at(fixture, "no host", 0, NULL, &second, why), CULVERT_ERROR_RESOLVE);

    client.fd = test_tcp_connect(strchr(text, '[') == NULL ? "127.0.0.1" : "::1", port);
    assert_true(client.fd >= 0);
    client_send(&client, GET("/v1/things")); /* its Host lacks the port */
    client_await(fixture, &client, "HTTP/1.1 403 Forbidden\r\n", 1);
    char request[512];
    snprintf(request, sizeof request,
             "GET /v1/things HTTP/1.1\r\nHost: localhost:%u\r\nAuthorization: Bearer %s\r\n\r\n",
             port, API_TEST_TOKEN);
    client_send(&client, request);
    client_await(fixture, &client, "{\"things\":[]}", 1);
    client_close(&client);
    api_server_close(server);
}

static bool has_answer_or_end(void *context)
{
    struct client *client = context;
    return client_has_ended(client) || client_has_come(client);
}

/* Each allocation fails once; the call then, and the next connection goes well. */
static void test_without_memory(void **state)
{
    struct fixture *fixture = *state;
    bool is_over = false;
    int failures = 0;
    json_set_alloc_funcs(memory_allocate, memory_free);
    for (size_t n = 1; !is_over; n++) {
        struct client client;
        client_open(&client, fixture->path);
        client_send(&client, POST("/v1/things", "12", "{\"name\":\"a\"}") GET("/v2"));
        client.awaited = "404 Not Found";
        client.times = 1;
        memory_fail_after(n);
        test_loop_until(&fixture->test, has_answer_or_end, &client);
        is_over = memory_fail_is_pending();
        memory_fail_after(0);
        failures += strstr(client.answer, "201 Created") == NULL;
        client_close(&client);
    }
    json_set_alloc_funcs(malloc, free);
    assert_true(failures > 10);
}

static void test_opens_without_memory(void **state)
{
    struct fixture *fixture = *state;
    char other[160];
    char why[API_DETAIL_SIZE];
    snprintf(other, sizeof other, "%s/other", fixture->directory);
    bool is_over = false;
    for (size_t n = 1; !is_over; n++) {
        struct api_server *server = NULL;
        memory_fail_after(n);
        int error = open_at(fixture, NULL, 0, other, &server, why);
        is_over = memory_fail_is_pending();
        memory_fail_after(0);
        assert_int_equal(error, is_over ? 0 : CULVERT_ERROR_NO_MEMORY);
        assert_true((why[0] == '\0') == is_over);
        if (is_over)
            api_server_close(server);
        assert_int_equal(access(other, F_OK), -1);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_answers_with_json),
        TEST(test_takes_a_body_and_tells_a_location),
        TEST(test_tells_problems),
        TEST(test_one_byte_at_a_time),
        TEST(test_answers_pipelined_requests_in_turn),
        TEST(test_waits_with_a_strangers_refusal),
        TEST(test_says_continue),
        TEST(test_a_refused_body_does_not_cost_the_answer),
        TEST(test_a_refused_caller_who_goes_on_is_sent_away),
        TEST(test_a_slow_reader_holds_nobody),
        TEST(test_an_idle_connection_makes_room),
        TEST(test_a_busy_connection_does_not),
        TEST(test_strangers_make_room),
        TEST(test_a_crowd_is_served),
        TEST(test_a_handler_may_close_the_server),
        TEST(test_socket_is_private_and_replaced_when_stale),
        TEST(test_a_socket_that_others_could_replace),
        TEST(test_listens_on_tcp),
        TEST(test_without_memory),
        TEST(test_opens_without_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
