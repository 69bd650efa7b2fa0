/* For tests of the agent's side of long poll: a gateway on threads of its own, which sends down
 * what comes up, with troubles on the way; and a loop with one client. */
#ifndef CARRIER_TEST_POLL_H
#define CARRIER_TEST_POLL_H

#include "base/error.h"
#include "base/memory.h"
#include "carrier/poll_carrier.h"
#include "carrier/poll_client.h"
#include "net/address.h"
#include "net/test_http_server.h"

#define TEST_ID     "00112233445566778899aabb00000001" /* the last digits count them */
#define TEST_NONCE  "0f1e2d3c4b5a69788796a5b4c3d2e1f0"
#define TEST_OPENED "Culvert-Poll: " TEST_ID "\r\nCulvert-Nonce: " TEST_NONCE "\r\n"

enum {
    TEST_BOUND = 60 * 1000, /* milliseconds */
    TEST_BODIES = 256,
    TEST_EVERY = 0xffff, /* as the end of a trouble */
};

/* What the gateway does to a request instead of its duty. */
enum trouble_kind {
    TROUBLE_NONE,
    TROUBLE_CUT,         /* closes the connection without an answer */
    TROUBLE_CUT_HALFWAY, /* and within the body of a down's answer */
    TROUBLE_STATUS,      /* answers `status` with `fields` */
};

struct test_trouble {
    const char *lane; /* "Up" or "Down" */
    enum trouble_kind kind;
    unsigned from; /* the first request on this lane that it happens to, from 1 */
    unsigned until;
    const char *status;
    const char *fields;
    const char *body;
    bool is_taken; /* the request has done its work all the same */
};

struct test_body {
    uint8_t *bytes;
    size_t size;
};

/* A gateway that sends down what comes up. */
struct test_gateway {
    struct test_http_server server;
    struct test_trouble trouble;
    const char *open_status; /* NULL: it opens */
    const char *open_fields;
    const char *open_body;
    char first[TEST_HTTP_HEAD + 1]; /* the head of the first request */
    struct test_body bodies[TEST_BODIES];
    unsigned count;
    unsigned opens;
    unsigned ups;
    unsigned downs;
    bool is_holding; /* answers no up */
    bool is_wrong;   /* a request was not as it should be */
};

struct test_poll {
    struct account account;
    struct loop loop;
    struct loop_timer bound;
    struct loop_timer soon;
    struct test_gateway gateway;
    struct url url;
    struct proxy proxy;
    struct poll_client *client;
    struct poll_client_result result;
    char why[1024];
    unsigned done;
    struct carrier *carrier;
    struct test_body message; /* that is coming in */
    struct test_body *messages;
    unsigned message_count;
    unsigned wanted;
    unsigned ready;
    int lost;
    bool stops_reading;
    bool loop_has_ended;
    unsigned closes_in; /* the event that closes the carrier: 1 for data to 4 for ready */
};

int test_poll_set_up(void **state);
int test_poll_tear_down(void **state);

/* Begins to open. */
int test_poll_begin(struct test_poll *f, unsigned timeout, const uint8_t *link);
/* Opens and waits for what comes of it. */
void test_poll_open(struct test_poll *f);
/* The same, and a carrier that is read must come of it. */
void test_poll_open_carrier(struct test_poll *f);
/* Forgets all that has happened, for another carrier and another trouble. */
void test_poll_renew(struct test_poll *f, const struct test_trouble *trouble);
/* Sends a message in several slices. */
void test_poll_send(struct test_poll *f, const void *bytes, size_t size);
/* The same, while another is on its way. */
void test_poll_send_last(struct test_poll *f, const void *bytes, size_t size);
/* How many messages the gateway has taken, and how many requests have come, until now. */
struct test_counts {
    unsigned messages;
    unsigned ups;
    unsigned downs;
};
struct test_counts test_poll_counts(struct test_poll *f);
/* Takes the head of the first request that came since this was asked last. */
void test_poll_first(struct test_poll *f, char head[static TEST_HTTP_HEAD + 1]);
/* What the gateway answers to an open from now on. */
void test_poll_answer_open(struct test_poll *f, const char *status, const char *fields,
                           const char *body);
/* From now on the gateway answers no up. */
void test_poll_hold(struct test_poll *f);
/* Ends the loop, before the test does. */
void test_poll_end_loop(struct test_poll *f);
/* Runs until one message more has come, which must be this one. */
void test_poll_expect(struct test_poll *f, const void *bytes, size_t size);
void test_poll_run_for(struct test_poll *f, unsigned milliseconds);
/* Runs until the carrier takes another message. */
void test_poll_await_ready(struct test_poll *f);

#endif
