#include "policy/acl.h"

#include "base/error.h"
#include "base/memory.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

enum { MANY = 100000, LINE_SIZE = 64 };

static struct acl *acl_of(const char *text)
{
    struct acl *acl = NULL;
    char why[512] = "";
    if (acl_parse("/etc/culvert/policy.acl", text, strlen(text), &acl, why, sizeof why) != 0)
        fail_msg("%s", why);
    return acl;
}

/* A question of which each test changes what it is about. */
static struct policy_request request_of(const char *source, const char *agent, const char *host,
                                        uint16_t port)
{
    return (struct policy_request){.source = source,
                                   .user = "",
                                   .address = "192.0.2.1:4711",
                                   .kind = "tcp",
                                   .agent = agent,
                                   .host = host,
                                   .port = port,
                                   .key = ""};
}

/* The line that decides; below 0 where it refuses, 0 where none does. */
static int ask(const struct acl *acl, const struct policy_request *request)
{
    struct policy_verdict verdict;
    unsigned line = acl_ask(acl, request, &verdict);
    assert_false(verdict.failed);
    if (line == 0)
        assert_false(verdict.allowed);
    return verdict.allowed ? (int)line : -(int)line;
}

/* One list, one question. */
static int decide(const char *text, struct policy_request request)
{
    struct acl *acl = acl_of(text);
    int line = ask(acl, &request);
    acl_free(acl);
    return line;
}

static void test_nothing_is_allowed_by_itself(void **state)
{
    (void)state;
    assert_int_equal(decide("", request_of("a", "b", "h", 80)), 0);
    assert_int_equal(decide("# only words\n\n  \t\r\n", request_of("a", "b", "h", 80)), 0);
    assert_int_equal(decide("allow a -> b h 81", request_of("a", "b", "h", 80)), 0);
}

static void test_the_first_that_matches_decides(void **state)
{
    (void)state;
    const char *text = "deny  bob -> * * *\n"
                       "allow *   -> * * 80\n"
                       "deny  *   -> * * *\n"
                       "allow *   -> * * *\n";
    assert_int_equal(decide(text, request_of("bob", "b", "h", 80)), -1);
    assert_int_equal(decide(text, request_of("ann", "b", "h", 80)), 2);
    assert_int_equal(decide(text, request_of("ann", "b", "h", 81)), -3);
}

static void test_names(void **state)
{
    (void)state;
    assert_int_equal(decide("allow a -> b * *", request_of("a", "b", "h", 1)), 1);
    assert_int_equal(decide("allow a -> b * *", request_of("b", "a", "h", 1)), 0);
    assert_int_equal(decide("allow a -> b * *", request_of("A", "b", "h", 1)), 0);
    assert_int_equal(decide("allow al* -> db-? * *", request_of("alice", "db-1", "h", 1)), 1);
    assert_int_equal(decide("allow al* -> db-? * *", request_of("alice", "db-12", "h", 1)), 0);
    assert_int_equal(decide("allow al* -> db-? * *", request_of("bal", "db-1", "h", 1)), 0);
}

static void test_names_of_another_kind(void **state)
{
    (void)state;
    const char *text = "allow m\xc3\xbcller/1 -> b * *\nallow my?pc -> b * *\nallow * -> c * *";
    assert_int_equal(decide(text, request_of("m\xc3\xbcller/1", "b", "h", 1)), 1);
    assert_int_equal(decide(text, request_of("my pc", "b", "h", 1)), 2);
    assert_int_equal(decide(text, request_of("", "c", "h", 1)), 3);
    assert_int_equal(decide(text, request_of("", "b", "h", 1)), 0);
}

static void test_someone_without_a_name(void **state)
{
    (void)state;
    assert_int_equal(decide("allow - -> b * *", request_of("-", "b", "h", 1)), 1);
    assert_int_equal(decide("allow - -> b * *", request_of("a", "b", "h", 1)), 0);
    assert_int_equal(decide("allow * -> b * *", request_of("-", "b", "h", 1)), 0);
    assert_int_equal(decide("allow ? -> b * *", request_of("-", "b", "h", 1)), 0);
    assert_int_equal(decide("@all = *, ?\nallow @all -> b * *", request_of("-", "b", "h", 1)), 0);
}

