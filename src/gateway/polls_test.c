/* Connections of long poll, turn by turn: how long each may take, and how many there are. */
#include "codec/poll.h"
#include "gateway/poll_connection.h"
#include "gateway/poll_session.h"
#include "gateway/test_gateway.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

enum { SECOND = 1000 * 1000 };

/* ---- a client ---- */

struct client {
    struct test_gateway test;
    char id[POLL_ID_TEXT_SIZE];
    char answer[8192];
    int fd; /* of its first connection */
};

static int dial_at(struct client *client, unsigned worker)
{
    int fds[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
    visitor_new(&client->test.gateway->workers[worker], fds[1]);
    return fds[0];
}

static int dial(struct client *client)
{
    return dial_at(client, 0);
}

/* Whether the gateway has closed the connection, after what it has answered. */
static bool is_closed(int fd)
{
    char bytes[4096];
    ssize_t got = 0;
    while ((got = recv(fd, bytes, sizeof(bytes), 0)) > 0)
        continue;
    return got == 0 || errno != EAGAIN;
}

static void send_bytes(struct client *client, int fd, const void *bytes, size_t size)
{
    assert_int_equal(send(fd, bytes, size, MSG_NOSIGNAL), size);
    test_gateway_settle(&client->test);
}

/* Sends a request; returns the status of the answer, or 0 if there is none yet. */
static int ask(struct client *client, int fd, const char *fields, const void *body, size_t size,
               size_t length)
{
    char head[512];
    int head_size = snprintf(head, sizeof(head),
                             "POST / HTTP/1.1\r\nHost: localhost\r\n%sContent-Length: %zu\r\n\r\n",
                             fields, length);
    send_bytes(client, fd, head, (size_t)head_size);
    if (size > 0)
        send_bytes(client, fd, body, size);
    ssize_t got = recv(fd, client->answer, sizeof(client->answer) - 1, 0);
    client->answer[got > 0 ? got : 0] = '\0';
    bool is_answer = strncmp(client->answer, "HTTP/1.1 ", 9) == 0;
    return is_answer ? (int)strtol(client->answer + 9, NULL, 10) : 0;
}

static int ask_down(struct client *client, int fd, unsigned number)
{
    char fields[128];
    snprintf(fields, sizeof(fields), "Culvert-Poll: %s\r\nCulvert-Down: %u\r\n", client->id,
             number);
    return ask(client, fd, fields, NULL, 0, 0);
}

static int bring(struct client *client, int fd, unsigned number, const void *body, size_t size,
                 size_t length)
{
    char fields[192];
    snprintf(fields, sizeof(fields),
             "Culvert-Poll: %s\r\nCulvert-Up: %u\r\nContent-Type: application/octet-stream\r\n",
             client->id, number);
    return ask(client, fd, fields, body, size, length);
}

static struct polls *polls_of(struct client *client)
{
    return &client->test.worker->polls;
}

static struct poll_session *session_of(struct client *client)
{
    size_t cursor = 0;
    return map_next(&polls_of(client)->sessions, &cursor);
}

static void begin(struct client *client)
{
    memset(client, 0, sizeof(*client));
    test_gateway_prepare(&client->test);
    client->test.config.threads = 2;
    test_gateway_open(&client->test);
    client->fd = dial(client);
    assert_int_equal(ask(client, client->fd, "Culvert-Poll: open\r\n", NULL, 0, 0), 200);
    assert_non_null(session_of(client));
    memcpy(client->id, session_of(client)->name, sizeof(client->id));
    assert_non_null(strstr(client->answer, client->id));
}

static void log_in(struct client *client)
{
    uint8_t encoded[MESSAGE_MAX_CONTROL];
    struct message message = {.type = MESSAGE_HANDSHAKE, .is_known = true};
    message.handshake = (struct message_handshake){.version = text_of("1"),
                                                   .name = text_of("one"),
                                                   .key = text_of(""),
                                                   .window = MUX_WINDOW,
                                                   .epoch = 1,
                                                   .first = 1};
    int size = message_encode(&message, encoded, sizeof(encoded));
    assert_true(size > 0);
    assert_int_equal(bring(client, client->fd, 1, encoded, (size_t)size, (size_t)size), 200);
    assert_non_null(test_gateway_member(&client->test, "one"));
    assert_true(session_of(client)->is_logged_in);
}

static void end(struct client *client)
{
    close(client->fd);
    test_gateway_settle(&client->test);
    test_gateway_close(&client->test);
}

/* The connection of the list that has stood longest. */
static struct poll_connection *oldest(struct list *list)
{
    assert_false(list_is_empty(list));
    return CONTAINER_OF(list_first(list), struct poll_connection, clock_node);
}

/* As if it had stood for so long when the clock is looked at. */
static void sweep_after(struct client *client, struct list *list, uint64_t microseconds)
{
    struct polls *polls = polls_of(client);
    oldest(list)->since = loop_now(client->test.loop) - microseconds;
    polls->sweep.fired(&polls->sweep);
    test_gateway_settle(&client->test);
}

/* ---- time ---- */

static void a_connection_without_a_request_ends(void **state)
{
    (void)state;
    struct client client;
    const uint64_t bound = (uint64_t)POLLS_IDLE_TIME * SECOND;
    begin(&client);
    sweep_after(&client, &polls_of(&client)->idle, bound - 1);
    assert_false(is_closed(client.fd));
    assert_true(polls_of(&client)->is_sweeping);
    sweep_after(&client, &polls_of(&client)->idle, bound);
    assert_true(is_closed(client.fd));
    assert_true(list_is_empty(&polls_of(&client)->idle));
    assert_false(polls_of(&client)->is_sweeping);
    /* The session has a time of its own. */
    assert_non_null(session_of(&client));
    assert_int_equal(session_of(&client)->connection_count, 0);
    end(&client);
}

static void a_body_that_stands_still_ends_its_connection(void **state)
{
    (void)state;
    struct client client;
    const uint64_t bound = (uint64_t)POLLS_BUSY_TIME * SECOND;
    begin(&client);
    log_in(&client);
    struct list *busy = &polls_of(&client)->busy;
    assert_int_equal(bring(&client, client.fd, 2, "x", 1, 100), 0);
    assert_true(list_is_empty(&polls_of(&client)->idle));
    sweep_after(&client, busy, bound - 1);
    assert_false(is_closed(client.fd));
    /* Each piece begins the time anew. */
    uint64_t before = oldest(busy)->since;
    send_bytes(&client, client.fd, "x", 1);
    assert_true(oldest(busy)->since > before + bound / 2);
    sweep_after(&client, busy, bound);
    assert_true(is_closed(client.fd));
    assert_true(list_is_empty(busy));
    assert_null(session_of(&client)->bringer);
    end(&client);
}

static void a_request_that_waits_is_on_no_clock(void **state)
{
    (void)state;
    struct client client;
    begin(&client);
    assert_int_equal(ask_down(&client, client.fd, 1), 0);
    assert_true(list_is_empty(&polls_of(&client)->idle));
    assert_true(list_is_empty(&polls_of(&client)->busy));
    polls_of(&client)->sweep.fired(&polls_of(&client)->sweep);
    assert_false(polls_of(&client)->is_sweeping);
    assert_false(is_closed(client.fd));
    end(&client);
}

/* ---- what comes too early ---- */

static struct poll_connection *first_of(struct client *client)
{
    struct list_node *node = list_first(&session_of(client)->connections);
    assert_non_null(node);
    return CONTAINER_OF(node, struct poll_connection, session_node);
}

static void what_comes_while_a_request_waits_is_read_up_to_a_bound(void **state)
{
    (void)state;
    enum { BOUND = 4096, STEP = 1024 };
    static const char bytes[STEP];
    struct client client;
    begin(&client);
    assert_int_equal(ask_down(&client, client.fd, 1), 0);
    struct poll_connection *connection = first_of(&client);
    send_bytes(&client, client.fd, bytes, STEP);
    assert_int_equal(connection->reader.size, STEP);
    assert_int_equal(conn_interest(connection->conn), CONN_READ);
    for (int i = 0; i < 8; i++)
        send_bytes(&client, client.fd, bytes, STEP);
    /* It pauses; it does not close. */
    assert_int_equal(connection->reader.size, BOUND);
    assert_int_equal(conn_interest(connection->conn), CONN_ERROR);
    assert_int_equal(connection->state, POLL_CONNECTION_WAITS);
    assert_false(is_closed(client.fd));
    end(&client);
}

/* ---- number ---- */

static void a_session_has_few_connections_and_fewer_before_its_login(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        bool is_logged_in = i == 1;
        size_t bound = is_logged_in ? POLL_SESSION_CONNECTIONS : POLL_SESSION_EARLY_CONNECTIONS;
        int fds[POLL_SESSION_CONNECTIONS];
        struct client client;
        begin(&client);
        if (is_logged_in)
            log_in(&client);
        for (size_t n = 1; n < bound; n++) {
            fds[n] = dial(&client);
            assert_int_equal(bring(&client, fds[n], 9, "x", 1, 1), 409); /* out of order */
            assert_int_equal(session_of(&client)->connection_count, n + 1);
        }
        assert_false(is_closed(client.fd));
        /* One more: of those between two requests the one that was used first goes. */
        fds[0] = dial(&client);
        assert_int_equal(bring(&client, fds[0], 9, "x", 1, 1), 409);
        assert_int_equal(session_of(&client)->connection_count, bound);
        assert_true(is_closed(client.fd));
        for (size_t n = 0; n < bound; n++) {
            assert_false(is_closed(fds[n]));
            close(fds[n]);
        }
        test_gateway_settle(&client.test);
        assert_int_equal(session_of(&client)->connection_count, 0);
        end(&client);
    }
}

