/*
 * For tests: a gateway with one loop, which the test runs turn by turn on its own thread, and
 * agents on the same loop whose carriers are socket pairs. The test may look into the gateway, and
 * set its clocks, between two turns.
 */
#ifndef GATEWAY_TEST_GATEWAY_H
#define GATEWAY_TEST_GATEWAY_H

#include "gateway/member.h"
#include "gateway/visitor.h"
#include "gateway/worker.h"
#include "tunnel/native_tunnel.h"

#include <stdbool.h>

struct test_gateway {
    struct gateway_config config; /* to be changed before test_gateway_open */
    struct gateway *gateway;
    struct worker *worker; /* the first, and its loop */
    struct loop *loop;
};

/* Agents need no key, every session is granted, and a link waits 60 s for its next carrier. */
void test_gateway_prepare(struct test_gateway *test);
void test_gateway_open(struct test_gateway *test);
/* Both, with nothing changed. */
void test_gateway_begin(struct test_gateway *test);
/* Runs turns until `is_over` holds, which must come. */
void test_gateway_run(struct test_gateway *test, bool (*is_over)(void *holder), void *holder);
/* Runs a few turns: all that is ready on socket pairs is dealt with. */
void test_gateway_settle(struct test_gateway *test);
void test_gateway_close(struct test_gateway *test);
/* Its member of this name, or NULL. */
struct member *test_gateway_member(struct test_gateway *test, const char *name);

enum { TEST_AGENT_STREAMS = 8 };

struct test_session;

struct test_agent {
    struct test_gateway *test;
    const char *name;
    const char *key; /* NULL: none */
    unsigned worker; /* where its connections arrive */
    uint8_t boot[MESSAGE_BOOT_SIZE];
    struct native_tunnel *tunnel;
    struct visitor *visitor; /* its connection at the gateway, until the handshake is answered */
    int fd;                  /* of its carrier */
    struct stream *streams[TEST_AGENT_STREAMS]; /* that were opened towards it, with no yes yet */
    unsigned opened;                            /* how many */
    struct test_session *taker;                 /* accepts the next one at once; NULL: none does */
    unsigned welcomes, detachments;
    unsigned goodbyes; /* goaways that came */
    int refused;       /* the last refusal's code */
    char refusal[200];
    int lost;
    char why[200]; /* of the loss */
};

/* A new agent dials; its handshake is under way. */
void test_agent_dial(struct test_agent *agent, struct test_gateway *test, const char *name);
/* The same, and it is registered or refused. */
void test_agent_register(struct test_agent *agent, struct test_gateway *test, const char *name);
/* Its carrier is lost on both sides. */
void test_agent_cut(struct test_agent *agent);
/* It dials to resume its link; its handshake is under way. */
void test_agent_begin_rejoin(struct test_agent *agent);
/* The same, and it is answered. */
void test_agent_rejoin(struct test_agent *agent);
void test_agent_close(struct test_agent *agent);

/* A stream with a holder that remembers how it ended. */
struct test_session {
    struct stream *stream;
    bool is_opened, is_reset, fin;
    int code;
    char reason[200];
    size_t got;
};

/* `agent` asks for port 80 of this host at the agent of that name. */
void test_session_open(struct test_session *session, struct test_agent *agent, const char *name);
/* The same for another host. */
void test_session_ask(struct test_session *session, struct test_agent *agent, const char *name,
                      const char *host);
/* The first stream that was opened towards the agent is accepted. */
void test_session_accept(struct test_session *session, struct test_agent *agent);
/* Both: `near` opens a session at `far`, which accepts it. */
void test_session_join(struct test_session *asking, struct test_agent *near,
                       struct test_session *asked, struct test_agent *far);
void test_session_write(struct test_session *session, struct test_gateway *test, size_t bytes);
void test_session_close(struct test_session *session);

#endif
