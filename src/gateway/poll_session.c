#include "gateway/poll_session.h"

#include "base/error.h"
#include "base/memory.h"
#include "gateway/poll_connection.h"
#include "gateway/visitor.h"

#include <sys/random.h>

static void bury(struct loop_task *task)
{
    memory_free(CONTAINER_OF(task, struct poll_session, burial));
}

static struct poll_session *of_server(struct poll_server *server)
{
    return CONTAINER_OF(server, struct poll_session, server);
}

static void reads(struct poll_server *server, bool on)
{
    struct poll_connection *bringer = of_server(server)->bringer;
    if (bringer != NULL)
        poll_connection_read_body(bringer, on);
}

static void over(struct poll_server *server)
{
    poll_session_end(of_server(server));
}

static const struct poll_server_owner server_handlers = {.reads = reads, .over = over};

/* Under an id that nobody can guess. */
static int make_known(struct poll_session *session)
{
    struct worker *worker = session->worker;
    uint8_t id[POLL_ID_SIZE];
    if (getrandom(id, sizeof(id), 0) != (ssize_t)sizeof(id))
        return CULVERT_ERROR_NO_MEMORY;
    poll_write_id(id, session->name);
    struct member_ref ref = {worker->loop.index, session->id};
    struct member_ref holder;
    int error = map_insert(&worker->polls.sessions, session->id, session);
    if (error != 0)
        return error;
    error = registry_claim(&worker->gateway->polls, session->name, ref, &holder);
    if (error != 0)
        map_remove(&worker->polls.sessions, session->id);
    return error;
}

static void evict(struct stranger *stranger)
{
    struct poll_session *session = CONTAINER_OF(stranger, struct poll_session, stranger);
    if (session->visitor != NULL)
        visitor_end(session->visitor, CULVERT_ERROR_LIMIT,
                    "too many connections that do not log in");
    poll_session_end(session);
}

struct poll_session *poll_session_new(struct visitor *visitor)
{
    struct worker *worker = visitor->worker;
    struct poll_session *session = memory_allocate_zero(sizeof(*session));
    if (session == NULL)
        return NULL;
    session->worker = worker;
    session->id = atomic_fetch_add(&worker->gateway->next_id, 1) + 1;
    session->burial.run = bury;
    list_init(&session->connections);
    if (poll_server_init(&session->server, &worker->loop, &server_handlers) != 0) {
        memory_free(session);
        return NULL;
    }
    if (make_known(session) != 0) {
        poll_server_deinit(&session->server, &session->burial);
        return NULL;
    }
    session->visitor = visitor;
    visitor->poll = session;
    session->stranger.evict = evict;
    worker_count_stranger(worker, &session->stranger,
                          front_group(&visitor->front, worker->gateway->config->limit_loopback));
    return session;
}

struct poll_session *poll_session_find(struct worker *worker, uint64_t id)
{
    return map_find(&worker->polls.sessions, id);
}

/* ---- connections ---- */

static struct poll_connection *connection_at(struct list_node *node)
{
    return CONTAINER_OF(node, struct poll_connection, session_node);
}

/* Closes one that is between two requests, or else the one that has been in use longest. */
static void make_room(struct poll_session *session)
{
    struct list_node *chosen = list_first(&session->connections);
    struct list_node *node = chosen;
    while (node != NULL && !poll_connection_is_idle(connection_at(node)))
        node = list_next(&session->connections, node);
    poll_connection_close(connection_at(node != NULL ? node : chosen));
}

static size_t limit(const struct poll_session *session)
{
    return session->is_logged_in ? POLL_SESSION_CONNECTIONS : POLL_SESSION_EARLY_CONNECTIONS;
}

void poll_session_join(struct poll_session *session, struct poll_connection *connection)
{
    if (session->connection_count >= limit(session))
        make_room(session);
    list_append(&session->connections, &connection->session_node);
    session->connection_count++;
    connection->session = session;
    poll_connection_count(connection);
}

void poll_session_leave(struct poll_connection *connection)
{
    struct poll_session *session = connection->session;
    if (session == NULL)
        return;
    if (session->bringer == connection)
        session->bringer = NULL;
    poll_server_leave(&session->server, &connection->waiter);
    list_remove(&connection->session_node);
    session->connection_count--;
    connection->session = NULL;
}

void poll_session_set_bringer(struct poll_session *session, struct poll_connection *connection)
{
    if (session->bringer != NULL && session->bringer != connection)
        poll_connection_close(session->bringer);
    session->bringer = connection;
}

/* ---- the end ---- */

void poll_session_end_login(struct poll_session *session, bool is_logged_in)
{
    session->visitor = NULL;
    session->is_logged_in = is_logged_in;
    if (!is_logged_in)
        return;
    worker_forget_stranger(session->worker, &session->stranger);
    struct list_node *node = list_first(&session->connections);
    for (; node != NULL; node = list_next(&session->connections, node))
        poll_connection_count(connection_at(node));
}

void poll_session_end(struct poll_session *session)
{
    struct list_node *node;
    worker_forget_stranger(session->worker, &session->stranger);
    while ((node = list_first(&session->connections)) != NULL)
        poll_connection_let_go(connection_at(node));
    registry_release(&session->worker->gateway->polls, session->name, session->id);
    map_remove(&session->worker->polls.sessions, session->id);
    poll_server_deinit(&session->server, &session->burial);
}
