#include "http/head_reader.h"

#include "base/error.h"
#include "base/memory.h"
#include "ends/test_loop.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#define FIRST  "GET /first HTTP/1.1\r\nHost: a\r\n\r\n"
#define SECOND "GET /second HTTP/1.1\r\nHost: a\r\n\r\n"

struct fixture {
    struct test_loop test;
    struct conn *conn;
    struct head_reader reader;
    struct http1_head head;
    size_t used;
    int peer;
    int readable; /* as long as nothing was read of what came */
};

static void on_readable(struct conn *conn)
{
    struct fixture *fixture = conn_holder(conn);
    fixture->readable = 1;
}

static const struct conn_events events = {.readable = on_readable};

static int set_up(void **state)
{
    static struct fixture fixture;
    int fds[2];
    memset(&fixture, 0, sizeof(fixture));
    test_loop_open(&fixture.test);
    test_tcp_pair(fds);
    fixture.peer = fds[1];
    assert_int_equal(conn_new(&fixture.test.loop, fds[0], &events, &fixture, &fixture.conn), 0);
    conn_want(fixture.conn, CONN_READ);
    head_reader_init(&fixture.reader, HEAD_READER_REQUEST);
    *state = &fixture;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;
    head_reader_deinit(&fixture->reader);
    conn_close(fixture->conn, true);
    if (fixture->peer >= 0)
        close(fixture->peer);
    test_loop_close(&fixture->test);
    return 0;
}

static void send_text(struct fixture *fixture, const char *text)
{
    fixture->readable = 0;
    assert_int_equal(send(fixture->peer, text, strlen(text), 0), strlen(text));
    test_loop_until_set(&fixture->test, &fixture->readable);
}

static int read_request(struct fixture *fixture)
{
    return head_reader_read(&fixture->reader, fixture->conn, HEAD_REQUEST, &fixture->head,
                            &fixture->used);
}

static void heads_come_one_behind_the_other(void **state)
{
    struct fixture *fixture = *state;
    send_text(fixture, FIRST SECOND "GET /th");
    assert_int_equal(read_request(fixture), 0);
    assert_true(text_equals(fixture->head.target, "/first"));
    head_reader_drop(&fixture->reader, fixture->used);
    assert_int_equal(read_request(fixture), 0);
    assert_true(text_equals(fixture->head.target, "/second"));
    head_reader_drop(&fixture->reader, fixture->used);
    assert_int_equal(read_request(fixture), CULVERT_NEED_MORE);
    send_text(fixture, "ird HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_int_equal(read_request(fixture), 0);
    assert_true(text_equals(fixture->head.target, "/third"));
    head_reader_drop(&fixture->reader, fixture->used);
    assert_int_equal(fixture->reader.size, 0);
}

static void what_was_read_elsewhere_comes_first(void **state)
{
    struct fixture *fixture = *state;
    assert_int_equal(head_reader_keep(&fixture->reader, (const uint8_t *)FIRST, strlen(FIRST)), 0);
    assert_int_equal(read_request(fixture), 0);
    assert_true(text_equals(fixture->head.target, "/first"));
}

static void a_head_has_a_bound(void **state)
{
    struct fixture *fixture = *state;
    char line[1025];
    memset(line, 'x', sizeof(line) - 1);
    line[sizeof(line) - 1] = '\0';
    send_text(fixture, "GET / HTTP/1.1\r\nHost: a\r\nX: ");
    int result = read_request(fixture);
    for (int i = 0; i < 8 && result == CULVERT_NEED_MORE; i++) {
        send_text(fixture, line);
        result = read_request(fixture);
    }
    assert_int_equal(result, CULVERT_ERROR_TOO_LARGE);
    assert_true(fixture->reader.capacity <= HEAD_READER_REQUEST);
}

/* A proxy may add much to an answer. */
static void an_answer_may_be_longer(void **state)
{
    struct fixture *fixture = *state;
    char line[1025];
    memset(line, 'x', sizeof(line) - 1);
    line[sizeof(line) - 1] = '\0';
    head_reader_init(&fixture->reader, HEAD_READER_RESPONSE);
    send_text(fixture, "HTTP/1.1 101 x\r\nX: ");
    for (int i = 0; i < 15; i++) {
        send_text(fixture, line);
        assert_int_equal(head_reader_read(&fixture->reader, fixture->conn, HEAD_RESPONSE,
                                          &fixture->head, &fixture->used),
                         CULVERT_NEED_MORE);
    }
    send_text(fixture, "\r\n\r\n");
    assert_int_equal(head_reader_read(&fixture->reader, fixture->conn, HEAD_RESPONSE,
                                      &fixture->head, &fixture->used),
                     0);
    assert_int_equal(fixture->head.status, 101);
}

static void bytes_are_moved_out_of_it(void **state)
{
    struct fixture *fixture = *state;
    char out[8] = "";
    assert_int_equal(head_reader_keep(&fixture->reader, (const uint8_t *)"abcdef", 6), 0);
    assert_int_equal(head_reader_move(&fixture->reader, out, 4), 4);
    assert_memory_equal(out, "abcd", 4);
    assert_int_equal(head_reader_move(&fixture->reader, out, sizeof(out)), 2);
    assert_memory_equal(out, "ef", 2);
    assert_int_equal(fixture->reader.size, 0);
}

static void the_end_is_told(void **state)
{
    struct fixture *fixture = *state;
    send_text(fixture, "GET /");
    assert_int_equal(read_request(fixture), CULVERT_NEED_MORE);
    fixture->readable = 0;
    close(fixture->peer);
    fixture->peer = -1;
    test_loop_until_set(&fixture->test, &fixture->readable);
    assert_int_equal(read_request(fixture), CULVERT_ERROR_CLOSED);
}

static void memory_may_run_out(void **state)
{
    struct fixture *fixture = *state;
    send_text(fixture, FIRST);
    memory_fail_after(1);
    assert_int_equal(read_request(fixture), CULVERT_ERROR_NO_MEMORY);
    assert_int_equal(read_request(fixture), 0);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(heads_come_one_behind_the_other),
        TEST(what_was_read_elsewhere_comes_first),
        TEST(a_head_has_a_bound),
        TEST(an_answer_may_be_longer),
        TEST(bytes_are_moved_out_of_it),
        TEST(the_end_is_told),
        TEST(memory_may_run_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
