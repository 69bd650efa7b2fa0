#include "policy/whitelist.h"

#include "base/error.h"
#include "base/memory.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static struct sockaddr_storage address_of(const char *text, uint16_t port)
{
    struct sockaddr_storage address = {0};
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(port)};
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
    if (inet_pton(AF_INET, text, &in.sin_addr) == 1)
        memcpy(&address, &in, sizeof in);
    else if (inet_pton(AF_INET6, text, &in6.sin6_addr) == 1)
        memcpy(&address, &in6, sizeof in6);
    else
        fail_msg("\"%s\" is no address", text);
    return address;
}

/* A list of at most three rules; NULL ends them early. */
struct fixture {
    struct whitelist list;
};

static struct fixture list_of(const char *first, const char *second, const char *third)
{
    struct fixture fixture;
    const char *rules[] = {first, second, third};
    char why[256] = "";
    whitelist_init(&fixture.list);
    for (size_t i = 0; i < 3 && rules[i] != NULL; i++) {
        if (whitelist_add(&fixture.list, rules[i], why, sizeof why) != 0)
            fail_msg("\"%s\": %s", rules[i], why);
    }
    return fixture;
}

static bool allows(struct fixture *fixture, const char *host, const char *address, uint16_t port)
{
    struct sockaddr_storage storage = address_of(address, port);
    return whitelist_allows(&fixture->list, host, &storage);
}

/* One rule, one question. */
static bool rule_allows(const char *rule, const char *host, const char *address, uint16_t port)
{
    struct fixture fixture = list_of(rule, NULL, NULL);
    bool allowed = allows(&fixture, host, address, port);
    whitelist_deinit(&fixture.list);
    return allowed;
}

static void test_an_empty_list_allows_nothing(void **state)
{
    (void)state;
    struct fixture fixture = list_of(NULL, NULL, NULL);
    assert_false(allows(&fixture, "127.0.0.1", "127.0.0.1", 80));
    assert_false(allows(&fixture, "a.example", "192.0.2.1", 80));
    assert_false(whitelist_may_resolve(&fixture.list, "a.example", 80));
    assert_false(whitelist_may_resolve(&fixture.list, "127.0.0.1", 80));
    whitelist_deinit(&fixture.list);
    whitelist_deinit(&fixture.list);
}

static void test_ports(void **state)
{
    (void)state;
    assert_true(rule_allows("192.0.2.1:80", "192.0.2.1", "192.0.2.1", 80));
    assert_false(rule_allows("192.0.2.1:80", "192.0.2.1", "192.0.2.1", 81));
    assert_false(rule_allows("192.0.2.1:80", "192.0.2.2", "192.0.2.2", 80));
    assert_true(rule_allows("192.0.2.1:*", "192.0.2.1", "192.0.2.1", 1));
    assert_true(rule_allows("192.0.2.1:*", "192.0.2.1", "192.0.2.1", 65535));
    assert_false(rule_allows("192.0.2.1:*", "192.0.2.1", "192.0.2.1", 0));
    assert_false(rule_allows("192.0.2.1:80-90", "192.0.2.1", "192.0.2.1", 79));
    assert_true(rule_allows("192.0.2.1:80-90", "192.0.2.1", "192.0.2.1", 80));
    assert_true(rule_allows("192.0.2.1:80-90", "192.0.2.1", "192.0.2.1", 90));
    assert_false(rule_allows("192.0.2.1:80-90", "192.0.2.1", "192.0.2.1", 91));
    assert_true(rule_allows("192.0.2.1:80-80", "192.0.2.1", "192.0.2.1", 80));
}

