#include "base/error.h"
#include "base/memory.h"
#include "base/reason.h"
#include "ends/failure.h"
#include "ends/outlet.h"
#include "ends/test_loop.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

struct fixture {
    struct test_loop test;
    struct test_holder holder;
    struct whitelist whitelist;
    int listening;
    uint16_t port;
};

static int set_up(void **state)
{
    static struct fixture fixture;
    memset(&fixture, 0, sizeof(fixture));
    test_loop_open(&fixture.test);
    whitelist_init(&fixture.whitelist);
    fixture.listening = test_tcp_listen(&fixture.port);
    *state = &fixture;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;
    memory_fail_after(0);
    if (fixture->holder.stream != NULL)
        fixture->holder.stream->operations->close(fixture->holder.stream);
    close(fixture->listening);
    test_loop_close(&fixture->test);
    whitelist_deinit(&fixture->whitelist);
    return 0;
}

static void allow(struct fixture *fixture, const char *rule)
{
    char why[256];
    assert_int_equal(whitelist_add(&fixture->whitelist, rule, why, sizeof(why)), 0);
}

static int try_dial(struct fixture *fixture, const char *kind, const char *host, uint16_t port)
{
    char copy[300];
    struct stream *stream;
    snprintf(copy, sizeof(copy), "%s", host);
    struct outlet_target target = {.kind = kind, .host = copy, .port = port};
    int error = outlet_dial(&fixture->test.loop, &target, &fixture->whitelist, &stream);
    memset(copy, 'x', sizeof(copy));
    if (error == 0)
        test_holder_take(&fixture->holder, stream);
    return error;
}

static void dial(struct fixture *fixture, const char *host, uint16_t port)
{
    assert_int_equal(try_dial(fixture, "tcp", host, port), 0);
}

static void assert_reset(struct fixture *fixture, int code)
{
    assert_int_equal(fixture->holder.resets, 0);
    test_loop_until_set(&fixture->test, &fixture->holder.resets);
    assert_int_equal(fixture->holder.code, code);
    assert_int_equal(fixture->holder.opened, 0);
}

static void a_target_that_is_there(void **state)
{
    struct fixture *f = *state;
    char text[16];
    allow(f, "127.0.0.1:*");
    dial(f, "127.0.0.1", f->port);
    test_holder_write(&f->holder, &f->test.loop.pool, "early");
    f->holder.stream->operations->finish(f->holder.stream);
    assert_int_equal(f->holder.opened, 0);
    test_loop_until_set(&f->test, &f->holder.opened);
    test_loop_until_set(&f->test, &f->holder.finished);
    int fd = accept(f->listening, NULL, NULL);
    assert_true(fd >= 0);
    assert_int_equal(recv(fd, text, sizeof(text), MSG_WAITALL), 5);
    assert_memory_equal(text, "early", 5);
    assert_int_equal(send(fd, "answer", 6, 0), 6);
    close(fd);
    test_loop_until_set(&f->test, &f->holder.fins);
    assert_int_equal(f->holder.bytes, 6);
    assert_int_equal(f->holder.opened, 1);
}

static void a_name_that_is_there(void **state)
{
    struct fixture *f = *state;
    allow(f, "localhost:*");
    dial(f, "localhost", f->port);
    test_loop_until_set(&f->test, &f->holder.opened);
}

static void a_target_that_refuses(void **state)
{
    struct fixture *f = *state;
    uint16_t port;
    close(test_tcp_listen(&port));
    allow(f, "127.0.0.1:*");
    dial(f, "127.0.0.1", port);
    assert_reset(f, REASON_DIAL_REFUSED);
}

static void a_target_that_no_rule_allows(void **state)
{
    struct fixture *f = *state;
    dial(f, "127.0.0.1", f->port);
    assert_reset(f, REASON_NOT_ALLOWED);
    allow(f, "127.0.0.2:*");
    dial(f, "127.0.0.1", f->port);
    assert_reset(f, REASON_NOT_ALLOWED);
    allow(f, "10.0.0.0/8:*");
    dial(f, "localhost", f->port);
    assert_reset(f, REASON_NOT_ALLOWED);
    fcntl(f->listening, F_SETFL, O_NONBLOCK);
    assert_int_equal(accept4(f->listening, NULL, NULL, 0), -1);
    assert_int_equal(errno, EAGAIN);
}

/* Nobody can have names looked up whose addresses he may not have. */
static void a_name_that_no_rule_can_allow_is_not_looked_up(void **state)
{
    struct fixture *f = *state;
    allow(f, "127.0.0.1:*");
    allow(f, "some-host.invalid:1");
    dial(f, "no-such-host.invalid", f->port);
    assert_reset(f, REASON_NOT_ALLOWED);
    dial(f, "some-host.invalid", f->port);
    assert_reset(f, REASON_NOT_ALLOWED);
    assert_null(f->test.loop.resolver);
}

