#include "policy/acl_index.h"
#include "policy/acl_question.h"
#include "policy/test_acl_walk.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { TEXT_SIZE = 1 << 14, WORD_SIZE = 64 };

static uint64_t random_state;

static unsigned draw(unsigned below)
{
    random_state = random_state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (unsigned)(random_state >> 33) % below;
}

static const char *one_of(const char *const *words, size_t count)
{
    return words[draw((unsigned)count)];
}

#define ONE_OF(words) one_of(words, sizeof(words) / sizeof *(words))

/* A word of few letters, so that patterns match now and then; long pieces are among them. */
static void draw_word(char *word, unsigned most, const char *letters)
{
    unsigned size = 1 + draw(most);
    for (unsigned i = 0; i < size; i++)
        word[i] = letters[draw((unsigned)strlen(letters))];
    word[size] = '\0';
}

static const char *copy(char *word, const char *text)
{
    snprintf(word, WORD_SIZE, "%s", text);
    return word;
}

static const char *draw_name(char *word, bool is_pattern)
{
    if (draw(8) == 0)
        return copy(word,
                    is_pattern ? "*aaaaaaaaaaaabbbbbbbbbbbb*b" : "aaaaaaaaaaaabbbbbbbbbbbbab");
    if (is_pattern && draw(6) == 0)
        return copy(word, "*");
    draw_word(word, is_pattern ? 4 : 6, is_pattern && draw(3) != 0 ? "aabb*?" : "aab");
    return word;
}

static const char *draw_host(char *word, bool is_pattern)
{
    static const char *const addresses[] = {
        "127.0.0.1",        "0.0.0.0",          "::",       "::1",
        "::ffff:127.0.0.1", "64:ff9b::a01:203", "10.1.2.3", "10.1.0.0",
        "::a01:203",        "2001:db8::1",      "127.1"};
    static const char *const networks[] = {
        "127.0.0.0/8", "0.0.0.0/0", "[::]/0", "::1",           "0.0.0.0",      "10.0.0.0/8",
        "10.1.0.0/16", "10.1.2.3",  "::/96",  "2001:db8::/32", "64:ff9b::/96", "::/128"};
    static const char *const names[] = {"A.b.", "a.b", "b.a", "aa.b", "localhost", "A"};
    static const char *const patterns[] = {"a.*", "*.B", "a?b", "*a*", "a.b.", "?.b", "LocalHost"};
    if (draw(4) == 0)
        return copy(word, is_pattern ? "*" : "x");
    if (draw(2) == 0)
        return copy(word, is_pattern ? ONE_OF(networks) : ONE_OF(addresses));
    return copy(word, is_pattern ? ONE_OF(patterns) : ONE_OF(names));
}

static size_t draw_list(char *text)
{
    static const char *const ports[] = {"*", "1", "2", "1,2", "3-5,1-2", "2,4-4,3"};
    static const char *const keys[] = {"", "", "", " key k", " key kk"};
    char from[WORD_SIZE];
    char to[WORD_SIZE];
    char host[WORD_SIZE];
    size_t used = 0;
    unsigned groups = draw(4);
    for (unsigned i = 0; i < groups; i++) {
        used += (size_t)sprintf(text + used, "@g%u = %s", i, draw_name(from, true));
        for (unsigned more = draw(4); more > 0; more--)
            used += (size_t)sprintf(text + used, ", %s", draw_name(from, true));
        used += (size_t)sprintf(text + used, "\n");
    }
    for (unsigned rules = draw(60); rules > 0; rules--) {
        draw_name(from, true);
        draw_name(to, true);
        if (draw(12) == 0)
            strcpy(from, POLICY_NOBODY);
        if (groups > 0 && draw(4) == 0)
            sprintf(from, "@g%u", draw(groups));
        if (groups > 0 && draw(4) == 0)
            sprintf(to, "@g%u", draw(groups));
        used +=
            (size_t)sprintf(text + used, "%s %s -> %s %s %s%s\n", draw(2) == 0 ? "allow" : "deny",
                            from, to, draw_host(host, true), ONE_OF(ports), ONE_OF(keys));
    }
    text[used] = '\0';
    return used;
}