static void test_networks(void **state)
{
    (void)state;
    assert_true(rule_allows("10.0.0.0/8:22", "10.255.0.1", "10.255.0.1", 22));
    assert_false(rule_allows("10.0.0.0/8:22", "11.0.0.0", "11.0.0.0", 22));
    assert_true(rule_allows("192.0.2.128/25:1-1024", "192.0.2.255", "192.0.2.255", 22));
    assert_false(rule_allows("192.0.2.128/25:1-1024", "192.0.2.127", "192.0.2.127", 22));
    assert_true(rule_allows("[2001:db8::]/32:22", "2001:db8:1::1", "2001:db8:1::1", 22));
    assert_true(rule_allows("[2001:db8::/32]:22", "2001:db8:1::1", "2001:db8:1::1", 22));
    assert_false(rule_allows("[2001:db8::/32]:22", "2001:db9::1", "2001:db9::1", 22));
    assert_true(rule_allows("[2001:db8::1]:22", "2001:db8::1", "2001:db8::1", 22));
    assert_false(rule_allows("[2001:db8::1]:22", "2001:db8::2", "2001:db8::2", 22));
    assert_true(rule_allows("192.0.2.1/32:22", "192.0.2.1", "192.0.2.1", 22));
    assert_true(rule_allows("0.0.0.0/0:22", "192.0.2.1", "192.0.2.1", 22));
    assert_true(rule_allows("[::/0]:22", "2001:db8::1", "2001:db8::1", 22));
}

static void test_a_network_allows_the_names_that_resolve_into_it(void **state)
{
    (void)state;
    struct fixture fixture = list_of("10.0.0.0/8:22", NULL, NULL);
    assert_true(whitelist_may_resolve(&fixture.list, "db.example", 22));
    assert_false(whitelist_may_resolve(&fixture.list, "db.example", 23));
    assert_true(allows(&fixture, "db.example", "10.1.2.3", 22));
    assert_false(allows(&fixture, "db.example", "192.0.2.1", 22));
    whitelist_deinit(&fixture.list);
}

static void test_families_are_apart(void **state)
{
    (void)state;
    assert_true(rule_allows("10.0.0.0/8:22", "::ffff:10.0.0.1", "::ffff:10.0.0.1", 22));
    assert_true(rule_allows("[::ffff:10.0.0.0/104]:22", "10.0.0.1", "10.0.0.1", 22));
    assert_false(rule_allows("[::/0]:22", "192.0.2.1", "192.0.2.1", 22));
    assert_false(rule_allows("[::/0]:22", "::ffff:192.0.2.1", "::ffff:192.0.2.1", 22));
    assert_false(rule_allows("0.0.0.0/0:22", "2001:db8::1", "2001:db8::1", 22));
    assert_false(rule_allows("0.0.0.0/0:22", "::1", "::1", 22));
}

static void test_names(void **state)
{
    (void)state;
    assert_true(rule_allows("db.example:5432", "db.example", "192.0.2.1", 5432));
    assert_true(rule_allows("DB.Example:5432", "db.eXample", "192.0.2.1", 5432));
    assert_true(rule_allows("db.example.:5432", "db.example", "192.0.2.1", 5432));
    assert_true(rule_allows("db.example:5432", "db.example.", "192.0.2.1", 5432));
    assert_true(rule_allows("db.example:5432", "db.example", "2001:db8::1", 5432));
    assert_true(rule_allows("db.example:5432", "db.example", "10.0.0.1", 5432));
    assert_false(rule_allows("db.example:5432", "db.example", "192.0.2.1", 5433));
    assert_false(rule_allows("db.example:5432", "db.example.org", "192.0.2.1", 5432));
    assert_false(rule_allows("db.example:5432", "xdb.example", "192.0.2.1", 5432));
    assert_false(rule_allows("db.example:5432", "192.0.2.1", "192.0.2.1", 5432));
}

/* Addresses that a name must not lead to. */
static const char *const SPECIAL[] = {
    "127.0.0.1",        "127.0.0.53",      "127.255.255.255",  "::1",
    "::ffff:127.0.0.1", "0.0.0.0",         "0.1.2.3",          "::",
    "::ffff:0.0.0.0",   "169.254.169.254", "169.254.0.1",      "::ffff:169.254.169.254",
    "224.0.0.1",        "239.255.255.255", "::ffff:224.0.0.1", "255.255.255.255",
    "fe80::1",          "febf::1",         "ff02::1",          "::127.0.0.1",
    "64:ff9b::7f00:1",  "64:ff9b::",       "::ffff:0.0.0.1",   "64:ff9b::a9fe:a9fe",
};