static void who_polls_is_a_stranger_until_the_login(void **state)
{
    (void)state;
    struct client client;
    begin(&client);
    const struct strangers *strangers = &client.test.worker->strangers;
    assert_int_equal(strangers->count, 2); /* the session and its connection */
    log_in(&client);
    assert_int_equal(strangers->count, 0);
    int other = dial(&client);
    assert_int_equal(bring(&client, other, 9, "x", 1, 1), 409);
    assert_int_equal(strangers->count, 0);
    close(other);
    end(&client);
}

/* ---- from one loop to the other ---- */

static void a_request_goes_to_the_loop_of_its_session(void **state)
{
    (void)state;
    struct client client;
    begin(&client);
    log_in(&client);
    const struct worker *other = &client.test.gateway->workers[1];
    int fd = dial_at(&client, 1);
    assert_int_equal(bring(&client, fd, 9, "x", 1, 1), 409);
    assert_int_equal(session_of(&client)->connection_count, 2);
    assert_int_equal(other->strangers.count, 0);
    assert_int_equal(other->visitor_ids.count, 0);
    assert_true(list_is_empty(&other->polls.idle) && list_is_empty(&other->polls.busy));
    assert_int_equal(ask_down(&client, fd, 1), 200); /* the welcome */
    assert_int_equal(ask_down(&client, fd, 7), 409);
    close(fd);
    test_gateway_settle(&client.test);
    assert_int_equal(session_of(&client)->connection_count, 1);
    /* A session that nobody knows. */
    client.id[0] = client.id[0] == 'a' ? 'b' : 'a';
    fd = dial_at(&client, 1);
    assert_int_equal(ask_down(&client, fd, 1), 410);
    assert_true(is_closed(fd));
    close(fd);
    end(&client);
}

