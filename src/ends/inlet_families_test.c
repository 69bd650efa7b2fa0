#include "base/error.h"
#include "ends/inlet.h"
#include "ends/test_loop.h"
#include "net/address.h"
#include "net/listener.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

/* What an inlet binds on machines that lack an address family, over listeners that do what the test
 * says. */

enum { LISTENERS = 64, FIRST_PORT = 40000 };

struct listener {
    char text[ADDRESS_TEXT_SIZE]; /* "" once it is closed */
    uint16_t port;
};

static struct {
    struct test_loop test;
    struct inlet *inlet;
    struct listener listeners[LISTENERS];
    size_t count;
    bool is_dual;        /* the last one */
    int ipv4_error;      /* of binding an address of IPv4 */
    int ipv6_error;      /* of IPv6 */
    unsigned clashes;    /* so many ports are taken on IPv6 */
    uint16_t asked_port; /* of the last one */
} world;

int listener_new(struct loop *loop, const struct sockaddr *address, socklen_t size,
                 const struct listener_options *options, const struct listener_events *events,
                 void *holder, struct listener **listener)
{
    struct sockaddr_storage full = {0};
    assert_ptr_equal(loop, &world.test.loop);
    assert_non_null(events);
    assert_non_null(holder);
    assert_true(options->leaves_reserve);
    memcpy(&full, address, size);
    world.is_dual = options->dual;
    world.asked_port = address_port(&full);
    int error = address->sa_family == AF_INET ? world.ipv4_error : world.ipv6_error;
    if (error != 0)
        return error;
    if (address->sa_family == AF_INET6 && world.clashes > 0) {
        world.clashes--;
        return -EADDRINUSE;
    }
    assert_true(world.count < LISTENERS);
    struct listener *new = &world.listeners[world.count++];
    new->port = world.asked_port != 0 ? world.asked_port : (uint16_t)(FIRST_PORT + world.count);
    address_set_port(&full, new->port);
    address_text(&full, new->text);
    *listener = new;
    return 0;
}

void listener_accept(struct listener *listener, bool on)
{
    (void)on;
    assert_string_not_equal(listener->text, "");
}

void listener_close(struct listener *listener)
{
    assert_string_not_equal(listener->text, "");
    listener->text[0] = '\0';
}

void *listener_holder(const struct listener *listener)
{
    (void)listener;
    return NULL;
}

uint16_t listener_port(const struct listener *listener)
{
    return listener->port;
}

void listener_text(const struct listener *listener, char *out, size_t size)
{
    snprintf(out, size, "%s", listener->text);
}

static int set_up(void **state)
{
    (void)state;
    memset(&world, 0, sizeof world);
    test_loop_open(&world.test);
    return 0;
}

static size_t count_open(void)
{
    size_t count = 0;
    for (size_t i = 0; i < world.count; i++)
        count += world.listeners[i].text[0] != '\0';
    return count;
}

static int tear_down(void **state)
{
    (void)state;
    if (world.inlet != NULL)
        inlet_close(world.inlet);
    assert_int_equal(count_open(), 0);
    test_loop_close(&world.test);
    return 0;
}

static const struct inlet_events events = {0};

static int bind_to(const char *bind, uint16_t port)
{
    if (world.inlet != NULL)
        inlet_close(world.inlet);
    world.inlet = NULL;
    assert_int_equal(count_open(), 0);
    return inlet_tcp(&world.test.loop, bind, port, &events, NULL, &world.inlet);
}

static void expect_text(const char *expected)
{
    char text[ADDRESS_TEXT_SIZE];
    inlet_text(world.inlet, text, sizeof text);
    assert_string_equal(text, expected);
}

static void loopback_is_what_there_is_of_it(void **state)
{
    static const int missing[] = {-EAFNOSUPPORT, -EADDRNOTAVAIL, -EPROTONOSUPPORT};
    (void)state;
    assert_int_equal(bind_to(NULL, 2222), 0);
    assert_int_equal(count_open(), 2);
    assert_false(world.is_dual);
    for (size_t i = 0; i < sizeof missing / sizeof *missing; i++) {
        world.ipv6_error = missing[i];
        assert_int_equal(bind_to(NULL, 2222), 0);
        assert_int_equal(count_open(), 1);
        expect_text("127.0.0.1:2222");
        world.ipv4_error = missing[i];
        assert_int_equal(bind_to(NULL, 2222), missing[i]);
        world.ipv6_error = 0;
        assert_int_equal(bind_to(NULL, 2222), 0);
        expect_text("[::1]:2222");
        world.ipv4_error = 0;
    }
    world.ipv6_error = -EACCES;
    assert_int_equal(bind_to(NULL, 22), -EACCES);
    assert_int_equal(count_open(), 0);
}

static void all_addresses_without_ipv6(void **state)
{
    (void)state;
    assert_int_equal(bind_to("*", 2222), 0);
    assert_true(world.is_dual);
    expect_text("[::]:2222");
    world.ipv6_error = -EAFNOSUPPORT;
    assert_int_equal(bind_to("*", 2222), 0);
    assert_false(world.is_dual);
    expect_text("0.0.0.0:2222");
    world.ipv4_error = -EADDRINUSE;
    assert_int_equal(bind_to("*", 2222), -EADDRINUSE);
    world.ipv6_error = -EADDRINUSE;
    world.ipv4_error = 0;
    assert_int_equal(bind_to("*", 2222), -EADDRINUSE);
    world.ipv6_error = -EADDRNOTAVAIL;
    assert_int_equal(bind_to("::1", 2222), -EADDRNOTAVAIL);
}

/* The same port on both, also where the one that the kernel chose is taken on the second. */
static void a_free_port_is_free_on_both(void **state)
{
    (void)state;
    assert_int_equal(bind_to(NULL, 0), 0);
    assert_int_equal(world.asked_port, inlet_port(world.inlet));
    world.clashes = 15;
    assert_int_equal(bind_to(NULL, 0), 0);
    assert_int_equal(count_open(), 2);
    assert_int_equal(world.asked_port, inlet_port(world.inlet));
    world.clashes = 16;
    assert_int_equal(bind_to(NULL, 0), -EADDRINUSE);
    world.clashes = 1;
    assert_int_equal(bind_to(NULL, 2222), -EADDRINUSE);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(loopback_is_what_there_is_of_it),
        TEST(all_addresses_without_ipv6),
        TEST(a_free_port_is_free_on_both),
    };
    return cmocka_run_group_tests_name("inlet families", tests, NULL, NULL);
}