static const char *const ORDINARY[] = {
    "126.255.255.255", "128.0.0.1", "169.253.1.1", "169.255.1.1", "223.255.255.255", "240.0.0.1",
    "10.0.0.1",        "1.0.0.1",   "fe7f::1",     "fec0::1",     "fd00::1",         "::1:0:0:1",
};

static void test_a_name_never_leads_to_a_special_address(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof SPECIAL / sizeof *SPECIAL; i++) {
        if (rule_allows("db.example:*", "db.example", SPECIAL[i], 80))
            fail_msg("db.example led to %s", SPECIAL[i]);
    }
    for (size_t i = 0; i < sizeof ORDINARY / sizeof *ORDINARY; i++) {
        if (!rule_allows("db.example:*", "db.example", ORDINARY[i], 80))
            fail_msg("db.example did not lead to %s", ORDINARY[i]);
    }
}

static void test_a_rule_that_names_a_special_address_allows_it(void **state)
{
    (void)state;
    assert_true(rule_allows("127.0.0.0/8:*", "127.0.0.1", "127.0.0.1", 80));
    assert_true(rule_allows("127.0.0.0/8:*", "db.example", "127.0.0.1", 80));
    assert_true(rule_allows("127.0.0.1:80", "127.0.0.1", "::ffff:127.0.0.1", 80));
    assert_true(rule_allows("169.254.169.254:80", "x.example", "169.254.169.254", 80));
    assert_true(rule_allows("169.254.0.0/16:80", "169.254.169.254", "169.254.169.254", 80));
    assert_true(rule_allows("[::1]:80", "::1", "::1", 80));
    assert_true(rule_allows("[fe80::/10]:80", "fe80::1", "fe80::1", 80));
    assert_true(rule_allows("224.0.0.0/4:80", "224.0.0.1", "224.0.0.1", 80));
    assert_true(rule_allows("0.0.0.0:80", "0.0.0.0", "0.0.0.0", 80));
    assert_true(rule_allows("[::]:80", "::", "::", 80));
    assert_false(rule_allows("127.0.0.0/8:*", "0.0.0.0", "0.0.0.0", 80));
    assert_false(rule_allows("[::1]:*", "::", "::", 80));
    assert_false(rule_allows("[::1]:80", "127.0.0.1", "127.0.0.1", 80));
}

static void test_localhost(void **state)
{
    (void)state;
    assert_true(rule_allows("localhost:80", "localhost", "127.0.0.1", 80));
    assert_true(rule_allows("localhost:80", "LocalHost.", "::1", 80));
    assert_true(rule_allows("LOCALHOST.:80", "localhost", "127.0.1.1", 80));
    assert_true(rule_allows("localhost:80", "127.0.0.1", "127.0.0.1", 80));
    assert_true(rule_allows("localhost:80", "::1", "::1", 80));
    assert_false(rule_allows("localhost:80", "127.0.0.2", "127.0.0.2", 80));
    assert_false(rule_allows("localhost:80", "localhost", "127.0.0.1", 81));
    assert_false(rule_allows("localhost:80", "localhost", "192.0.2.1", 80));
    assert_false(rule_allows("localhost:80", "localhost", "169.254.1.1", 80));
    assert_false(rule_allows("localhost:80", "0.0.0.0", "0.0.0.0", 80));
    assert_false(rule_allows("x.localhost:80", "x.localhost", "127.0.0.1", 80));
}