/* A connection that waits for its next request leaves the clock of its loop, too. */
static void an_idle_connection_goes_to_the_loop_of_its_next_request(void **state)
{
    (void)state;
    struct client client;
    begin(&client);
    log_in(&client);
    const struct worker *other = &client.test.gateway->workers[1];
    int fd = dial_at(&client, 1);
    assert_int_equal(ask(&client, fd, "Culvert-Poll: open\r\n", NULL, 0, 0), 200);
    assert_false(list_is_empty(&other->polls.idle));
    assert_int_equal(other->strangers.count, 2);
    /* The other loop has let go of it, and the first one does not have it yet. */
    char request[256];
    int size = snprintf(request, sizeof(request),
                        "POST / HTTP/1.1\r\nHost: localhost\r\nCulvert-Poll: %s\r\n"
                        "Culvert-Down: 7\r\nContent-Length: 0\r\n\r\n",
                        client.id);
    assert_int_equal(send(fd, request, (size_t)size, MSG_NOSIGNAL), size);
    for (int i = 0; i < 3; i++)
        uv_run(&client.test.gateway->workers[1].loop.uv, UV_RUN_NOWAIT);
    assert_int_equal(session_of(&client)->connection_count, 1);
    assert_true(list_is_empty(&other->polls.idle));
    assert_int_equal(other->strangers.count, 1); /* the session that it has left */
    test_gateway_settle(&client.test);
    assert_int_equal(session_of(&client)->connection_count, 2);
    close(fd);
    end(&client);
}

static void who_comes_back_opens_where_its_link_is(void **state)
{
    (void)state;
    struct client client;
    struct test_agent agent = {.worker = 1};
    char fields[128];
    begin(&client);
    test_agent_register(&agent, &client.test, "two");
    struct worker *other = &client.test.gateway->workers[1];
    assert_int_equal(other->members.count, 1);
    snprintf(fields, sizeof(fields), "Culvert-Poll: open\r\nCulvert-Link: %s\r\n",
             test_gateway_member(&client.test, "two")->link);
    int fd = dial(&client);
    assert_int_equal(ask(&client, fd, fields, NULL, 0, 0), 200);
    assert_int_equal(other->polls.sessions.count, 1);
    assert_int_equal(polls_of(&client)->sessions.count, 1);
    assert_int_equal(other->strangers.count, 2);
    assert_int_equal(client.test.worker->strangers.count, 2);
    assert_int_equal(other->visitor_ids.count, 1);
    close(fd);
    /* A link that nobody knows is as none. */
    fd = dial_at(&client, 1);
    snprintf(fields, sizeof(fields), "Culvert-Poll: open\r\nCulvert-Link: %032d\r\n", 0);
    assert_int_equal(ask(&client, fd, fields, NULL, 0, 0), 200);
    assert_int_equal(other->polls.sessions.count, 2);
    close(fd);
    test_agent_close(&agent);
    end(&client);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_connection_without_a_request_ends),
        cmocka_unit_test(a_body_that_stands_still_ends_its_connection),
        cmocka_unit_test(a_request_that_waits_is_on_no_clock),
        cmocka_unit_test(what_comes_while_a_request_waits_is_read_up_to_a_bound),
        cmocka_unit_test(a_session_has_few_connections_and_fewer_before_its_login),
        cmocka_unit_test(who_polls_is_a_stranger_until_the_login),
        cmocka_unit_test(a_request_goes_to_the_loop_of_its_session),
        cmocka_unit_test(an_idle_connection_goes_to_the_loop_of_its_next_request),
        cmocka_unit_test(who_comes_back_opens_where_its_link_is),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
