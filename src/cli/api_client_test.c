#include "base/error.h"
#include "cli/api_client.h"
#include "net/test_http_server.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define STATE_TOKEN "of-the-state-directory"

struct fixture {
    char home[64];
    char directory[80];
    char url_path[96];
    char token_path[96];
    char own_path[96]; /* of a token file of the user's own */
};

static void write_file(const char *path, const char *content, mode_t mode)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(content, file);
    fclose(file);
    assert_int_equal(chmod(path, mode), 0);
}

static int set_up(void **state)
{
    static struct fixture fixture;
    snprintf(fixture.home, sizeof fixture.home, "/tmp/culvert-client-XXXXXX");
    if (mkdtemp(fixture.home) == NULL)
        return -1;
    snprintf(fixture.directory, sizeof fixture.directory, "%s/culvert", fixture.home);
    snprintf(fixture.url_path, sizeof fixture.url_path, "%s/api-url", fixture.directory);
    snprintf(fixture.token_path, sizeof fixture.token_path, "%s/api-token", fixture.directory);
    snprintf(fixture.own_path, sizeof fixture.own_path, "%s/own", fixture.directory);
    assert_int_equal(mkdir(fixture.directory, 0700), 0);
    write_file(fixture.url_path, "http://127.0.0.1:7171\n", 0600);
    write_file(fixture.token_path, STATE_TOKEN "\n", 0600);
    write_file(fixture.own_path, "my-own\n", 0600);
    setenv("XDG_STATE_HOME", fixture.home, 1);
    unsetenv("CULVERT_API");
    unsetenv("CULVERT_TOKEN");
    *state = &fixture;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;
    unlink(fixture->url_path);
    unlink(fixture->token_path);
    unlink(fixture->own_path);
    return rmdir(fixture->directory) == 0 && rmdir(fixture->home) == 0 ? 0 : -1;
}

static void check(const char *url, const char *file, const char *expected_url,
                  const char *expected_token)
{
    struct api_client client;
    char why[OPTIONS_WHY_SIZE] = "";
    if (api_client_open(&client, url, file, why) != 0)
        fail_msg("%s", why);
    assert_string_equal(client.url, expected_url);
    assert_string_equal(client.token, expected_token);
    api_client_close(&client);
    assert_string_equal(client.token, "");
}

static void check_wrong(const char *url, const char *file, const char *piece_of_why)
{
    struct api_client client;
    char why[OPTIONS_WHY_SIZE] = "";
    assert_true(api_client_open(&client, url, file, why) < 0);
    if (strstr(why, piece_of_why) == NULL)
        fail_msg("\"%s\", without \"%s\"", why, piece_of_why);
    assert_string_equal(client.token, "");
}

static void test_state_directory(void **state)
{
    (void)state;
    check(NULL, NULL, "http://127.0.0.1:7171", STATE_TOKEN);
}

/* Whoever can write the URL could collect the token on a port of his own. */
static void test_a_url_that_others_may_write(void **state)
{
    struct fixture *fixture = *state;
    assert_int_equal(chmod(fixture->url_path, 0602), 0);
    check_wrong(NULL, NULL, fixture->url_path);
    check_wrong(NULL, NULL, "all users may write it");
    check("127.0.0.1:2", NULL, "http://127.0.0.1:2", STATE_TOKEN);
}

static void test_environment_comes_before_it(void **state)
{
    (void)state;
    setenv("CULVERT_API", "http://[::1]:1/", 1);
    check(NULL, NULL, "http://[::1]:1", STATE_TOKEN);
    setenv("CULVERT_TOKEN", "of-the-environment", 1);
    check(NULL, NULL, "http://[::1]:1", "of-the-environment");
    setenv("CULVERT_API", "", 1);
    setenv("CULVERT_TOKEN", "", 1);
    check(NULL, NULL, "http://127.0.0.1:7171", STATE_TOKEN);
    setenv("CULVERT_TOKEN", "a\r\nb", 1);
    check_wrong(NULL, NULL, "more than one line");
}