static void test_the_star_allows_everything(void **state)
{
    (void)state;
    struct fixture fixture = list_of("*", NULL, NULL);
    for (size_t i = 0; i < sizeof SPECIAL / sizeof *SPECIAL; i++)
        assert_true(allows(&fixture, "any.example", SPECIAL[i], 1));
    assert_true(allows(&fixture, "any.example", "192.0.2.1", 65535));
    assert_true(whitelist_may_resolve(&fixture.list, "any.example", 1));
    whitelist_deinit(&fixture.list);
}

static void test_several_rules(void **state)
{
    (void)state;
    struct fixture fixture = list_of("db.example:5432", "10.0.0.0/8:22", "localhost:8000-8999");
    assert_true(allows(&fixture, "db.example", "192.0.2.1", 5432));
    assert_true(allows(&fixture, "db.example", "10.0.0.1", 22));
    assert_true(allows(&fixture, "db.example", "127.0.0.1", 8080));
    assert_false(allows(&fixture, "db.example", "192.0.2.1", 22));
    assert_false(allows(&fixture, "db.example", "127.0.0.1", 5432));
    whitelist_deinit(&fixture.list);
}

static void test_may_resolve(void **state)
{
    (void)state;
    struct fixture fixture = list_of("db.example:5432", "localhost:80", NULL);
    assert_true(whitelist_may_resolve(&fixture.list, "DB.example.", 5432));
    assert_false(whitelist_may_resolve(&fixture.list, "web.example", 5432));
    assert_false(whitelist_may_resolve(&fixture.list, "db.example", 22));
    assert_true(whitelist_may_resolve(&fixture.list, "localhost", 80));
    assert_true(whitelist_may_resolve(&fixture.list, "127.0.0.1", 80));
    assert_true(whitelist_may_resolve(&fixture.list, "::1", 80));
    assert_false(whitelist_may_resolve(&fixture.list, "192.0.2.1", 80));
    assert_false(whitelist_may_resolve(&fixture.list, "0.0.0.0", 80));
    whitelist_deinit(&fixture.list);
}

static void test_loopback_rules_resolve_localhost_only(void **state)
{
    (void)state;
    struct fixture fixture = list_of("127.0.0.0/8:*", "[::1]:*", "localhost:*");
    assert_true(whitelist_may_resolve(&fixture.list, "localhost", 80));
    assert_true(whitelist_may_resolve(&fixture.list, "LOCALHOST.", 80));
    assert_true(whitelist_may_resolve(&fixture.list, "127.0.0.9", 80));
    assert_false(whitelist_may_resolve(&fixture.list, "secret.attacker.example", 80));
    assert_false(whitelist_may_resolve(&fixture.list, "x.localhost", 80));
    whitelist_deinit(&fixture.list);
    fixture = list_of("127.0.0.0/8:*", "10.0.0.0/8:22", NULL);
    assert_true(whitelist_may_resolve(&fixture.list, "db.example", 22));
    assert_false(whitelist_may_resolve(&fixture.list, "db.example", 23));
    whitelist_deinit(&fixture.list);
    fixture = list_of("126.0.0.0/7:*", NULL, NULL);
    assert_true(whitelist_may_resolve(&fixture.list, "db.example", 22));
    whitelist_deinit(&fixture.list);
}

static void test_a_denied_listener_is_never_dialled(void **state)
{
    (void)state;
    struct fixture fixture = list_of("*", NULL, NULL);
    struct sockaddr_storage listener = address_of("127.0.0.1", 8080);
    assert_int_equal(whitelist_deny(&fixture.list, &listener), 0);
    assert_false(allows(&fixture, "127.0.0.1", "127.0.0.1", 8080));
    assert_false(allows(&fixture, "::ffff:127.0.0.1", "::ffff:127.0.0.1", 8080));
    assert_false(allows(&fixture, "0.0.0.0", "0.0.0.0", 8080));
    assert_false(allows(&fixture, "::", "::", 8080));
    assert_false(whitelist_may_resolve(&fixture.list, "127.0.0.1", 8080));
    assert_true(allows(&fixture, "127.0.0.1", "127.0.0.1", 8081));
    assert_true(allows(&fixture, "127.0.0.2", "127.0.0.2", 8080));
    whitelist_deinit(&fixture.list);
}

