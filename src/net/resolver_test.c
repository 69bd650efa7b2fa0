#include "base/error.h"
#include "base/memory.h"
#include "net/address.h"
#include "net/resolver.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* ---- getaddrinfo(3) as the test wants it ---- */

enum { NAMES_MAX = 64 };

static struct {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    char names[NAMES_MAX][64]; /* in the order in which they were asked for */
    int asked;
    int running;
    bool is_open; /* names that begin with "slow" are answered */
} resolver = {.mutex = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

/* NOLINTBEGIN(readability-inconsistent-declaration-parameter-name): the system's are reserved */

/* In place of the system's; "none..." has no address. */
int getaddrinfo(const char *host, const char *service, const struct addrinfo *hints,
                struct addrinfo **list)
{
    struct sockaddr_storage *address;
    (void)service;
    if ((hints->ai_flags & AI_NUMERICHOST) != 0)
        return EAI_NONAME;
    pthread_mutex_lock(&resolver.mutex);
    snprintf(resolver.names[resolver.asked++], sizeof(resolver.names[0]), "%s", host);
    resolver.running++;
    pthread_cond_broadcast(&resolver.changed);
    while (strncmp(host, "slow", 4) == 0 && !resolver.is_open)
        pthread_cond_wait(&resolver.changed, &resolver.mutex);
    resolver.running--;
    pthread_cond_broadcast(&resolver.changed);
    pthread_mutex_unlock(&resolver.mutex);
    if (strncmp(host, "none", 4) == 0)
        return EAI_NONAME;
    *list = calloc(1, sizeof(**list) + sizeof(*address));
    address = (struct sockaddr_storage *)(void *)(*list + 1);
    address_parse("192.0.2.1", 0, address);
    (*list)->ai_family = AF_INET;
    (*list)->ai_addr = (struct sockaddr *)address;
    (*list)->ai_addrlen = sizeof(struct sockaddr_in);
    return 0;
}

void freeaddrinfo(struct addrinfo *list)
{
    free(list);
}

/* NOLINTEND(readability-inconsistent-declaration-parameter-name) */

static int asked(void)
{
    pthread_mutex_lock(&resolver.mutex);
    int count = resolver.asked;
    pthread_mutex_unlock(&resolver.mutex);
    return count;
}

static void wait_for_asked(int count)
{
    pthread_mutex_lock(&resolver.mutex);
    while (resolver.asked < count)
        pthread_cond_wait(&resolver.changed, &resolver.mutex);
    pthread_mutex_unlock(&resolver.mutex);
}

static void open_slow_names(void)
{
    pthread_mutex_lock(&resolver.mutex);
    resolver.is_open = true;
    pthread_cond_broadcast(&resolver.changed);
    pthread_mutex_unlock(&resolver.mutex);
}

/* ---- the loop ---- */

struct fixture {
    struct account account;
    struct loop loop;
    struct askers askers;
    struct asker *a;
    struct asker *b;
    int told;
    int wanted; /* the loop stops when as many were told */
    int last_error;
};

static int set_up(void **state)
{
    static struct fixture fixture;
    const struct asker_limits limits = {.lookups = 3, .lookups_per_asker = 2};
    memset(&fixture, 0, sizeof(fixture));
    resolver.asked = 0;
    resolver.is_open = false;
    account_init(&fixture.account, SIZE_MAX);
    assert_int_equal(loop_init(&fixture.loop, 0, &fixture.account), 0);
    askers_init(&fixture.askers, &limits, 7);
    fixture.a = asker_hold(&fixture.askers, "a");
    fixture.b = asker_hold(&fixture.askers, "b");
    *state = &fixture;
    return 0;
}

/* All threads must be at their end before the next test counts. */
static int tear_down(void **state)
{
    struct fixture *fixture = *state;
    loop_deinit(&fixture->loop);
    asker_release(fixture->a);
    asker_release(fixture->b);
    askers_deinit(&fixture->askers);
    open_slow_names();
    pthread_mutex_lock(&resolver.mutex);
    while (resolver.running > 0)
        pthread_cond_wait(&resolver.changed, &resolver.mutex);
    pthread_mutex_unlock(&resolver.mutex);
    return 0;
}

static void on_done(struct lookup *lookup, int error, const struct addrinfo *list)
{
    struct fixture *fixture = lookup->holder;
    assert_int_equal(error == 0, list != NULL);
    fixture->last_error = error;
    if (++fixture->told == fixture->wanted)
        loop_stop(&fixture->loop);
}

static void start(struct fixture *fixture, struct lookup *lookup, const char *host,
                  struct asker *asker)
{
    *lookup = (struct lookup){.done = on_done, .holder = fixture};
    assert_int_equal(resolver_start(&fixture->loop, lookup, host, asker), 0);
}

static void wait_until_told(struct fixture *fixture, int count)
{
    fixture->wanted = count;
    if (fixture->told < count)
        loop_run(&fixture->loop);
    assert_int_equal(fixture->told, count);
}

/* ---- tests ---- */

static void test_what_is_known(void **state)
{
    struct sockaddr_storage known[RESOLVER_KNOWN_MAX];
    (void)state;
    assert_int_equal(resolver_know("192.0.2.7", known), 1);
    assert_int_equal(resolver_know("2001:db8::1", known), 1);
    assert_int_equal(resolver_know("LocalHost.", known), 2);
    assert_true(address_is_loopback(&known[0]) && address_is_loopback(&known[1]));
    assert_int_equal(resolver_know("x.localhost", known), 0);
    assert_int_equal(resolver_know("db.example", known), 0);
}

static void test_a_name(void **state)
{
    struct fixture *f = *state;
    struct lookup lookup;
    start(f, &lookup, "db.example", NULL);
    wait_until_told(f, 1);
    assert_int_equal(f->last_error, 0);
    start(f, &lookup, "none.example", f->a);
    assert_int_equal(f->a->lookups, 1);
    wait_until_told(f, 2);
    assert_int_equal(f->last_error, CULVERT_ERROR_RESOLVE);
    assert_int_equal(f->a->lookups, 0);
}

static void test_equal_names_share_one(void **state)
{
    struct fixture *f = *state;
    struct lookup lookups[4];
    start(f, &lookups[0], "slow.example", f->a);
    start(f, &lookups[1], "SLOW.example", f->a);
    start(f, &lookups[2], "slow.example", f->b);
    start(f, &lookups[3], "slow.example", NULL);
    resolver_cancel(&lookups[0]);
    wait_for_asked(1);
    assert_int_equal(f->askers.lookups, 1);
    open_slow_names();
    wait_until_told(f, 3);
    assert_int_equal(asked(), 1);
}

/* Those of one asker wait for each other, not those of another. */
static void test_shares(void **state)
{
    struct fixture *f = *state;
    struct lookup lookups[5];
    struct lookup other, own;
    static const char *const names[] = {"slow1", "slow2", "slow3", "slow4", "slow3"};
    for (int i = 0; i < 5; i++)
        start(f, &lookups[i], names[i], f->a);
    wait_for_asked(2);
    start(f, &other, "db.example", f->b);
    wait_until_told(f, 1);
    start(f, &own, "gateway.example", NULL);
    wait_until_told(f, 2);
    assert_int_equal(asked(), 4);
    assert_int_equal(f->a->lookups, 2);
    open_slow_names();
    wait_until_told(f, 7);
    assert_int_equal(asked(), 6); /* slow3 once */
    assert_int_equal(f->a->lookups, 0);
}

static void test_one_that_nobody_waits_for_keeps_its_place(void **state)
{
    struct fixture *f = *state;
    struct lookup lookups[3];
    start(f, &lookups[0], "slow1", f->a);
    start(f, &lookups[1], "slow2", f->a);
    resolver_cancel(&lookups[0]);
    resolver_cancel(&lookups[1]);
    resolver_cancel(&lookups[1]);
    assert_int_equal(f->a->lookups, 2);
    start(f, &lookups[2], "db.example", f->a);
    wait_for_asked(2);
    assert_int_equal(f->told, 0);
    open_slow_names();
    wait_until_told(f, 1);
    assert_int_equal(asked(), 3);
}

/* tear_down ends the loop while both run; one that waits its turn is cancelled. */
static void test_the_end_waits_for_none(void **state)
{
    struct fixture *f = *state;
    struct lookup lookups[3];
    start(f, &lookups[0], "slow1", f->a);
    start(f, &lookups[1], "slow2", f->a);
    start(f, &lookups[2], "slow3", f->a);
    wait_for_asked(2);
    for (int i = 0; i < 3; i++)
        resolver_cancel(&lookups[i]);
}

static void test_no_memory(void **state)
{
    struct fixture *f = *state;
    struct lookup lookup = {.done = on_done, .holder = f};
    int started = 0;
    for (size_t i = 1;; i++) {
        memory_fail_after(i);
        int error = resolver_start(&f->loop, &lookup, "db.example", f->a);
        if (memory_fail_is_pending()) {
            assert_int_equal(error, 0);
            break;
        }
        assert_int_equal(error, CULVERT_ERROR_NO_MEMORY);
        assert_int_equal(f->a->lookups, 0);
        started++;
    }
    memory_fail_after(0);
    assert_true(started >= 4);
    wait_until_told(f, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_what_is_known, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_name, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_equal_names_share_one, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_shares, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_one_that_nobody_waits_for_keeps_its_place, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_the_end_waits_for_none, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_no_memory, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