static void test_options_come_first(void **state)
{
    struct fixture *fixture = *state;
    setenv("CULVERT_API", "http://127.0.0.1:1", 1);
    setenv("CULVERT_TOKEN", "of-the-environment", 1);
    check("127.0.0.1:2", fixture->own_path, "http://127.0.0.1:2", "my-own");
    check("https://api.example/agent//", NULL, "https://api.example/agent", "of-the-environment");
}

static void test_unix_sockets(void **state)
{
    (void)state;
    struct api_client client;
    char why[OPTIONS_WHY_SIZE];
    assert_int_equal(api_client_open(&client, "unix:/run/api.sock", NULL, why), 0);
    assert_string_equal(client.socket, "/run/api.sock");
    assert_string_equal(client.url, "http://localhost");
    assert_string_equal(client.token, STATE_TOKEN);
    check_wrong("unix:", NULL, "needs a path");
    char path[128] = "unix:";
    memset(path + 5, 'x', 108);
    check_wrong(path, NULL, "too long");
}

/* A URL that somebody made up must not collect the token of this machine's agents. */
static void test_the_state_directorys_token_stays_here(void **state)
{
    struct fixture *fixture = *state;
    static const char *const HERE[] = {"http://127.0.0.1:7070", "http://127.9.9.9:7070/",
                                       "http://localhost:7070", "http://[::1]:7070/x",
                                       "http://localhost",      "https://[::1]"};
    static const char *const ELSEWHERE[] = {
        "http://192.0.2.1:7070",           "http://api.example",
        "http://127.0.0.1@api.example",    "http://127.0.0.1:7070@api.example/",
        "http://127.0.0.1.example:7070",   "http://[2001:db8::1]:7070",
        "http://127.0.0.1:7070\\@example", "http://user@localhost:7070"};
    for (size_t i = 0; i < sizeof HERE / sizeof *HERE; i++) {
        struct api_client client;
        char why[OPTIONS_WHY_SIZE];
        assert_int_equal(api_client_open(&client, HERE[i], NULL, why), 0);
        assert_string_equal(client.token, STATE_TOKEN);
    }
    for (size_t i = 0; i < sizeof ELSEWHERE / sizeof *ELSEWHERE; i++)
        check_wrong(ELSEWHERE[i], NULL, "--token-file");
    check(ELSEWHERE[0], fixture->own_path, ELSEWHERE[0], "my-own");
}

static void test_what_is_missing_is_told(void **state)
{
    struct fixture *fixture = *state;
    check_wrong("", NULL, "http://HOST:PORT");
    check_wrong("ftp://127.0.0.1:7070", NULL, "http://HOST:PORT");
    assert_int_equal(chmod(fixture->own_path, 0644), 0);
    check_wrong(NULL, fixture->own_path, "0600");
    check_wrong(NULL, "/nonexistent", "/nonexistent");
    assert_int_equal(unlink(fixture->token_path), 0);
    check_wrong(NULL, NULL, "api-token");
    assert_int_equal(unlink(fixture->url_path), 0);
    check_wrong(NULL, NULL, "start one with --api");
}

/* Nobody listens on port 1 of loopback. */
static void test_nobody_there(void **state)
{
    (void)state;
    struct api_client client;
    char why[OPTIONS_WHY_SIZE];
    json_t *answer = NULL;
    assert_int_equal(api_client_open(&client, "127.0.0.1:1", NULL, why), 0);
    assert_int_equal(api_client_call(&client, "GET", "/v1/forwards", NULL, &answer, why),
                     CULVERT_ERROR_CLOSED);
    assert_null(answer);
    assert_non_null(strstr(why, "the API at http://127.0.0.1:1 does not answer: "));
    assert_non_null(strstr(why, "127.0.0.1 port 1")); /* libcurl's detailed message */
    api_client_close(&client);
}

/* A list of so many numbers, with the head of a request to be checked. */
enum { MANY = 40000 };

static bool answer_with_many(struct test_http_server *server,
                             const struct test_http_request *request)
{
    static char body[8 * MANY];
    char field[256];
    size_t size = 0;
    for (int i = 0; i < MANY; i++)
        size += (size_t)snprintf(body + size, sizeof body - size, "%c%d", i == 0 ? '[' : ',', i);
    body[size++] = ']';
    (void)server;
    test_http_field(request, "Authorization", field);
    bool is_ours = strcmp(field, "Bearer " STATE_TOKEN) == 0;
    test_http_answer(request, is_ours ? "200 OK" : "401 Unauthorized",
                     "Content-Type: application/json\r\n", body, size);
    return true;
}