static void test_what_is_denied_again_takes_no_room(void **state)
{
    (void)state;
    struct fixture fixture = list_of("*", NULL, NULL);
    struct sockaddr_storage first = address_of("127.0.0.1", 8080);
    struct sockaddr_storage mapped = address_of("::ffff:127.0.0.1", 8080);
    struct sockaddr_storage other = address_of("127.0.0.1", 8081);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(whitelist_deny(&fixture.list, &first), 0);
        assert_int_equal(whitelist_deny(&fixture.list, &mapped), 0);
        assert_int_equal(whitelist_deny(&fixture.list, &other), 0);
    }
    assert_int_equal(fixture.list.denied_count, 2);
    assert_false(allows(&fixture, "127.0.0.1", "127.0.0.1", 8081));
    whitelist_deinit(&fixture.list);
}

static void test_what_was_denied_may_be_allowed_again(void **state)
{
    (void)state;
    struct fixture fixture = list_of("*", NULL, NULL);
    struct sockaddr_storage first = address_of("127.0.0.1", 8080);
    struct sockaddr_storage mapped = address_of("::ffff:127.0.0.1", 8080);
    struct sockaddr_storage other = address_of("127.0.0.1", 8081);
    struct sockaddr_storage unix_address = {.ss_family = AF_UNIX};
    assert_int_equal(whitelist_deny(&fixture.list, &first), 0);
    assert_int_equal(whitelist_deny(&fixture.list, &other), 0);
    assert_int_equal(whitelist_deny(&fixture.list, &mapped), 0);
    whitelist_allow_again(&fixture.list, &unix_address);
    whitelist_allow_again(&fixture.list, &first);
    assert_false(allows(&fixture, "127.0.0.1", "127.0.0.1", 8080));
    whitelist_allow_again(&fixture.list, &first);
    assert_true(allows(&fixture, "127.0.0.1", "127.0.0.1", 8080));
    assert_false(allows(&fixture, "127.0.0.1", "127.0.0.1", 8081));
    whitelist_allow_again(&fixture.list, &first);
    assert_int_equal(fixture.list.denied_count, 1);
    assert_int_equal(whitelist_deny(&fixture.list, &first), 0);
    assert_false(allows(&fixture, "127.0.0.1", "127.0.0.1", 8080));
    whitelist_deinit(&fixture.list);
}

static void test_no_spelling_of_a_denied_address_is_dialled(void **state)
{
    (void)state;
    static const char *const loopback[] = {"127.0.0.1",
                                           "0.0.0.0",
                                           "::",
                                           "::1",
                                           "::127.0.0.1",
                                           "::ffff:0.0.0.0",
                                           "::ffff:127.0.0.1",
                                           "64:ff9b::",
                                           "64:ff9b::7f00:1"};
    static const char *const other[] = {"192.0.2.7", "::ffff:192.0.2.7", "::192.0.2.7",
                                        "64:ff9b::c000:207"};
    struct fixture fixture = list_of("*", NULL, NULL);
    struct sockaddr_storage listeners[] = {address_of("::1", 8080), address_of("192.0.2.7", 8081)};
    for (size_t i = 0; i < 2; i++)
        assert_int_equal(whitelist_deny(&fixture.list, &listeners[i]), 0);
    for (size_t i = 0; i < sizeof loopback / sizeof *loopback; i++) {
        if (allows(&fixture, loopback[i], loopback[i], 8080) ||
            whitelist_may_resolve(&fixture.list, loopback[i], 8080))
            fail_msg("%s is dialled", loopback[i]);
        assert_true(allows(&fixture, loopback[i], loopback[i], 8082));
    }
    for (size_t i = 0; i < sizeof other / sizeof *other; i++) {
        if (allows(&fixture, other[i], other[i], 8081))
            fail_msg("%s is dialled", other[i]);
        assert_true(allows(&fixture, other[i], other[i], 8080));
    }
    for (size_t i = 0; i < 2; i++)
        whitelist_allow_again(&fixture.list, &listeners[i]);
    assert_int_equal(fixture.list.denied_count, 0);
    whitelist_deinit(&fixture.list);
}

