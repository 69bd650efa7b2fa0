#include "agent/rule.h"

#include "base/error.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static void check(const char *string, const struct rule *expected)
{
    struct rule rule;
    char why[256] = "";
    if (rule_parse(string, &rule, why, sizeof why) != 0)
        fail_msg("\"%s\": %s", string, why);
    assert_string_equal(rule.bind, expected->bind);
    assert_int_equal(rule.local_port, expected->local_port);
    assert_string_equal(rule.key, expected->key);
    assert_string_equal(rule.agent, expected->agent);
    assert_string_equal(rule.host, expected->host);
    assert_int_equal(rule.port, expected->port);
}

static void test_forms(void **state)
{
    (void)state;
    check("2222:agent2:127.0.0.1:22", &(struct rule){"", 2222, "", "agent2", "127.0.0.1", 22});
    check("0:agent2:db.example:5432", &(struct rule){"", 0, "", "agent2", "db.example", 5432});
    check("localhost:80:a:b:1", &(struct rule){"localhost", 80, "", "a", "b", 1});
    check("0.0.0.0:80:a:b:1", &(struct rule){"0.0.0.0", 80, "", "a", "b", 1});
    check("*:80:a:b:1", &(struct rule){"*", 80, "", "a", "b", 1});
    check("[::1]:80:a:[2001:db8::1]:65535",
          &(struct rule){"::1", 80, "", "a", "2001:db8::1", 65535});
    check("[::]:0:a:b.:1", &(struct rule){"::", 0, "", "a", "b.", 1});
    check("80:1234:b:1", &(struct rule){"", 80, "", "1234", "b", 1});
    check("localhost:80:1234:b:1", &(struct rule){"localhost", 80, "", "1234", "b", 1});
}

static void test_keys(void **state)
{
    (void)state;
    check("80:k@a:b:1", &(struct rule){"", 80, "k", "a", "b", 1});
    check("80:p@ss:w@rd@a:b:1", &(struct rule){"", 80, "p@ss:w@rd", "a", "b", 1});
    check("80:90:91@a:b:1", &(struct rule){"", 80, "90:91", "a", "b", 1});
    check("80:@@a:b:1", &(struct rule){"", 80, "@", "a", "b", 1});
    check("localhost:80:90:x@a:b:1", &(struct rule){"localhost", 80, "90:x", "a", "b", 1});
    check("[::1]:80:[k:]@a:[::1]:1", &(struct rule){"::1", 80, "[k:]", "a", "::1", 1});
    check("80:[@a:b:1", &(struct rule){"", 80, "[", "a", "b", 1});
    check("80:]:[@a:b:1", &(struct rule){"", 80, "]:[", "a", "b", 1});
}

static void check_wrong(const char *string, const char *piece_of_why)
{
    struct rule rule;
    char why[256] = "";
    memset(&rule, 'x', sizeof rule);
    struct rule before = rule;
    assert_int_equal(rule_parse(string, &rule, why, sizeof why), CULVERT_ERROR_INVALID);
    if (strstr(why, piece_of_why) == NULL)
        fail_msg("\"%s\" gave \"%s\", without \"%s\"", string, why, piece_of_why);
    assert_memory_equal(&rule, &before, sizeof rule);
}

static void test_wrong_rules(void **state)
{
    (void)state;
    check_wrong("", "too few parts");
    check_wrong("80", "too few parts");
    check_wrong("80:a:b", "too few parts");
    check_wrong("80:k@a:b", "too few parts");
    check_wrong("localhost:80", "too few parts");
    check_wrong("80:a:b:1:2", "too many parts");
    check_wrong("80:a:::1:22", "lacks brackets");
    check_wrong(":80:a:b:1", "* stands for all");
    check_wrong("65536:a:b:1", "LPORT \"65536\" is not a port (0 to 65535)");
    check_wrong("localhost:ssh:a:b:1", "LPORT \"ssh\"");
    check_wrong("localhost::a:b:1", "LPORT \"\"");
    check_wrong("localhost:-1:a:b:1", "LPORT \"-1\"");
    check_wrong("[1.2.3.4]:80:a:b:1", "BIND [1.2.3.4] is not an IPv6 address");
    check_wrong("a b:80:a:b:1", "BIND \"a b\" is neither");
    check_wrong("::1:80:a:b:1", "address before LPORT is empty");
    check_wrong("80::b:1", "AGENT \"\" is not a name");
    check_wrong("80:gateway:b:1", "AGENT \"gateway\"");
    check_wrong("80:a/b:b:1", "AGENT \"a/b\"");
    check_wrong("80:a::1", "HOST is empty");
    check_wrong("80:a:[]:1", "HOST [] is not an IPv6 address");
    check_wrong("80:a:10.0.0.256:1", "HOST \"10.0.0.256\" is neither");
    check_wrong("80:a:*:1", "HOST \"*\" is neither");
    check_wrong("80:a:[b]:1", "HOST [b] is not an IPv6 address");
    check_wrong("80:a:b:0", "PORT \"0\" is not a port (1 to 65535)");
    check_wrong("80:a:b:65536", "PORT \"65536\"");
    check_wrong("80:a:b:", "PORT \"\"");
    check_wrong("80:@a:b:1", "key before @ is empty");
    check_wrong("80:k k@a:b:1", "space or control character");
}

