#include "api/api_access.h"
#include "net/address.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static struct api_access access_at(const char *given, const char *own, uint16_t port)
{
    struct sockaddr_storage address;
    struct api_access access;
    assert_int_equal(address_parse(own, port, &address), 0);
    api_access_init(&access, "secret", given, &address);
    return access;
}

static struct api_access access_of_unix(void)
{
    struct sockaddr_storage address = {.ss_family = AF_UNIX};
    struct api_access access;
    api_access_init(&access, "secret", "", &address);
    return access;
}

static bool is_own(const struct api_access *access, const char *authority)
{
    return api_access_is_own(access, text_of(authority));
}

/* A request with these lines behind its Host. */
static struct http1_head head_with(const char *lines)
{
    static char bytes[1024];
    struct http1_head head;
    size_t used;
    int size =
        snprintf(bytes, sizeof bytes, "GET / HTTP/1.1\r\nHost: 127.0.0.1:7070\r\n%s\r\n", lines);
    assert_int_equal(http1_parse_request((const uint8_t *)bytes, (size_t)size, &head, &used), 0);
    return head;
}

static bool knows_token(const char *lines)
{
    struct api_access access = access_of_unix();
    struct http1_head head = head_with(lines);
    return api_access_knows_token(&access, &head);
}

static bool takes_origin(const struct api_access *access, const char *lines)
{
    struct http1_head head = head_with(lines);
    return api_access_takes_origin(access, &head);
}

static void test_loopback_has_its_own_names(void **state)
{
    (void)state;
    struct api_access access = access_at("127.0.0.1", "127.0.0.1", 7070);
    assert_true(is_own(&access, "127.0.0.1:7070"));
    assert_true(is_own(&access, "localhost:7070"));
    assert_true(is_own(&access, "LocalHost:7070"));
    assert_false(is_own(&access, "127.0.0.1"));
    assert_false(is_own(&access, "127.0.0.1:7071"));
    assert_false(is_own(&access, "127.0.0.1:17070"));
    assert_false(is_own(&access, "127.0.0.1:"));
    assert_false(is_own(&access, "127.0.0.1:+7070"));
    assert_false(is_own(&access, "127.0.0.2:7070"));
    assert_false(is_own(&access, "[::1]:7070"));
    assert_false(is_own(&access, "localhost.evil.example:7070"));
    assert_false(is_own(&access, "evil.example:7070"));
    assert_false(is_own(&access, "user@localhost:7070"));
    assert_false(is_own(&access, ":7070"));
    assert_false(is_own(&access, ""));
}

static void test_port_80_may_be_left_out(void **state)
{
    (void)state;
    struct api_access access = access_at("127.0.0.1", "127.0.0.1", 80);
    assert_true(is_own(&access, "127.0.0.1"));
    assert_true(is_own(&access, "localhost"));
    assert_true(is_own(&access, "localhost:80"));
    access = access_at("::1", "::1", 80);
    assert_true(is_own(&access, "[::1]"));
    assert_false(is_own(&access, "::1"));
    assert_false(is_own(&access, "["));
}

static void test_ipv6_stands_in_brackets(void **state)
{
    (void)state;
    struct api_access access = access_at("::1", "::1", 7070);
    assert_true(is_own(&access, "[::1]:7070"));
    assert_true(is_own(&access, "localhost:7070"));
    assert_false(is_own(&access, "::1:7070"));
    assert_false(is_own(&access, "127.0.0.1:7070"));
}

/* Bound to all addresses, it is known by the one that the connection came to. */
static void test_address_of_the_connection(void **state)
{
    (void)state;
    struct api_access access = access_at("0.0.0.0", "192.0.2.7", 7070);
    assert_true(is_own(&access, "192.0.2.7:7070"));
    assert_true(is_own(&access, "0.0.0.0:7070"));
    assert_false(is_own(&access, "localhost:7070"));
    access = access_at("box.lan", "192.0.2.7", 7070);
    assert_true(is_own(&access, "box.lan:7070"));
    assert_true(is_own(&access, "192.0.2.7:7070"));
}

static void test_a_unix_socket_takes_any_host_and_no_origin(void **state)
{
    (void)state;
    struct api_access access = access_of_unix();
    assert_true(is_own(&access, "whatever"));
    assert_true(takes_origin(&access, ""));
    assert_false(takes_origin(&access, "Origin: http://localhost\r\n"));
}

static void test_origin_is_the_server_itself(void **state)
{
    (void)state;
    struct api_access access = access_at("127.0.0.1", "127.0.0.1", 7070);
    assert_true(takes_origin(&access, ""));
    assert_true(takes_origin(&access, "Origin: http://127.0.0.1:7070\r\n"));
    assert_true(takes_origin(&access, "Origin: http://localhost:7070\r\n"));
    assert_false(takes_origin(&access, "Origin: https://127.0.0.1:7070\r\n"));
    assert_false(takes_origin(&access, "Origin: http://127.0.0.1:7071\r\n"));
    assert_false(takes_origin(&access, "Origin: http://127.0.0.1\r\n"));
    assert_false(takes_origin(&access, "Origin: http://evil.example\r\n"));
    assert_false(takes_origin(&access, "Origin: null\r\n"));
    assert_false(takes_origin(&access, "Origin:\r\n"));
    assert_false(takes_origin(&access, "Origin: http://\r\n"));
    assert_false(takes_origin(
        &access, "Origin: http://127.0.0.1:7070\r\nOrigin: http://127.0.0.1:7070\r\n"));
}

static void test_token(void **state)
{
    (void)state;
    assert_true(knows_token("Authorization: Bearer secret\r\n"));
    assert_true(knows_token("authorization: bEARER   secret\r\n"));
    assert_false(knows_token(""));
    assert_false(knows_token("Authorization:\r\n"));
    assert_false(knows_token("Authorization: Bearer\r\n"));
    assert_false(knows_token("Authorization: Bearer secre\r\n"));
    assert_false(knows_token("Authorization: Bearer secrets\r\n"));
    assert_false(knows_token("Authorization: Bearer Secret\r\n"));
    assert_false(knows_token("Authorization: Bearersecret\r\n"));
    assert_false(knows_token("Authorization: Basic secret\r\n"));
    assert_false(knows_token("Authorization: secret\r\n"));
    assert_false(knows_token("Authorization: Bearer secret\r\nAuthorization: Bearer secret\r\n"));
}

/* A server that was made without a token lets nobody in. */
static void test_no_token_is_no_key(void **state)
{
    (void)state;
    struct sockaddr_storage address = {.ss_family = AF_UNIX};
    struct api_access access;
    struct http1_head head = head_with("Authorization: Bearer \r\n");
    api_access_init(&access, "", "", &address);
    assert_false(api_access_knows_token(&access, &head));
    head = head_with("Authorization: Bearer x\r\n");
    assert_false(api_access_knows_token(&access, &head));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_loopback_has_its_own_names),
        cmocka_unit_test(test_port_80_may_be_left_out),
        cmocka_unit_test(test_ipv6_stands_in_brackets),
        cmocka_unit_test(test_address_of_the_connection),
        cmocka_unit_test(test_a_unix_socket_takes_any_host_and_no_origin),
        cmocka_unit_test(test_origin_is_the_server_itself),
        cmocka_unit_test(test_token),
        cmocka_unit_test(test_no_token_is_no_key),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
