#include "agent/registration.h"

#include "base/error.h"
#include "base/memory.h"
#include "base/reason.h"
#include "tunnel/test_tunnels.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include <cmocka.h>

enum { ANSWER_TIME = 10 * 1000, SHORT_ANSWER_TIME = 500 /* milliseconds */ };

/* A registration at the gateway of a pair, and what it has told. */
static const uint8_t boot[MESSAGE_BOOT_SIZE] = {1};

struct fixture {
    struct test_tunnels pair;
    struct agent_config config;
    struct registration *registration;
    unsigned registered, resumed, detached, lost, drained, goodbyes;
    enum registration_state before; /* the last `detached` */
    int error;                      /* of `lost` */
};

static struct fixture *fixture_of(struct registration *registration)
{
    return registration->holder;
}

static void look(struct fixture *f)
{
    if (f->pair.is_over(&f->pair))
        loop_stop(&f->pair.loop);
}

static void on_registered(struct registration *registration)
{
    fixture_of(registration)->registered++;
    look(registration->holder);
}

static void on_resumed(struct registration *registration)
{
    fixture_of(registration)->resumed++;
    look(registration->holder);
}

static void on_detached(struct registration *registration, enum registration_state before,
                        const char *why)
{
    struct fixture *f = fixture_of(registration);
    assert_non_null(why);
    f->detached++;
    f->before = before;
    look(f);
}

static void on_lost(struct registration *registration, int error, const char *why)
{
    struct fixture *f = fixture_of(registration);
    assert_non_null(why);
    f->lost++;
    f->error = error;
    look(f);
}

static void on_went_away(struct registration *registration, const struct message_goaway *goaway)
{
    assert_int_equal(goaway->seconds, 7);
    fixture_of(registration)->goodbyes++;
    look(registration->holder);
}

static void on_drained(struct registration *registration)
{
    fixture_of(registration)->drained++;
    look(registration->holder);
}

static void on_peer_opened(struct registration *registration, struct stream *stream,
                           const struct message_open *open)
{
    (void)registration;
    (void)open;
    stream_refuse(stream, REASON_FORBIDDEN, NULL);
}

static const struct registration_owner owner = {
    .registered = on_registered,
    .resumed = on_resumed,
    .detached = on_detached,
    .lost = on_lost,
    .went_away = on_went_away,
    .drained = on_drained,
    .peer_opened = on_peer_opened,
};

static struct fixture *of_pair(struct test_tunnels *pair)
{
    return CONTAINER_OF(pair, struct fixture, pair);
}

static bool is_registered(struct test_tunnels *pair)
{
    return of_pair(pair)->registered > 0;
}

static bool is_resumed(struct test_tunnels *pair)
{
    return of_pair(pair)->resumed > 0;
}

static bool is_detached(struct test_tunnels *pair)
{
    return of_pair(pair)->detached > 0;
}

static bool is_lost(struct test_tunnels *pair)
{
    return of_pair(pair)->lost > 0;
}

static bool is_drained(struct test_tunnels *pair)
{
    return of_pair(pair)->drained > 0;
}

static bool is_gone_away(struct test_tunnels *pair)
{
    return of_pair(pair)->goodbyes > 0;
}

static void ask(struct fixture *f, uint64_t answer_time)
{
    assert_int_equal(registration_new(&owner, f, &f->pair.loop, &f->config, &f->registration), 0);
    assert_int_equal(
        registration_begin(f->registration, test_tunnels_dial(&f->pair), true, boot, answer_time),
        0);
    f->pair.agent.tunnel = f->registration->native; /* for the pair's streams */
}

static void prepare(struct fixture *f, unsigned resume_seconds)
{
    *f = (struct fixture){.config = {.name = "agent1", .key = "key"}};
    test_tunnels_prepare(&f->pair, resume_seconds);
}

/* Asks to be registered at a gateway that keeps links for so long. */
static void begin(struct fixture *f, unsigned resume_seconds)
{
    prepare(f, resume_seconds);
    ask(f, ANSWER_TIME);
}

