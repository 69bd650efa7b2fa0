#include "gateway/gateway.h"

#include "base/exit_code.h"
#include "base/memory.h"
#include "net/address.h"

#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

static const struct gateway_listen loopback = {.host = "127.0.0.1"};
static const struct gateway_listen twice[] = {{.host = "127.0.0.1"}, {.host = "127.0.0.1"}};

static struct gateway_config config_of(const struct gateway_listen *listens, size_t count)
{
    return (struct gateway_config){.listens = listens,
                                   .listen_count = count,
                                   .grant = true,
                                   .open = true,
                                   .threads = 2,
                                   .max_memory = SIZE_MAX};
}

/* A gateway that runs on a thread of its own. */
struct running {
    struct gateway *gateway;
    pthread_t thread;
    int code;
};

static void *run(void *argument)
{
    struct running *running = argument;
    running->code = gateway_run(running->gateway);
    return NULL;
}

static void start(struct running *running, const struct gateway_config *config)
{
    assert_int_equal(gateway_open(config, &running->gateway), EXIT_CODE_OK);
    assert_int_equal(pthread_create(&running->thread, NULL, run, running), 0);
}

static void expect_end(struct running *running)
{
    assert_int_equal(pthread_join(running->thread, NULL), 0);
    assert_int_equal(running->code, EXIT_CODE_OK);
}

static int try_connect(uint16_t port)
{
    struct sockaddr_storage address;
    assert_int_equal(address_parse("127.0.0.1", port, &address), 0);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_true(fd >= 0);
    int result = connect(fd, (const struct sockaddr *)&address, address_size(&address));
    if (result == 0)
        return fd;
    close(fd);
    return -1;
}

/* A web page's request is answered at once, so the gateway's loop is at work. */
static void expect_answer(uint16_t port)
{
    static const char request[] = "GET / HTTP/1.1\r\nHost: gateway\r\n\r\n";
    char answer[5];
    int fd = try_connect(port);
    assert_true(fd >= 0);
    assert_int_equal(send(fd, request, sizeof(request) - 1, MSG_NOSIGNAL), sizeof(request) - 1);
    assert_int_equal(recv(fd, answer, sizeof(answer), MSG_WAITALL), sizeof(answer));
    assert_memory_equal(answer, "HTTP/", sizeof(answer));
    close(fd);
}

static void test_runs_until_it_is_told_to_stop(void **state)
{
    struct gateway_config config = config_of(twice, 2);
    struct running running;
    (void)state;
    start(&running, &config);
    uint16_t port = gateway_port(running.gateway, 1);
    assert_int_not_equal(port, 0);
    assert_int_not_equal(port, gateway_port(running.gateway, 0));
    assert_string_equal(strrchr(gateway_address(running.gateway, 1), ':') - strlen("127.0.0.1"),
                        gateway_address(running.gateway, 1));
    assert_int_equal(gateway_port(running.gateway, 2), 0);
    assert_null(gateway_address(running.gateway, 2));
    expect_answer(port);
    gateway_stop(running.gateway, 5);
    expect_end(&running);
    assert_int_equal(try_connect(port), -1);
    /* What comes too late does nothing, and where it listened can still be asked. */
    gateway_stop(running.gateway, 0);
    gateway_reload(running.gateway);
    assert_int_equal(gateway_port(running.gateway, 1), port);
    gateway_free(running.gateway);
}

static void test_stops_though_it_was_told_before_it_ran(void **state)
{
    struct gateway_config config = config_of(&loopback, 1);
    struct gateway *gateway;
    (void)state;
    assert_int_equal(gateway_open(&config, &gateway), EXIT_CODE_OK);
    gateway_stop(gateway, 0);
    gateway_stop(gateway, 60);
    assert_int_equal(gateway_run(gateway), EXIT_CODE_OK);
    gateway_free(gateway);
}

static void test_need_not_run(void **state)
{
    struct gateway_config config = config_of(&loopback, 1);
    struct gateway *gateway;
    (void)state;
    assert_int_equal(gateway_open(&config, &gateway), EXIT_CODE_OK);
    gateway_stop(gateway, 1);
    gateway_reload(gateway);
    gateway_free(gateway);
}

static void test_two_in_one_process(void **state)
{
    struct gateway_config config = config_of(&loopback, 1);
    struct running one;
    struct running other;
    (void)state;
    start(&one, &config);
    start(&other, &config);
    expect_answer(gateway_port(one.gateway, 0));
    gateway_stop(one.gateway, 0);
    expect_end(&one);
    gateway_free(one.gateway);
    expect_answer(gateway_port(other.gateway, 0));
    gateway_stop(other.gateway, 0);
    expect_end(&other);
    gateway_free(other.gateway);
}

static void test_says_that_a_port_is_taken(void **state)
{
    struct gateway_config config = config_of(&loopback, 1);
    struct gateway *holder;
    struct gateway *late = NULL;
    (void)state;
    assert_int_equal(gateway_open(&config, &holder), EXIT_CODE_OK);
    const struct gateway_listen taken[] = {{.host = "127.0.0.1"},
                                           {"127.0.0.1", gateway_port(holder, 0)}};
    struct gateway_config second = config_of(taken, 2);
    assert_int_equal(gateway_open(&second, &late), EXIT_CODE_NO_PORT);
    assert_null(late);
    gateway_free(holder);
}

static void test_leaves_signals_to_the_program(void **state)
{
    struct gateway_config config = config_of(&loopback, 1);
    struct gateway *gateway;
    struct sigaction before;
    struct sigaction during;
    (void)state;
    sigaction(SIGTERM, NULL, &before);
    assert_int_equal(gateway_open(&config, &gateway), EXIT_CODE_OK);
    sigaction(SIGTERM, NULL, &during);
    assert_ptr_equal(during.sa_handler, before.sa_handler);
    gateway_free(gateway);
    config.takes_signals = true;
    assert_int_equal(gateway_open(&config, &gateway), EXIT_CODE_OK);
    sigaction(SIGTERM, NULL, &during);
    assert_ptr_not_equal(during.sa_handler, before.sa_handler);
    gateway_free(gateway);
    /* Not the default action, which does not end the process with an exit code. */
    sigaction(SIGTERM, NULL, &during);
    assert_ptr_not_equal(during.sa_handler, SIG_DFL);
    sigaction(SIGHUP, NULL, &during);
    assert_ptr_equal(during.sa_handler, SIG_IGN);
    sigaction(SIGTERM, &before, NULL);
    sigaction(SIGINT, &before, NULL);
    sigaction(SIGHUP, &before, NULL);
}

static void test_each_allocation_may_fail(void **state)
{
    struct gateway_config config = config_of(&loopback, 1);
    (void)state;
    bool is_done = false;
    for (size_t n = 1; !is_done; n++) {
        struct gateway *gateway = NULL;
        memory_fail_after(n);
        int code = gateway_open(&config, &gateway);
        is_done = memory_fail_is_pending();
        memory_fail_after(0);
        assert_true(code == EXIT_CODE_OK || code == EXIT_CODE_FAILURE);
        assert_true(code == EXIT_CODE_OK || !is_done);
        if (code == EXIT_CODE_OK)
            gateway_free(gateway);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_runs_until_it_is_told_to_stop),
        cmocka_unit_test(test_stops_though_it_was_told_before_it_ran),
        cmocka_unit_test(test_need_not_run),
        cmocka_unit_test(test_two_in_one_process),
        cmocka_unit_test(test_says_that_a_port_is_taken),
        cmocka_unit_test(test_leaves_signals_to_the_program),
        cmocka_unit_test(test_each_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
