/* What the policy says about sessions, turn by turn. */
#include "base/reason.h"
#include "gateway/test_gateway.h"
#include "net/test_certificates.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

struct room {
    struct test_gateway test;
    struct test_agent near, far;
    char directory[TEST_PATH_SIZE]; /* "": none */
    char path[TEST_PATH_SIZE];
};

static void prepare(struct room *room)
{
    memset(room, 0, sizeof(*room));
    test_gateway_prepare(&room->test);
    room->test.config.grant = false;
}

static void begin(struct room *room)
{
    test_gateway_open(&room->test);
    test_agent_register(&room->near, &room->test, "near");
    test_agent_register(&room->far, &room->test, "far");
}

static void end(struct room *room)
{
    test_agent_close(&room->far);
    test_agent_close(&room->near);
    test_gateway_close(&room->test);
    if (room->directory[0] != '\0')
        test_certificates_close(room->directory);
}

static void prepare_rules(struct room *room, const char *rules)
{
    prepare(room);
    test_certificates_open(room->directory);
    test_certificate_path(room->directory, "rules", "", room->path);
    FILE *file = fopen(room->path, "w");
    assert_non_null(file);
    assert_true(fputs(rules, file) >= 0);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(chmod(room->path, 0600), 0);
    room->test.config.acl = room->path;
}

struct question {
    struct room *room;
    struct test_session session;
    unsigned opened; /* before */
};

static bool is_decided(void *holder)
{
    const struct question *question = holder;
    return question->session.is_reset || question->room->far.opened > question->opened;
}

/* How a session of the near agent's ends: 0: it reaches the far one. */
static int ask(struct room *room, char reason[static 200])
{
    struct question question = {.room = room, .opened = room->far.opened};
    test_session_open(&question.session, &room->near, "far");
    test_gateway_run(&room->test, is_decided, &question);
    memcpy(reason, question.session.reason, 200);
    int code = question.session.is_reset ? question.session.code : 0;
    test_session_close(&question.session);
    test_gateway_settle(&room->test);
    assert_int_equal(room->test.gateway->sessions, 0);
    return code;
}

static void without_a_policy_nothing_is_allowed(void **state)
{
    (void)state;
    struct room room;
    char reason[200];
    prepare(&room);
    begin(&room);
    assert_int_equal(ask(&room, reason), REASON_FORBIDDEN);
    assert_string_equal(reason, "the gateway has no policy that allows it");
    end(&room);
}

static void a_denial_of_everything_wins(void **state)
{
    (void)state;
    struct room room;
    char reason[200];
    prepare_rules(&room, "allow * -> * * *\n");
    room.test.config.deny = true;
    room.test.config.grant = true;
    begin(&room);
    assert_int_equal(ask(&room, reason), REASON_FORBIDDEN);
    assert_string_equal(reason, "the gateway denies every session");
    end(&room);
}

static void what_is_granted_is_allowed(void **state)
{
    (void)state;
    struct room room;
    char reason[200];
    prepare(&room);
    room.test.config.grant = true;
    begin(&room);
    assert_int_equal(ask(&room, reason), 0);
    end(&room);
}

static void rules_decide(void **state)
{
    (void)state;
    static const struct {
        const char *rules;
        int code;
    } cases[] = {
        {"allow near -> far db.example 80\n", 0},
        {"allow near -> far db.example 81\n", REASON_FORBIDDEN},
        {"allow far -> far db.example 80\n", REASON_FORBIDDEN},
        {"deny near -> far * *\nallow * -> * * *\n", REASON_FORBIDDEN},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        for (int grants = 0; grants < 2; grants++) { /* which changes nothing beside rules */
            struct room room;
            char reason[200];
            prepare_rules(&room, cases[i].rules);
            room.test.config.grant = grants == 1;
            begin(&room);
            for (int again = 0; again < 2; again++) /* a denial may be remembered */
                assert_int_equal(ask(&room, reason), cases[i].code);
            end(&room);
        }
    }
}

static void an_agent_that_is_refused_too_often_is_not_looked_at(void **state)
{
    (void)state;
    struct room room;
    char reason[200];
    prepare(&room);
    room.test.config.grant = true;
    begin(&room);
    struct member *member = test_gateway_member(&room.test, "near");
    uint64_t later = loop_now(room.test.loop) + UINT64_C(3600) * 1000000;
    member->refusals.full_at = later;
    assert_int_equal(ask(&room, reason), REASON_LIMIT);
    assert_string_equal(reason,
                        "too many of this agent's sessions were refused; try again in a second");
    member->refusals.full_at = 0;
    assert_int_equal(ask(&room, reason), 0);
    end(&room);
}

static void a_refusal_uses_the_budget_up(void **state)
{
    (void)state;
    struct room room;
    char reason[200];
    prepare_rules(&room, "allow far -> far * *\n");
    begin(&room);
    const struct member *member = test_gateway_member(&room.test, "near");
    assert_int_equal(member->refusals.full_at, 0);
    uint64_t before = loop_now(room.test.loop);
    assert_int_equal(ask(&room, reason), REASON_FORBIDDEN);
    assert_true(member->refusals.full_at > before);
    end(&room);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_a_policy_nothing_is_allowed),
        cmocka_unit_test(a_denial_of_everything_wins),
        cmocka_unit_test(what_is_granted_is_allowed),
        cmocka_unit_test(rules_decide),
        cmocka_unit_test(an_agent_that_is_refused_too_often_is_not_looked_at),
        cmocka_unit_test(a_refusal_uses_the_budget_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