static void test_groups(void **state)
{
    (void)state;
    const char *text = "allow @ops -> @dbs * *\n"
                       "@ops = alice-* ,bob\n"
                       "\t@dbs=db-?,store # all that hold data\n"
                       "deny @ops -> * * *\n"
                       "allow @dbs -> @ops * *\n";
    assert_int_equal(decide(text, request_of("alice-1", "db-1", "h", 1)), 1);
    assert_int_equal(decide(text, request_of("bob", "store", "h", 1)), 1);
    assert_int_equal(decide(text, request_of("bob", "web", "h", 1)), -4);
    assert_int_equal(decide(text, request_of("store", "bob", "h", 1)), 5);
    assert_int_equal(decide(text, request_of("carol", "db-1", "h", 1)), 0);
}

static void test_more_groups_than_fit_on_the_stack(void **state)
{
    (void)state;
    char *text = malloc((size_t)MANY * LINE_SIZE);
    size_t used = 0;
    assert_non_null(text);
    for (unsigned i = 0; i < 1000; i++)
        used += (size_t)sprintf(text + used, "@g%u = a%u\nallow @g%u -> b * %u\n", i, i, i, i + 1);
    struct acl *acl = acl_of(text);
    struct policy_request request = request_of("a999", "b", "h", 1000);
    assert_int_equal(ask(acl, &request), 2000);
    request.source = "a998";
    assert_int_equal(ask(acl, &request), 0);

    struct policy_verdict verdict;
    memory_fail_after(1);
    assert_int_equal(acl_ask(acl, &request, &verdict), 0);
    assert_true(verdict.failed);
    assert_false(verdict.allowed);
    assert_non_null(strstr(verdict.reason, "memory"));
    acl_free(acl);
    free(text);
}

static void test_host_names(void **state)
{
    (void)state;
    const char *text = "allow a -> b Web.Example 80\nallow a -> b *.lan. 80";
    assert_int_equal(decide(text, request_of("a", "b", "web.example", 80)), 1);
    assert_int_equal(decide(text, request_of("a", "b", "WEB.example.", 80)), 1);
    assert_int_equal(decide(text, request_of("a", "b", "x.LAN", 80)), 2);
    assert_int_equal(decide(text, request_of("a", "b", "lan", 80)), 0);
}

static void test_a_name_never_matches_an_address(void **state)
{
    (void)state;
    assert_int_equal(decide("allow a -> b 127.0.0.0/8 *", request_of("a", "b", "localhost", 1)), 0);
    assert_int_equal(decide("allow a -> b 0.0.0.0/0 *", request_of("a", "b", "h", 1)), 0);
    assert_int_equal(decide("allow a -> b ?* *", request_of("a", "b", "10.0.0.1", 1)), 0);
    assert_int_equal(decide("allow a -> b a* *", request_of("a", "b", "abcd::1", 1)), 0);
    assert_int_equal(decide("allow a -> b ** *", request_of("a", "b", "abcd::1", 1)), 0);
    assert_int_equal(decide("allow a -> b ** *", request_of("a", "b", "abcd", 1)), 1);
    assert_int_equal(decide("allow a -> b ::/0 *", request_of("a", "b", "h", 1)), 0);
}