static void check_question(const struct acl *acl, const char *text,
                           const struct policy_request *request)
{
    const struct acl_rule *wanted = walk_rules(acl, request);
    struct policy_verdict verdict;
    struct acl_question question;
    unsigned line = acl_ask(acl, request, &verdict);
    if (line != (wanted != NULL ? wanted->line : 0) ||
        verdict.allowed != (wanted != NULL && wanted->allows))
        fail_msg("%s -> %s %s %u key %s: line %u, not %u, of\n%s", request->source, request->agent,
                 request->host, request->port, request->key, line,
                 wanted != NULL ? wanted->line : 0, text);
    assert_int_equal(acl_question_start(&question, acl, request), 0);
    while (!acl_question_work(&question, 1 + draw(40), &verdict))
        continue;
    assert_int_equal(question.line, line);
    assert_int_equal(verdict.allowed, wanted != NULL && wanted->allows);
    acl_question_end(&question);
}

static void the_first_rule_decides_as_in_a_plain_walk(void **state)
{
    (void)state;
    enum { LISTS = 400, QUESTIONS = 60 };
    static const char *const keys[] = {"", "k", "kk", "kkk"};
    char *text = malloc(TEXT_SIZE);
    char why[256];
    unsigned decided = 0;
    assert_non_null(text);
    random_state = 9;
    for (unsigned i = 0; i < LISTS; i++) {
        struct acl *acl = NULL;
        size_t size = draw_list(text);
        if (acl_parse("f", text, size, &acl, why, sizeof why) != 0)
            fail_msg("%s\n%s", why, text);
        for (unsigned j = 0; j < QUESTIONS; j++) {
            char source[WORD_SIZE];
            char agent[WORD_SIZE];
            char host[WORD_SIZE];
            struct policy_request request = {.source = draw(12) == 0 ? POLICY_NOBODY
                                                                     : draw_name(source, false),
                                             .user = "",
                                             .address = "",
                                             .kind = "tcp",
                                             .agent = draw_name(agent, false),
                                             .host = draw_host(host, false),
                                             .port = (uint16_t)(1 + draw(6)),
                                             .key = ONE_OF(keys)};
            check_question(acl, text, &request);
            decided += walk_rules(acl, &request) != NULL;
        }
        acl_free(acl);
    }
    /* The lists are such that the questions say something. */
    assert_in_range(decided, LISTS * QUESTIONS / 10, LISTS * QUESTIONS * 9 / 10);
    free(text);
}

/* ---- what it costs ---- */

enum { MANY = 10000, NAME = 128 };

/* Asks in pieces: none of them is longer than it may be. Returns the steps of all. */
static size_t ask_in_pieces(const struct acl *acl, const struct policy_request *request,
                            unsigned *line)
{
    enum { PIECE = 5000 };
    struct acl_question question;
    struct policy_verdict verdict;
    size_t steps = 0;
    bool is_done = false;
    assert_int_equal(acl_question_start(&question, acl, request), 0);
    while (!is_done) {
        is_done = acl_question_work(&question, PIECE, &verdict);
        assert_in_range(question.work, 0, PIECE + ACL_QUESTION_RULE);
        steps += question.work;
    }
    *line = question.line;
    acl_question_end(&question);
    return steps;
}

static struct acl *many_rules(const char *format, const char *last)
{
    struct acl *acl = NULL;
    char why[256] = "";
    char *text = malloc((size_t)MANY * 2 * WORD_SIZE);
    size_t used = 0;
    assert_non_null(text);
    for (unsigned i = 0; i < MANY; i++) {
        for (const char *c = format; *c != '\0'; c++) {
            if (*c == 'N')
                used += (size_t)sprintf(text + used, "%u", i);
            else
                text[used++] = *c;
        }
        text[used++] = '\n';
    }
    used += (size_t)sprintf(text + used, "%s\n", last);
    if (acl_parse("f", text, used, &acl, why, sizeof why) != 0)
        fail_msg("%s", why);
    free(text);
    return acl;
}

/* The steps of a question that the last rule decides; at least one for each rule in a walk. */
static size_t steps_of(const char *format, struct policy_request request)
{
    char last[4 * NAME];
    unsigned line = 0;
    snprintf(last, sizeof last, "allow %s -> %s * 1", request.source, request.agent);
    struct acl *acl = many_rules(format, last);
    request.user = request.address = request.key = "";
    request.kind = "tcp";
    request.port = 1;
    size_t steps = ask_in_pieces(acl, &request, &line);
    assert_int_equal(line, (strchr(format, '\n') != NULL ? 2 : 1) * MANY + 1);
    acl_free(acl);
    return steps;
}