/* It comes in many pieces. */
static void test_a_large_answer(void **state)
{
    (void)state;
    struct test_http_server server;
    struct api_client client;
    char url[64];
    char why[OPTIONS_WHY_SIZE] = "";
    json_t *answer = NULL;
    test_http_start(&server, answer_with_many, NULL);
    snprintf(url, sizeof url, "http://127.0.0.1:%u", server.port);
    assert_int_equal(api_client_open(&client, url, NULL, why), 0);
    int error = api_client_call(&client, "GET", "/v1/forwards", NULL, &answer, why);
    api_client_close(&client);
    test_http_stop(&server);
    if (error != 0)
        fail_msg("%s", why);
    assert_int_equal(json_array_size(answer), MANY);
    for (size_t i = 0; i < MANY; i++)
        assert_int_equal(json_integer_value(json_array_get(answer, i)), i);
    json_decref(answer);
}

/* ---- answers ---- */

struct reply {
    const char *status;
    const char *body;
    size_t size;
};

static bool answer_as_told(struct test_http_server *server, const struct test_http_request *request)
{
    const struct reply *reply = server->holder;
    test_http_answer(request, reply->status, "", reply->body, reply->size);
    return true;
}

/* Calls a server that sends this reply. Returns the client's result, and its answer in `*answer`.
 */
static int call(struct reply reply, json_t **answer, char why[static OPTIONS_WHY_SIZE])
{
    struct test_http_server server;
    struct api_client client;
    char url[64];
    test_http_start(&server, answer_as_told, &reply);
    snprintf(url, sizeof url, "127.0.0.1:%u", server.port);
    assert_int_equal(api_client_open(&client, url, NULL, why), 0);
    why[0] = '\0';
    int error = api_client_call(&client, "GET", "/", NULL, answer, why);
    api_client_close(&client);
    test_http_stop(&server);
    return error;
}