static void test_other_spellings_are_allowed_as_what_they_reach(void **state)
{
    (void)state;
    assert_true(rule_allows("10.0.0.0/8:22", "64:ff9b::a01:203", "64:ff9b::a01:203", 22));
    assert_true(rule_allows("10.0.0.0/8:22", "::10.1.2.3", "::10.1.2.3", 22));
    assert_false(rule_allows("10.0.0.0/8:22", "64:ff9b::b01:203", "64:ff9b::b01:203", 22));
    assert_true(rule_allows("[::/0]:22", "64:ff9b::b01:203", "64:ff9b::b01:203", 22));
    /* This machine's addresses are told apart. */
    assert_false(rule_allows("127.0.0.0/8:22", "64:ff9b::7f00:1", "64:ff9b::7f00:1", 22));
    assert_false(rule_allows("127.0.0.0/8:22", "::1", "::1", 22));
}

static bool is_192_0_2_7(const struct sockaddr_storage *address)
{
    struct sockaddr_storage local = address_of("192.0.2.7", 0);
    const struct sockaddr_in *a = (const struct sockaddr_in *)(const void *)address;
    const struct sockaddr_in *b = (const struct sockaddr_in *)(const void *)&local;
    return address->ss_family == AF_INET && a->sin_addr.s_addr == b->sin_addr.s_addr;
}

static void test_the_unspecified_address_denies_every_local_one(void **state)
{
    (void)state;
    static const char *const listeners[] = {"0.0.0.0", "::"};
    for (size_t i = 0; i < 2; i++) {
        struct fixture fixture = list_of("*", NULL, NULL);
        struct sockaddr_storage listener = address_of(listeners[i], 8080);
        assert_int_equal(whitelist_deny(&fixture.list, &listener), 0);
        assert_false(allows(&fixture, "127.0.0.1", "127.0.0.1", 8080));
        assert_false(allows(&fixture, "127.9.9.9", "127.9.9.9", 8080));
        assert_false(allows(&fixture, "::1", "::1", 8080));
        assert_false(allows(&fixture, "0.0.0.0", "0.0.0.0", 8080));
        assert_false(allows(&fixture, "::", "::", 8080));
        assert_true(allows(&fixture, "192.0.2.7", "192.0.2.7", 8080));
        fixture.list.is_local = is_192_0_2_7;
        assert_false(allows(&fixture, "192.0.2.7", "192.0.2.7", 8080));
        assert_false(allows(&fixture, "x", "64:ff9b::c000:207", 8080));
        assert_false(allows(&fixture, "x", "64:ff9b::7f00:1", 8080));
        assert_true(allows(&fixture, "192.0.2.8", "192.0.2.8", 8080));
        assert_true(allows(&fixture, "192.0.2.7", "192.0.2.7", 8081));
        whitelist_deinit(&fixture.list);
    }
}

static void test_what_cannot_be_denied(void **state)
{
    (void)state;
    struct fixture fixture = list_of(NULL, NULL, NULL);
    struct sockaddr_storage address = address_of("127.0.0.1", 0);
    struct sockaddr_storage unix_address = {.ss_family = AF_UNIX};
    assert_int_equal(whitelist_deny(&fixture.list, &address), CULVERT_ERROR_INVALID);
    assert_int_equal(whitelist_deny(&fixture.list, &unix_address), CULVERT_ERROR_INVALID);
    assert_false(whitelist_allows(&fixture.list, "x", &unix_address));
    whitelist_deinit(&fixture.list);
}