static void test_addresses(void **state)
{
    (void)state;
    const char *text = "allow a -> b 10.0.0.0/8 *\n"
                       "allow a -> b 192.0.2.7 *\n"
                       "allow a -> b 2001:db8::/32 *\n"
                       "allow a -> b [2001:db9::]/32 *\n"
                       "allow a -> b [2001:dba::/32] *\n";
    assert_int_equal(decide(text, request_of("a", "b", "10.9.8.7", 1)), 1);
    assert_int_equal(decide(text, request_of("a", "b", "::ffff:10.9.8.7", 1)), 1);
    assert_int_equal(decide(text, request_of("a", "b", "192.0.2.7", 1)), 2);
    assert_int_equal(decide(text, request_of("a", "b", "192.0.2.8", 1)), 0);
    assert_int_equal(decide(text, request_of("a", "b", "2001:DB8::1", 1)), 3);
    assert_int_equal(decide(text, request_of("a", "b", "2001:db9::1", 1)), 4);
    assert_int_equal(decide(text, request_of("a", "b", "2001:dba::1", 1)), 5);
    assert_int_equal(decide(text, request_of("a", "b", "2001:dbb::1", 1)), 0);
}

static void test_what_a_resolver_would_take_for_an_address(void **state)
{
    (void)state;
    static const char *const hosts[] = {"127.1", "0x7f000001", "2130706433", "010.0.0.1",
                                        "a b",   "",           "fe80::1%lo", "10.0.0.1:80"};
    struct acl *acl = acl_of("deny * -> * 127.0.0.0/8 *\nallow * -> * * *");
    for (size_t i = 0; i < sizeof hosts / sizeof *hosts; i++) {
        struct policy_request request = request_of("a", "b", hosts[i], 1);
        struct policy_verdict verdict;
        assert_int_equal(acl_ask(acl, &request, &verdict), 0);
        assert_false(verdict.allowed);
        assert_string_equal(verdict.reason,
                            "policy.acl: the host is neither a name nor an address");
    }
    acl_free(acl);
}

static void test_ports(void **state)
{
    (void)state;
    const char *text = "allow a -> b h 5432,6000-6010,80\nallow a -> c h *";
    assert_int_equal(decide(text, request_of("a", "b", "h", 80)), 1);
    assert_int_equal(decide(text, request_of("a", "b", "h", 5432)), 1);
    assert_int_equal(decide(text, request_of("a", "b", "h", 6000)), 1);
    assert_int_equal(decide(text, request_of("a", "b", "h", 6010)), 1);
    assert_int_equal(decide(text, request_of("a", "b", "h", 6011)), 0);
    assert_int_equal(decide(text, request_of("a", "c", "h", 65535)), 2);
    assert_int_equal(decide(text, request_of("a", "c", "h", 0)), 0);
}

static void test_keys(void **state)
{
    (void)state;
    struct acl *acl = acl_of("allow a -> b h 80 key s3cret\nallow a -> b h 81");
    struct policy_request request = request_of("a", "b", "h", 80);
    assert_int_equal(ask(acl, &request), 0);
    static const char *const wrong[] = {"s3cre", "s3cret2", "S3cret", "*", "s3creT"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        request.key = wrong[i];
        assert_int_equal(ask(acl, &request), 0);
    }
    request.key = "s3cret";
    assert_int_equal(ask(acl, &request), 1);
    request.port = 81;
    assert_int_equal(ask(acl, &request), 2);
    acl_free(acl);
}

static void test_the_longest_key(void **state)
{
    (void)state;
    char text[ACL_MAX_KEY + 100];
    char key[ACL_MAX_KEY + 2];
    char why[512];
    memset(key, 'k', sizeof key);
    key[ACL_MAX_KEY] = '\0';
    snprintf(text, sizeof text, "allow a -> b h 80 key %s", key);
    struct acl *acl = acl_of(text);
    struct policy_request request = request_of("a", "b", "h", 80);
    request.key = key;
    assert_int_equal(ask(acl, &request), 1);
    key[ACL_MAX_KEY] = 'k';
    key[ACL_MAX_KEY + 1] = '\0';
    assert_int_equal(ask(acl, &request), 0);
    acl_free(acl);
    snprintf(text, sizeof text, "allow a -> b h 80 key %s", key);
    assert_int_equal(acl_parse("f", text, strlen(text), &acl, why, sizeof why),
                     CULVERT_ERROR_INVALID);
    assert_string_equal(why, "f:1: a key has at most 256 bytes");
}