static void test_what_an_answer_means(void **state)
{
    (void)state;
    static const struct {
        const char *status;
        const char *body;
        int error;
        bool has_json;
        const char *why; /* a part of the message */
    } cases[] = {
        {"200 OK", "[1]", 0, true, ""},
        {"299 Fine", "[1]", 0, true, ""},
        {"200 OK", "", 0, false, ""},
        {"200 OK", "<html>", CULVERT_ERROR_PROTOCOL, false, "the answer is not JSON; is this the"},
        {"200 OK", "{\"a\":1,\"a\":2}", CULVERT_ERROR_PROTOCOL, false, "is not JSON"},
        {"300 Choose", "[1]", CULVERT_ERROR_REFUSED, false, "the API answered with status 300"},
        {"302 Found", "[1]", CULVERT_ERROR_REFUSED, false, "the API answered with status 302"},
        {"404 No", "{\"detail\":\"gone\"}", CULVERT_ERROR_REFUSED, false, "gone"},
        {"404 No", "{\"detail\":\"\"}", CULVERT_ERROR_REFUSED, false, "with status 404"},
        {"404 No", "{\"detail\":7}", CULVERT_ERROR_REFUSED, false, "with status 404"},
        {"500 No", "<html>", CULVERT_ERROR_REFUSED, false, "the API answered with status 500"},
        {"400 No", "{\"detail\":\"a\\u001b[2J b\\u007f~\"}", CULVERT_ERROR_REFUSED, false,
         "a?[2J b?~"},
        {"401 No", "{\"detail\":\"no\"}", CULVERT_ERROR_REFUSED, false, " refused the token in "},
        {"401 No", "", CULVERT_ERROR_REFUSED, false, "/api-token; give the token of that agent"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char why[OPTIONS_WHY_SIZE];
        json_t *answer = NULL;
        struct reply reply = {cases[i].status, cases[i].body, strlen(cases[i].body)};
        int error = call(reply, &answer, why);
        if (error != cases[i].error || strstr(why, cases[i].why) == NULL)
            fail_msg("%s %s: %d, %s", cases[i].status, cases[i].body, error, why);
        assert_true((answer != NULL) == cases[i].has_json);
        json_decref(answer);
    }
}

/* A server cannot make the client allocate more than this. */
static void test_an_answer_has_its_limit(void **state)
{
    (void)state;
    enum { LIMIT = 16 * 1024 * 1024 };
    char why[OPTIONS_WHY_SIZE];
    json_t *answer = NULL;
    char *body = malloc(LIMIT + 1);
    assert_non_null(body);
    memset(body, ' ', LIMIT + 1);
    memcpy(body, "[1]", 3);
    assert_int_equal(call((struct reply){"200 OK", body, LIMIT}, &answer, why), 0);
    assert_int_equal(json_array_size(answer), 1);
    json_decref(answer);
    assert_int_equal(call((struct reply){"200 OK", body, LIMIT + 1}, &answer, why),
                     CULVERT_ERROR_CLOSED);
    assert_null(answer);
    assert_non_null(strstr(why, " does not answer: "));
    free(body);
}

/* ---- places and tokens that are too long ---- */

static void test_how_long_places_may_be(void **state)
{
    struct fixture *fixture = *state;
    struct api_client client;
    char why[OPTIONS_WHY_SIZE];
    char path[128] = "unix:";
    memset(path + 5, 'x', 107); /* the longest path, unix(7) */
    check(path, NULL, "http://localhost", STATE_TOKEN);
    assert_int_equal(api_client_open(&client, path, NULL, why), 0);
    assert_string_equal(client.place, path);
    assert_string_equal(client.socket, path + 5);
    char url[API_CLIENT_URL_SIZE + 1] = "http://127.0.0.1/";
    memset(url + 17, 'u', sizeof url - 18);
    check_wrong(url, NULL, "the URL is too long");
    check_wrong(url + 7, NULL, "the URL is too long"); /* http:// is added */
    url[sizeof url - 2] = '\0';
    check(url, NULL, url, STATE_TOKEN);
    check(url + 7, NULL, url, STATE_TOKEN);
    url[API_CLIENT_URL_SIZE - 1] = 'u';
    write_file(fixture->url_path, url, 0600);
    check_wrong(NULL, NULL, "the URL in the state directory is too long");
}

static void test_how_long_a_token_may_be(void **state)
{
    (void)state;
    char token[API_TOKEN_SIZE + 1] = "";
    memset(token, 't', API_TOKEN_SIZE);
    setenv("CULVERT_TOKEN", token, 1);
    check_wrong(NULL, NULL, "the token in $CULVERT_TOKEN is too long");
    token[API_TOKEN_SIZE - 1] = '\0';
    setenv("CULVERT_TOKEN", token, 1);
    check(NULL, NULL, "http://127.0.0.1:7171", token);
}

/* The agent's socket does not exist. */
static void test_nobody_at_a_socket(void **state)
{
    struct fixture *fixture = *state;
    struct api_client client;
    char why[OPTIONS_WHY_SIZE];
    char url[128];
    char wanted[400];
    json_t *answer = NULL;
    snprintf(url, sizeof url, "unix:%s/no.sock", fixture->directory);
    assert_int_equal(api_client_open(&client, url, NULL, why), 0);
    assert_int_equal(api_client_call(&client, "GET", "/", NULL, &answer, why),
                     CULVERT_ERROR_CLOSED);
    api_client_close(&client);
    snprintf(wanted, sizeof wanted,
             "no agent listens at %s: No such file or directory; start one with --api %s, or say "
             "where it is (--api or $CULVERT_API)",
             url, url);
    assert_string_equal(why, wanted);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_state_directory, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_url_that_others_may_write, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_environment_comes_before_it, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_options_come_first, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_unix_sockets, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_the_state_directorys_token_stays_here, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_what_is_missing_is_told, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_nobody_there, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_large_answer, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_what_an_answer_means, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_an_answer_has_its_limit, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_how_long_places_may_be, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_how_long_a_token_may_be, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_nobody_at_a_socket, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