static void long_lists_cost_little(void **state)
{
    (void)state;
    static const char *const lists[] = {
        "deny agentN -> b h 1",
        "deny * -> agentN * 1",
        "deny agentN-* -> * h 1",
        "deny ??agentN? -> * h 1",
        "deny *-teamN-* -> *siteN* *.xN.intranet 1",
        "deny * -> * *.xN.intranet 1",
        "deny * -> * hostN *",
        "@gN = aN\ndeny @gN -> * * *",
        "@gN = aN\ndeny * -> @gN * *",
        "deny *-with-a-long-name-that-differs-in-the-middle-N-* -> * * *",
    };
    struct policy_request request = {.source = "a-team", .agent = "office", .host = "a.intranet"};
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++)
        assert_in_range(steps_of(lists[i], request), 1, MANY / 4);
    request.host = "10.1.2.3";
    assert_in_range(steps_of("deny * -> * 2001:db8::N/128 *", request), 1, MANY / 4);
}

/* Names that have as many of the rules' pieces as they can. */
static void crafted_names_find_few_rules(void **state)
{
    (void)state;
    char source[NAME + 1] = "";
    char agent[NAME + 1] = "";
    for (unsigned i = 0; strlen(source) + 10 < sizeof source; i++)
        sprintf(source + strlen(source), "-team%u-", i);
    for (unsigned i = 0; strlen(agent) + 10 < sizeof agent; i++)
        sprintf(agent + strlen(agent), "site%u", i);
    struct policy_request request = {.source = source, .agent = agent, .host = "x1.intranet"};
    assert_in_range(steps_of("deny *-teamN-* -> *siteN* h* 1", request), 1, 2 * MANY);
    memset(source, 'a', NAME);
    assert_in_range(steps_of("deny *a*aaa*aaaaN* -> * * 1", request), 1, 2 * MANY);
}

/* Rules that differ in nothing are found by nothing: each is looked at, and no piece is longer. */
static void alike_rules_cost_what_they_must(void **state)
{
    (void)state;
    char source[NAME + 1] = "";
    memset(source, 'a', NAME);
    struct policy_request request = {.source = source, .agent = "b", .host = "h"};
    const char *list = "deny *a*a*a*a*a?a*a*aaaa*aaaa?b* -> * * 1";
    assert_in_range(steps_of(list, request), MANY, (size_t)MANY * NAME * NAME);
    request.host = "10.1.2.3";
    assert_in_range(steps_of("deny * -> * * 2", request), MANY, (size_t)MANY * 8);
}

/* A text that has a piece many times finds its rules once. */
static void repeated_pieces_are_looked_at_once(void **state)
{
    (void)state;
    char source[NAME + 1] = "";
    for (unsigned i = 0; i < NAME; i++)
        source[i] = i % 2 == 0 ? 'x' : 'y';
    struct policy_request request = {.source = source, .agent = "b", .host = "h"};
    assert_in_range(steps_of("deny *xy* -> * * 2", request), MANY, (size_t)MANY * 8);
}

static void what_is_in_an_index(void **state)
{
    (void)state;
    struct acl_index index;
    assert_int_equal(acl_index_build(&index, 0, NULL, NULL), 0);
    struct acl_probe probe = {0};
    struct acl_run run;
    assert_false(acl_probe_text(&index, ACL_FROM, text_of("a"), &probe, &run));
    assert_int_equal(acl_index_rest(&index).count, 0);
    assert_int_equal(acl_index_group(&index, ACL_FROM, 1).count, 0);
    acl_index_deinit(&index);
    acl_index_deinit(&index);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_rule_decides_as_in_a_plain_walk),
        cmocka_unit_test(long_lists_cost_little),
        cmocka_unit_test(crafted_names_find_few_rules),
        cmocka_unit_test(alike_rules_cost_what_they_must),
        cmocka_unit_test(repeated_pieces_are_looked_at_once),
        cmocka_unit_test(what_is_in_an_index),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