static void test_reasons(void **state)
{
    (void)state;
    struct acl *acl = acl_of("\nallow a -> b h 80 key s3cret\ndeny a -> c * *");
    struct policy_request request = request_of("a", "b", "h", 80);
    struct policy_verdict verdict;
    request.key = "s3cret";
    assert_int_equal(acl_ask(acl, &request, &verdict), 2);
    assert_string_equal(verdict.reason, "policy.acl:2 allows it");
    request.agent = "c";
    assert_int_equal(acl_ask(acl, &request, &verdict), 3);
    assert_string_equal(verdict.reason, "policy.acl:3 refuses it");
    request.agent = "d";
    assert_int_equal(acl_ask(acl, &request, &verdict), 0);
    assert_string_equal(verdict.reason, "policy.acl: no rule matches");
    acl_free(acl);
}

static void check_rule_text(const struct acl *acl, unsigned line, const char *wanted)
{
    char text[128];
    acl_rule_text(acl, line, text, sizeof text);
    assert_string_equal(text, wanted);
}

static void test_a_rule_is_told_without_its_key(void **state)
{
    (void)state;
    struct acl *acl = acl_of("  allow\t@ops  ->  db-?   Web.Example.   80,90-92 key s3cret # one\n"
                             "@ops = a\n"
                             "\n"
                             "deny * -> * [::]/0 *\n"
                             "# nothing\n");
    char few[10];
    check_rule_text(acl, 1, "allow @ops -> db-? web.example 80,90-92 key (hidden)");
    check_rule_text(acl, 2, "");
    check_rule_text(acl, 4, "deny * -> * [::]/0 *");
    check_rule_text(acl, 0, "");
    check_rule_text(acl, 5, "");
    check_rule_text(acl, 6, "");
    acl_rule_text(acl, 1, few, sizeof few);
    assert_string_equal(few, "allow @op");
    assert_int_equal(acl_count(acl), 2);
    acl_free(acl);
}

static void test_denials_by_network_are_known(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        unsigned line;
    } lists[] = {{"", 0},
                 {"deny * -> * * *\ndeny a -> b localhost *\nallow a -> b 10.0.0.0/8 *", 0},
                 {"allow a -> b 10.0.0.1 *\n\ndeny a -> b 10.0.0.0/8 *\ndeny a -> b ::1 *", 3},
                 {"deny a -> b ::1 *", 1}};
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) {
        struct acl *acl = acl_of(lists[i].text);
        assert_int_equal(acl_network_denial(acl), lists[i].line);
        acl_free(acl);
    }
}

static void check_wrong(const char *text, const char *wanted)
{
    struct acl *acl = NULL;
    char why[512] = "";
    assert_int_equal(acl_parse("f.acl", text, strlen(text), &acl, why, sizeof why),
                     CULVERT_ERROR_INVALID);
    assert_null(acl);
    if (strncmp(why, wanted, strlen(wanted)) != 0)
        fail_msg("\"%s\", not \"%s\"", why, wanted);
}