static void begin_registered(struct fixture *f, unsigned resume_seconds)
{
    begin(f, resume_seconds);
    test_tunnels_run(&f->pair, is_registered);
    assert_int_equal(f->registration->state, REGISTRATION_UP);
}

static void cut(struct fixture *f)
{
    f->detached = 0;
    assert_int_equal(shutdown(f->pair.agent.fd, SHUT_RDWR), 0);
    test_tunnels_run(&f->pair, is_detached);
}

static void rejoin(struct fixture *f)
{
    f->detached = 0;
    struct carrier *carrier = test_tunnels_dial(&f->pair);
    assert_int_equal(registration_rejoin(f->registration, carrier, f->pair.door.nonce), 0);
    assert_int_equal(f->registration->state, REGISTRATION_REJOINING);
}

static void end(struct fixture *f)
{
    f->pair.agent.tunnel = NULL;
    registration_close(f->registration, REASON_SHUTDOWN, "the test is over");
    test_tunnels_end(&f->pair);
}

static void test_registered(void **state)
{
    struct fixture f;
    (void)state;
    begin_registered(&f, 60);
    assert_true(registration_can_resume(f.registration));
    end(&f);
}

static void test_refused(void **state)
{
    struct fixture f;
    (void)state;
    begin(&f, 60);
    f.pair.door.refuses = REASON_FORBIDDEN;
    test_tunnels_run(&f.pair, is_lost);
    assert_int_equal(f.registration->state, REGISTRATION_ASKED);
    assert_int_equal(f.registration->refusal, REASON_FORBIDDEN);
    assert_int_equal(f.registered, 0);
    end(&f);
}

static void test_resumed(void **state)
{
    struct fixture f;
    (void)state;
    begin_registered(&f, 60);
    cut(&f);
    assert_int_equal(f.before, REGISTRATION_UP);
    assert_int_equal(f.registration->state, REGISTRATION_DETACHED);
    rejoin(&f);
    test_tunnels_run(&f.pair, is_resumed);
    assert_int_equal(f.registration->state, REGISTRATION_UP);
    assert_int_equal(f.registered, 1);
    end(&f);
}

/* One that is up goes on with another carrier; the old one is not told of. */
static void test_resumed_while_up(void **state)
{
    struct fixture f;
    (void)state;
    begin_registered(&f, 60);
    rejoin(&f);
    test_tunnels_run(&f.pair, is_resumed);
    assert_int_equal(f.detached, 0);
    end(&f);
}

static void test_tries_that_fail(void **state)
{
    static const int answers[] = {-1, REASON_LIMIT};
    struct fixture f;
    (void)state;
    begin_registered(&f, 60);
    cut(&f);
    for (size_t i = 0; i < sizeof(answers) / sizeof(answers[0]); i++) {
        rejoin(&f);
        f.pair.door.refuses = answers[i];
        test_tunnels_run(&f.pair, is_detached);
        assert_int_equal(f.before, REGISTRATION_REJOINING);
        assert_int_equal(f.registration->refusal, answers[i] > 0 ? answers[i] : 0);
    }
    rejoin(&f);
    test_tunnels_run(&f.pair, is_resumed);
    assert_int_equal(f.registration->refusal, 0);
    cut(&f);
    rejoin(&f);
    f.pair.door.refuses = REASON_LINK_LOST;
    test_tunnels_run(&f.pair, is_lost);
    assert_int_equal(f.registration->refusal, REASON_LINK_LOST);
    assert_int_equal(f.registration->state, REGISTRATION_REJOINING);
    end(&f);
}

static bool is_lost_or_detached(struct test_tunnels *pair)
{
    return is_lost(pair) || is_detached(pair);
}