static void a_name_without_an_address(void **state)
{
    struct fixture *f = *state;
    allow(f, "*");
    dial(f, "no-such-host.invalid", 80);
    assert_reset(f, REASON_RESOLVE);
}

static void a_name_that_cannot_be_one(void **state)
{
    struct fixture *f = *state;
    char name[290];
    memset(name, 'a', sizeof(name) - 1);
    name[sizeof(name) - 1] = '\0';
    allow(f, "*");
    dial(f, name, 80);
    assert_reset(f, REASON_RESOLVE);
}

static void an_unknown_kind(void **state)
{
    struct fixture *f = *state;
    allow(f, "*");
    assert_int_equal(try_dial(f, "carrier-pigeon", "127.0.0.1", f->port),
                     CULVERT_ERROR_UNSUPPORTED);
    assert_int_equal(try_dial(f, "", "127.0.0.1", f->port), CULVERT_ERROR_UNSUPPORTED);
}

static void an_abandoned_dial_is_cancelled(void **state)
{
    struct fixture *f = *state;
    allow(f, "*");
    static const char *const hosts[] = {"127.0.0.1", "localhost", "192.0.2.1"};
    for (size_t i = 0; i < sizeof(hosts) / sizeof(hosts[0]); i++) {
        dial(f, hosts[i], f->port);
        f->holder.stream->operations->reset(f->holder.stream, REASON_RESET, NULL);
        f->holder.stream->operations->close(f->holder.stream);
        f->holder.stream = NULL;
        test_loop_idle(&f->test);
        assert_int_equal(f->holder.resets, 0);
        assert_int_equal(f->holder.opened, 0);
    }
}

static void a_forbidden_dial_may_be_abandoned(void **state)
{
    struct fixture *f = *state;
    dial(f, "127.0.0.1", f->port);
    f->holder.stream->operations->close(f->holder.stream);
    f->holder.stream = NULL;
    test_loop_idle(&f->test);
    assert_int_equal(f->holder.resets, 0);
}

static bool has_answer(void *context)
{
    const struct fixture *fixture = context;
    return fixture->holder.opened != 0 || fixture->holder.resets != 0;
}

static void every_failing_allocation_is_survived(void **state)
{
    struct fixture *f = *state;
    allow(f, "127.0.0.1:*");
    for (size_t n = 1;; n++) {
        memory_fail_after(n);
        int error = try_dial(f, "tcp", "127.0.0.1", f->port);
        if (error == 0)
            test_loop_until(&f->test, has_answer, f);
        bool done = memory_fail_is_pending();
        memory_fail_after(0);
        if (done)
            break;
        assert_int_equal(f->holder.opened, 0);
        assert_true(error == CULVERT_ERROR_NO_MEMORY || f->holder.code == REASON_NO_MEMORY);
        assert_in_range(n, 1, 20);
    }
    assert_int_equal(f->holder.opened, 1);
}

static void errors_have_their_codes(void **state)
{
    (void)state;
    assert_int_equal(failure_code(-ECONNRESET, 0), REASON_RESET);
    assert_int_equal(failure_code(-EPIPE, 0), REASON_RESET);
    assert_int_equal(failure_code(-ECONNREFUSED, 0), REASON_DIAL_REFUSED);
    assert_int_equal(failure_code(-ENETUNREACH, 0), REASON_UNREACHABLE);
    assert_int_equal(failure_code(-EHOSTUNREACH, 0), REASON_UNREACHABLE);
    assert_int_equal(failure_code(-ETIMEDOUT, 0), REASON_TIMED_OUT);
    assert_int_equal(failure_code(CULVERT_ERROR_TIMED_OUT, 0), REASON_TIMED_OUT);
    assert_int_equal(failure_code(CULVERT_ERROR_REFUSED, 0), REASON_NOT_ALLOWED);
    assert_int_equal(failure_code(-EMFILE, 0), REASON_LIMIT);
    assert_int_equal(failure_code(-EACCES, REASON_UNREACHABLE), REASON_UNREACHABLE);
    assert_null(failure_text(-ECONNRESET));
    assert_null(failure_text(CULVERT_ERROR_RESOLVE));
    assert_string_equal(failure_text(-EHOSTUNREACH), "No route to host");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_target_that_is_there),
        TEST(a_name_that_is_there),
        TEST(a_target_that_refuses),
        TEST(a_target_that_no_rule_allows),
        TEST(a_name_that_no_rule_can_allow_is_not_looked_up),
        TEST(a_name_without_an_address),
        TEST(a_name_that_cannot_be_one),
        TEST(an_unknown_kind),
        TEST(an_abandoned_dial_is_cancelled),
        TEST(a_forbidden_dial_may_be_abandoned),
        TEST(every_failing_allocation_is_survived),
        cmocka_unit_test(errors_have_their_codes),
    };
    return cmocka_run_group_tests_name("outlet", tests, NULL, NULL);
}