static void test_wrong_rules(void **state)
{
    (void)state;
    check_wrong("\nalow a -> b h 80", "f.acl:2: a line is either allow|deny FROM");
    check_wrong("allow", "f.acl:1: FROM is missing");
    check_wrong("allow a", "f.acl:1: -> is missing");
    check_wrong("allow a b h 80", "f.acl:1: -> must stand between");
    check_wrong("allow a->b h 80", "f.acl:1: -> must stand between");
    check_wrong("allow a -> b h", "f.acl:1: PORTS is missing");
    check_wrong("allow a -> b 80", "f.acl:1: PORTS is missing");
    check_wrong("allow a\xff -> b h 80", "f.acl:1: FROM: a name is UTF-8 without");
    check_wrong("allow a\xc2\x85 -> b h 80", "f.acl:1: FROM: a name is UTF-8 without");
    check_wrong("allow a,b -> b h 80", "f.acl:1: FROM is one name; make several a group");
    check_wrong("allow gateway -> b h 80", "f.acl:1: FROM: no agent can be called \"gateway\"");
    check_wrong("allow a -> - h 80", "f.acl:1: TO: no agent can be called \"-\"");
    check_wrong("allow a -> b h_.. 80", "f.acl:1: HOST \"h_..\" is neither");
    check_wrong("allow a -> b 10.0.0.1/8 80", "f.acl:1: HOST: 10.0.0.1/8 has host bits set");
    check_wrong("allow a -> b h/8 80", "f.acl:1: HOST: \"h\" before the / is not");
    check_wrong("allow a -> b 127.1 80", "f.acl:1: HOST \"127.1\" is neither");
    check_wrong("allow a -> b 10.* 80", "f.acl:1: HOST \"10.*\" would match names only");
    check_wrong("allow a -> b [h] 80", "f.acl:1: HOST \"[h]\" is not an IPv6 address");
    check_wrong("allow a -> b h:80 80", "f.acl:1: HOST \"h:80\" is neither");
    check_wrong("allow a -> b h* 0", "f.acl:1: PORTS: \"0\" is not a port");
    check_wrong("allow a -> b h 80,,81", "f.acl:1: PORTS: \"\" is not a port");
    check_wrong("allow a -> b h 80,", "f.acl:1: PORTS: \"\" is not a port");
    check_wrong("allow a -> b h 9-8", "f.acl:1: PORTS: the port range 9-8 runs backwards");
    check_wrong("allow a -> b h http", "f.acl:1: PORTS is a list");
    check_wrong("allow a -> b h 80#why", "f.acl:1: PORTS is a list");
    check_wrong("allow a -> b h 80 key", "f.acl:1: the key is missing");
    check_wrong("allow a -> b h 80 key #k", "f.acl:1: the key is missing");
    check_wrong("allow a -> b h 80\x01", "f.acl:1: the line holds a control character");
}

static void test_wrong_groups(void **state)
{
    (void)state;
    check_wrong("@ = a", "f.acl:1: a group is defined as");
    check_wrong("@g a", "f.acl:1: a group is defined as");
    check_wrong("@g", "f.acl:1: a group is defined as");
    check_wrong("@g! = a", "f.acl:1: a group is defined as");
    check_wrong("@g =", "f.acl:1: @g has an empty member");
    check_wrong("@g = a,", "f.acl:1: @g has an empty member");
    check_wrong("@g = a b", "f.acl:1: the members of @g are separated by commas");
    check_wrong("@g = @h", "f.acl:1: @g holds names, no other group");
    check_wrong("@g = -", "f.acl:1: in @g: no agent can be called \"-\"");
    check_wrong("@g = a,gateway", "f.acl:1: in @g: no agent can be called \"gateway\"");
    check_wrong("@g = a\n\n@g = b", "f.acl:3: @g is defined in line 1 already");
    check_wrong("allow @ -> b h 80", "f.acl:1: FROM: a group's name is of");
    check_wrong("allow a -> @b! h 80", "f.acl:1: TO: a group's name is of");
    check_wrong("@g = a\nallow @g -> @h h 80\nallow @i -> b h 80",
                "f.acl:2: the group @h is defined nowhere");
}

static void test_no_complaint_holds_a_key(void **state)
{
    (void)state;
    static const char *const lines[] = {
        "allow a -> b h 80 key S3CRET S3CRET",
        "allow a -> b h 80 S3CRET",
        "allow a -> b h 80 KEY S3CRET",
        "allow a -> b h 80 key=S3CRET",
        "allow a -> b h key S3CRET",
        "allow a -> b h key=S3CRET",
        "allow a -> b key S3CRET",
        "allow a -> b key S3CRET 80",
        "allow a -> b key=S3CRET 80",
        "allow a -> b key:S3CRET 80",
        "allow a -> key S3CRET",
        "allow a key S3CRET",
        "allow key S3CRET -> b h 80",
        "allow Key S3CRET",
        "key S3CRET",
        "S3CRET",
        "@g = a key S3CRET",
        "@g key S3CRET",
        "@key S3CRET",
        "allow a -> b h S3CRET",
    };
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        struct acl *acl = NULL;
        char why[512] = "";
        assert_int_equal(acl_parse("f", lines[i], strlen(lines[i]), &acl, why, sizeof why),
                         CULVERT_ERROR_INVALID);
        if (strstr(why, "S3CRET") != NULL)
            fail_msg("\"%s\": \"%s\"", lines[i], why);
    }
}