/* The time counts from the loss; tries that fail do not make it longer. */
static void test_not_resumed_in_time(void **state)
{
    struct fixture f;
    (void)state;
    begin_registered(&f, 1);
    cut(&f);
    uint64_t since = loop_now(&f.pair.loop);
    while (f.lost == 0 && loop_now(&f.pair.loop) - since < 60 * 1000 * 1000) {
        rejoin(&f);
        f.pair.door.refuses = -1;
        test_tunnels_run(&f.pair, is_lost_or_detached);
    }
    assert_int_equal(f.lost, 1);
    assert_int_equal(f.error, CULVERT_ERROR_TIMED_OUT);
    assert_in_range(loop_now(&f.pair.loop) - since, 900 * 1000, 60 * 1000 * 1000);
    end(&f);
}

/* One that takes the handshake and says nothing. */
static void test_no_answer(void **state)
{
    struct fixture f;
    (void)state;
    prepare(&f, 60);
    f.pair.door.is_silent = true;
    ask(&f, SHORT_ANSWER_TIME);
    uint64_t since = loop_now(&f.pair.loop);
    test_tunnels_run(&f.pair, is_lost);
    assert_int_equal(f.error, CULVERT_ERROR_TIMED_OUT);
    assert_true(loop_now(&f.pair.loop) - since >= (SHORT_ANSWER_TIME - 100) * 1000);
    assert_int_equal(f.registration->state, REGISTRATION_ASKED);
    end(&f);
}

static void test_not_to_be_resumed(void **state)
{
    struct fixture f;
    (void)state;
    begin_registered(&f, 0);
    assert_false(registration_can_resume(f.registration));
    assert_int_equal(shutdown(f.pair.agent.fd, SHUT_RDWR), 0);
    test_tunnels_run(&f.pair, is_lost);
    assert_int_equal(f.detached, 0);
    assert_int_equal(f.registration->state, REGISTRATION_UP);
    end(&f);
}

static void test_drained(void **state)
{
    struct fixture f;
    (void)state;
    begin_registered(&f, 60);
    tunnel_announce_stop(&f.pair.gateway.tunnel->base, "the gateway is stopping", 7);
    test_tunnels_run(&f.pair, is_gone_away);
    f.pair.agent.to_write = f.pair.gateway.to_write = 1000;
    test_tunnels_open(&f.pair);
    registration_drain(f.registration, "the agent has moved");
    test_tunnels_run(&f.pair, test_tunnels_have_finished);
    assert_int_equal(f.pair.gateway.goodbyes, 1);
    assert_int_equal(f.drained, 0);
    f.pair.agent.stream->operations->close(f.pair.agent.stream);
    f.pair.agent.stream = NULL;
    test_tunnels_run(&f.pair, is_drained);
    assert_int_equal(f.lost, 0);
    end(&f);
}

static void test_no_memory(void **state)
{
    bool is_pending = false;
    struct fixture f;
    (void)state;
    for (size_t n = 1; !is_pending; n++) {
        f = (struct fixture){.config = {.name = "agent1", .key = "key"}};
        test_tunnels_prepare(&f.pair, 60);
        struct carrier *carrier = test_tunnels_dial(&f.pair);
        memory_fail_after(n);
        int error = registration_new(&owner, &f, &f.pair.loop, &f.config, &f.registration);
        if (error == 0) {
            error = registration_begin(f.registration, carrier, true, boot, ANSWER_TIME);
            is_pending = memory_fail_is_pending();
            memory_fail_after(0);
            if (error == 0)
                test_tunnels_run(&f.pair, is_pending ? is_registered : is_lost);
            registration_close(f.registration, REASON_SHUTDOWN, NULL);
        }
        memory_fail_after(0);
        assert_true(error == 0 || error == CULVERT_ERROR_NO_MEMORY);
        if (error != 0)
            carrier_close(carrier, error, NULL);
        test_tunnels_end(&f.pair);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_registered),        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_resumed),           cmocka_unit_test(test_resumed_while_up),
        cmocka_unit_test(test_tries_that_fail),   cmocka_unit_test(test_not_resumed_in_time),
        cmocka_unit_test(test_not_to_be_resumed), cmocka_unit_test(test_drained),
        cmocka_unit_test(test_no_memory),         cmocka_unit_test(test_no_answer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