static void check_wrong(const char *rule, const char *piece_of_why)
{
    struct whitelist list;
    char why[256] = "";
    whitelist_init(&list);
    assert_int_equal(whitelist_add(&list, rule, why, sizeof why), CULVERT_ERROR_INVALID);
    if (strstr(why, piece_of_why) == NULL)
        fail_msg("\"%s\" gave \"%s\", without \"%s\"", rule, why, piece_of_why);
    assert_int_equal(list.count, 0);
    whitelist_deinit(&list);
}

static void test_wrong_rules(void **state)
{
    (void)state;
    check_wrong("", "names no port");
    check_wrong("db.example", "names no port");
    check_wrong("[::1]", "names no port");
    check_wrong(":80", "neither a host name nor an IP address");
    check_wrong("db.example:", "is not a port");
    check_wrong("db.example:0", "is not a port");
    check_wrong("db.example:65536", "is not a port");
    check_wrong("db.example:-1", "is not a port");
    check_wrong("db.example:1-", "is not a port");
    check_wrong("db.example:0-5", "is not a port");
    check_wrong("db.example:1-2-3", "is not a port");
    check_wrong("db.example:ssh", "is not a port");
    check_wrong("db.example:+80", "is not a port");
    check_wrong("db.example:90-80", "runs backwards");
    check_wrong("::1:80", "too many colons");
    check_wrong("2001:db8::1:80", "too many colons");
    check_wrong("[db.example]:80", "is not an IPv6 address");
    check_wrong("[10.0.0.1]:80", "is not an IPv6 address");
    check_wrong("[fe80::1%eth0]:80", "is not an IPv6 address");
    check_wrong("[::1:80", "names no port");
    check_wrong("*:80", "* stands alone");
    check_wrong("**", "names no port");
    check_wrong("*.example:80", "neither a host name nor");
    check_wrong("db example:80", "neither a host name nor");
    check_wrong("127.1:80", "neither a host name nor");
    check_wrong("0x7f000001:80", "neither a host name nor");
    check_wrong("10.0.0.256:80", "neither a host name nor");
    check_wrong("db.example/24:80", "before the / is not an IP address");
    check_wrong("10.0.0.0/33:80", "prefix /33 is not a number from 0 to 32");
    check_wrong("10.0.0.0/:80", "is not a number");
    check_wrong("10.0.0.0/a:80", "is not a number");
    check_wrong("[::/129]:80", "from 0 to 128");
    check_wrong("10.0.0.1/8:80", "host bits set; write 10.0.0.0/8");
    check_wrong("0.0.0.1/0:80", "host bits set; write 0.0.0.0/0");
    check_wrong("[2001:db8::1]/32:80", "host bits set; write [2001:db8:0:0:0:0:0:0/32]");
}

static void test_a_long_rule_gives_a_bounded_sentence(void **state)
{
    (void)state;
    char rule[2000];
    struct whitelist list;
    char why[64];
    memset(rule, 'a', sizeof rule);
    rule[sizeof rule - 1] = '\0';
    whitelist_init(&list);
    assert_int_equal(whitelist_add(&list, rule, why, sizeof why), CULVERT_ERROR_INVALID);
    assert_true(strlen(why) < sizeof why);
    rule[1000] = ':';
    assert_int_equal(whitelist_add(&list, rule, why, sizeof why), CULVERT_ERROR_INVALID);
    whitelist_deinit(&list);
}

static void test_out_of_memory_leaves_the_list_as_it_was(void **state)
{
    (void)state;
    struct fixture fixture = list_of("192.0.2.1:80", NULL, NULL);
    struct sockaddr_storage listener = address_of("192.0.2.1", 80);
    char why[256];
    memory_fail_after(1);
    assert_int_equal(whitelist_add(&fixture.list, "192.0.2.2:80", why, sizeof why),
                     CULVERT_ERROR_NO_MEMORY);
    memory_fail_after(1);
    assert_int_equal(whitelist_deny(&fixture.list, &listener), CULVERT_ERROR_NO_MEMORY);
    assert_true(allows(&fixture, "192.0.2.1", "192.0.2.1", 80));
    assert_false(allows(&fixture, "192.0.2.2", "192.0.2.2", 80));
    whitelist_deinit(&fixture.list);
}