static void test_marks_and_line_ends(void **state)
{
    (void)state;
    assert_int_equal(decide("\xef\xbb\xbf"
                            "allow a -> b h 80\r\n",
                            request_of("a", "b", "h", 80)),
                     1);
    assert_int_equal(decide("#\r\n\r\nallow a -> b h 80\r", request_of("a", "b", "h", 80)), 3);
    struct acl *acl = NULL;
    char why[512];
    static const char zero[] = "allow a -> b h 80\0 key k";
    assert_int_equal(acl_parse("f", zero, sizeof zero - 1, &acl, why, sizeof why),
                     CULVERT_ERROR_INVALID);
}

static void test_what_is_too_large(void **state)
{
    (void)state;
    struct acl *acl = NULL;
    char why[512];
    char *text = malloc(ACL_MAX_SIZE + 1);
    assert_non_null(text);
    memset(text, '\n', ACL_MAX_SIZE + 1);
    assert_int_equal(acl_parse("f", text, ACL_MAX_SIZE + 1, &acl, why, sizeof why),
                     CULVERT_ERROR_TOO_LARGE);
    assert_string_equal(why, "f: it is larger than 16 MiB");
    assert_int_equal(acl_parse("f", text, ACL_MAX_SIZE, &acl, why, sizeof why), 0);
    acl_free(acl);
    free(text);
}

static double seconds_since(const struct timespec *start)
{
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)(now.tv_sec - start->tv_sec) + (double)(now.tv_nsec - start->tv_nsec) / 1e9;
}

/* Fails on anything quadratic, not on a slow machine. */
static void test_many_rules(void **state)
{
    (void)state;
    struct timespec start;
    char *text = malloc((size_t)MANY * LINE_SIZE);
    char name[32];
    size_t used = 0;
    assert_non_null(text);
    for (unsigned i = 0; i < MANY; i++)
        used += (size_t)sprintf(text + used, "allow a%u -> b %u.0.0.0/8 %u\n", i, i % 256,
                                i % 65535 + 1);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &start);
    struct acl *acl = acl_of(text);
    assert_true(seconds_since(&start) < 2);
    assert_int_equal(acl_count(acl), MANY);

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &start);
    for (unsigned i = 0; i < 10; i++) {
        char host[32];
        snprintf(name, sizeof name, "a%u", MANY - 1 - i);
        snprintf(host, sizeof host, "%u.1.1.1", (MANY - 1 - i) % 256);
        struct policy_request request =
            request_of(name, "b", host, (uint16_t)((MANY - 1 - i) % 65535 + 1));
        assert_int_equal(ask(acl, &request), MANY - i);
    }
    assert_true(seconds_since(&start) < 2);
    acl_free(acl);
    free(text);
}

/* Each of many rules names a group of many: a group is looked through once. */
static void test_large_groups(void **state)
{
    (void)state;
    struct timespec start;
    char *text = malloc((size_t)MANY * LINE_SIZE);
    size_t used = 0;
    assert_non_null(text);
    used += (size_t)sprintf(text + used, "@g = x");
    for (unsigned i = 0; i < MANY; i++)
        used += (size_t)sprintf(text + used, ",a%u", i);
    used += (size_t)sprintf(text + used, "\n");
    for (unsigned i = 0; i < MANY; i++)
        used += (size_t)sprintf(text + used, "deny @g -> @g * 80\n");
    sprintf(text + used, "allow b -> @g * 80\n");
    struct acl *acl = acl_of(text);
    struct policy_request request = request_of("b", "a99999", "h", 80);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &start);
    assert_int_equal(ask(acl, &request), MANY + 2);
    assert_true(seconds_since(&start) < 2);
    acl_free(acl);
    free(text);
}