static void test_lengths(void **state)
{
    (void)state;
    char part[1001];
    char string[2000];
    memset(part, 'k', sizeof part);
    part[256] = '\0';
    snprintf(string, sizeof string, "80:%s@a:b:1", part);
    check(string, &(struct rule){"", 80,
                                 "kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk"
                                 "kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk"
                                 "kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk"
                                 "kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk",
                                 "a", "b", 1});
    part[256] = 'k';
    part[257] = '\0';
    snprintf(string, sizeof string, "80:%s@a:b:1", part);
    check_wrong(string, "longer than 256 bytes");
    part[257] = 'k';
    part[1000] = '\0';
    snprintf(string, sizeof string, "80:%s:b:1", part);
    check_wrong(string, "AGENT \"kkk");
    snprintf(string, sizeof string, "80:a:%s:1", part);
    check_wrong(string, "HOST \"kkk");
    snprintf(string, sizeof string, "%s:80:a:b:1", part);
    check_wrong(string, "BIND \"kkk");
}

static void test_legacy_rules(void **state)
{
    (void)state;
    struct rule rule;
    char why[256];
    assert_int_equal(
        rule_parse_legacy("2222:k@y@the office:192.168.1.5:22", &rule, why, sizeof why), 0);
    assert_string_equal(rule.bind, "*");
    assert_int_equal(rule.local_port, 2222);
    assert_string_equal(rule.key, "k@y");
    assert_string_equal(rule.agent, "the office");
    assert_string_equal(rule.host, "192.168.1.5");
    assert_int_equal(rule.port, 22);
    assert_int_equal(rule_parse_legacy("0:west::22", &rule, why, sizeof why), 0);
    assert_string_equal(rule.host, "localhost");
    assert_int_equal(rule_parse_legacy("127.0.0.1:80:west:h:1", &rule, why, sizeof why), 0);
    assert_string_equal(rule.bind, "127.0.0.1");
    assert_int_equal(rule_parse_legacy("80::h:1", &rule, why, sizeof why), CULVERT_ERROR_INVALID);
    check_wrong("80:the office:h:1", "AGENT \"the office\"");
    check_wrong("80:west::1", "HOST");
}

static void test_target_text(void **state)
{
    (void)state;
    struct rule rule = {.agent = "agent2", .host = "db.example", .port = 5432};
    char text[64];
    rule_target_text(&rule, text, sizeof text);
    assert_string_equal(text, "agent2:db.example:5432");
    strcpy(rule.host, "::1");
    rule_target_text(&rule, text, sizeof text);
    assert_string_equal(text, "agent2:[::1]:5432");
    rule_target_text(&rule, text, 8);
    assert_string_equal(text, "agent2:");
}

static void check_part(const char *text, void (*change)(struct rule *), enum rule_part wanted)
{
    struct rule rule;
    enum rule_part part;
    char why[256] = "";
    assert_int_equal(rule_parse(text, &rule, why, sizeof why), 0);
    if (change != NULL)
        change(&rule);
    int error = rule_check(&rule, &part, why, sizeof why);
    assert_int_equal(part, wanted);
    assert_int_equal(error, wanted == RULE_NONE ? 0 : CULVERT_ERROR_INVALID);
    assert_int_equal(why[0] != '\0', wanted != RULE_NONE);
}

static void break_agent(struct rule *rule)
{
    strcpy(rule->agent, "gateway");
}

static void break_host(struct rule *rule)
{
    strcpy(rule->host, "a b");
}

static void break_port(struct rule *rule)
{
    rule->port = 0;
}

static void break_key(struct rule *rule)
{
    strcpy(rule->key, "a\tb");
}

static void test_check(void **state)
{
    (void)state;
    static const char *const right[] = {"0:a:b:1", "*:0:a:b:1", "[::1]:0:k@a:[::2]:1",
                                        "localhost:0:a:b:1", "127.0.0.2:65535:a:b:65535"};
    for (size_t i = 0; i < sizeof right / sizeof *right; i++)
        check_part(right[i], NULL, RULE_NONE);
    check_part("some.name:0:a:b:1", NULL, RULE_BIND);
    check_part("0:a:b:1", break_agent, RULE_AGENT);
    check_part("0:a:b:1", break_host, RULE_HOST);
    check_part("0:a:b:1", break_port, RULE_PORT);
    check_part("0:a:b:1", break_key, RULE_KEY);
}

static void test_equals(void **state)
{
    (void)state;
    static const char *const texts[] = {"1:a:b:1", "2:a:b:1", "*:1:a:b:1", "1:k@a:b:1",
                                        "1:c:b:1", "1:a:c:1", "1:a:b:2"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        for (size_t j = 0; j < sizeof texts / sizeof *texts; j++) {
            struct rule a;
            struct rule b;
            char why[256];
            assert_int_equal(rule_parse(texts[i], &a, why, sizeof why), 0);
            assert_int_equal(rule_parse(texts[j], &b, why, sizeof why), 0);
            assert_int_equal(rule_equals(&a, &b), i == j);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_forms),       cmocka_unit_test(test_keys),
        cmocka_unit_test(test_wrong_rules), cmocka_unit_test(test_lengths),
        cmocka_unit_test(test_target_text), cmocka_unit_test(test_legacy_rules),
        cmocka_unit_test(test_check),       cmocka_unit_test(test_equals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