static void expect_objection(const struct whitelist *list, const char *host, const char *word)
{
    const struct sockaddr_storage unknown = {.ss_family = AF_UNSPEC};
    assert_non_null(strstr(whitelist_objection(list, host, &unknown), word));
}

static void test_an_objection_names_a_default(void **state)
{
    (void)state;
    struct whitelist list;
    whitelist_init(&list);
    expect_objection(&list, "a.example", "allowlist does not allow");
    list.origin = WHITELIST_DEFAULT_NOTHING;
    expect_objection(&list, "127.0.0.1", "dials nothing");
    list.origin = WHITELIST_DEFAULT_LOOPBACK;
    expect_objection(&list, "a.example", "loopback targets only");
    expect_objection(&list, "10.0.0.1", "loopback targets only");
    expect_objection(&list, "a b", "loopback targets only");
    /* The default allows these hosts, so it is not what is in the way. */
    expect_objection(&list, "localhost", "allowlist does not allow");
    expect_objection(&list, "127.0.0.2", "allowlist does not allow");
    expect_objection(&list, "::1", "allowlist does not allow");
    whitelist_deinit(&list);
}

static void test_an_objection_names_a_denial(void **state)
{
    static const enum whitelist_origin origins[] = {WHITELIST_GIVEN, WHITELIST_DEFAULT_LOOPBACK,
                                                    WHITELIST_DEFAULT_NOTHING};
    (void)state;
    for (size_t i = 0; i < sizeof origins / sizeof origins[0]; i++) {
        struct whitelist list;
        whitelist_init(&list);
        list.origin = origins[i];
        struct sockaddr_storage gateway = address_of("192.0.2.1", 443);
        struct sockaddr_storage other = address_of("192.0.2.1", 444);
        assert_int_equal(whitelist_deny(&list, &gateway), 0);
        assert_non_null(
            strstr(whitelist_objection(&list, "gateway.example", &gateway), "never dialled"));
        assert_null(strstr(whitelist_objection(&list, "gateway.example", &other), "never dialled"));
        whitelist_deinit(&list);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_an_empty_list_allows_nothing),
        cmocka_unit_test(test_ports),
        cmocka_unit_test(test_networks),
        cmocka_unit_test(test_a_network_allows_the_names_that_resolve_into_it),
        cmocka_unit_test(test_families_are_apart),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_a_name_never_leads_to_a_special_address),
        cmocka_unit_test(test_a_rule_that_names_a_special_address_allows_it),
        cmocka_unit_test(test_localhost),
        cmocka_unit_test(test_the_star_allows_everything),
        cmocka_unit_test(test_several_rules),
        cmocka_unit_test(test_may_resolve),
        cmocka_unit_test(test_loopback_rules_resolve_localhost_only),
        cmocka_unit_test(test_a_denied_listener_is_never_dialled),
        cmocka_unit_test(test_no_spelling_of_a_denied_address_is_dialled),
        cmocka_unit_test(test_other_spellings_are_allowed_as_what_they_reach),
        cmocka_unit_test(test_the_unspecified_address_denies_every_local_one),
        cmocka_unit_test(test_what_is_denied_again_takes_no_room),
        cmocka_unit_test(test_what_was_denied_may_be_allowed_again),
        cmocka_unit_test(test_what_cannot_be_denied),
        cmocka_unit_test(test_an_objection_names_a_default),
        cmocka_unit_test(test_an_objection_names_a_denial),
        cmocka_unit_test(test_wrong_rules),
        cmocka_unit_test(test_a_long_rule_gives_a_bounded_sentence),
        cmocka_unit_test(test_out_of_memory_leaves_the_list_as_it_was),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