static void test_memory_runs_out(void **state)
{
    (void)state;
    const char *text = "@g = a,b,c\nallow @g -> @h h 80,81,82\nallow a -> b 10.0.0.0/8 *\n@h = d\n"
                       "deny a -> b ::/0 1\n";
    size_t n = 0;
    bool is_done = false;
    while (!is_done) {
        struct acl *acl = NULL;
        char why[512] = "";
        memory_fail_after(++n);
        int error = acl_parse("f", text, strlen(text), &acl, why, sizeof why);
        is_done = memory_fail_is_pending();
        memory_fail_after(0);
        if (is_done) {
            assert_int_equal(error, 0);
            acl_free(acl);
        } else {
            assert_int_equal(error, CULVERT_ERROR_NO_MEMORY);
            assert_null(acl);
            assert_non_null(strstr(why, "f: no memory"));
        }
    }
    assert_true(n > 8);
}

static void addresses_are_compared_as_what_they_reach(void **state)
{
    (void)state;
    static const char *const loopback[] = {
        "127.0.0.1",        "0.0.0.0",   "::",          "::1",       "::ffff:0.0.0.0",
        "::ffff:127.0.0.1", "::0.0.0.0", "::127.0.0.1", "64:ff9b::", "64:ff9b::7f00:1"};
    for (size_t i = 0; i < sizeof loopback / sizeof loopback[0]; i++) {
        const char *text = "deny a -> b 127.0.0.0/8 *\nallow a -> b * *";
        assert_int_equal(decide(text, request_of("a", "b", loopback[i], 1)), -1);
        text = "deny a -> b ::1 *\nallow a -> b * *";
        assert_int_equal(decide(text, request_of("a", "b", loopback[i], 1)), -1);
        text = "deny a -> b 0.0.0.0 *\nallow a -> b * *";
        assert_int_equal(decide(text, request_of("a", "b", loopback[i], 1)), -1);
    }
    const char *text = "deny a -> b 10.0.0.0/8 *\nallow a -> b [::]/0 *\nallow a -> b 0.0.0.0/0 *";
    assert_int_equal(decide(text, request_of("a", "b", "64:ff9b::a01:203", 1)), -1);
    assert_int_equal(decide(text, request_of("a", "b", "::10.1.2.3", 1)), -1);
    assert_int_equal(decide(text, request_of("a", "b", "64:ff9b::b01:203", 1)), 2);
    assert_int_equal(decide(text, request_of("a", "b", "2001:db8::1", 1)), 2);
    assert_int_equal(decide(text, request_of("a", "b", "11.1.2.3", 1)), 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(addresses_are_compared_as_what_they_reach),
        cmocka_unit_test(test_nothing_is_allowed_by_itself),
        cmocka_unit_test(test_the_first_that_matches_decides),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_names_of_another_kind),
        cmocka_unit_test(test_someone_without_a_name),
        cmocka_unit_test(test_groups),
        cmocka_unit_test(test_more_groups_than_fit_on_the_stack),
        cmocka_unit_test(test_host_names),
        cmocka_unit_test(test_a_name_never_matches_an_address),
        cmocka_unit_test(test_addresses),
        cmocka_unit_test(test_what_a_resolver_would_take_for_an_address),
        cmocka_unit_test(test_ports),
        cmocka_unit_test(test_keys),
        cmocka_unit_test(test_the_longest_key),
        cmocka_unit_test(test_reasons),
        cmocka_unit_test(test_a_rule_is_told_without_its_key),
        cmocka_unit_test(test_denials_by_network_are_known),
        cmocka_unit_test(test_wrong_rules),
        cmocka_unit_test(test_wrong_groups),
        cmocka_unit_test(test_no_complaint_holds_a_key),
        cmocka_unit_test(test_marks_and_line_ends),
        cmocka_unit_test(test_what_is_too_large),
        cmocka_unit_test(test_many_rules),
        cmocka_unit_test(test_large_groups),
        cmocka_unit_test(test_memory_runs_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
