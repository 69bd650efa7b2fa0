#include "gateway/poll_move.h"

#include "base/memory.h"
#include "gateway/poll_session.h"
#include "gateway/visitor.h"

struct journey {
    struct loop_message message;
    struct poll_connection *connection; /* on no loop, so the message's alone */
    struct conn_cargo *cargo;
    uint64_t session; /* 0: it opens one */
    struct front agent;
};

static void open_here(struct poll_connection *connection, const struct front *agent)
{
    struct visitor *visitor = visitor_adopt(connection->worker, NULL, agent, NULL);
    if (visitor == NULL)
        poll_connection_close(connection);
    else
        poll_connection_open(connection, visitor);
}

static void arrived(struct loop *loop, struct loop_message *message)
{
    struct journey *journey = CONTAINER_OF(message, struct journey, message);
    struct poll_connection *connection = journey->connection;
    struct worker *worker = loop->holder;
    uint64_t session = journey->session;
    struct front agent = journey->agent;
    int error = 0;
    if (worker->polls.is_over)
        conn_cargo_drop(journey->cargo);
    else
        error = conn_arrive(journey->cargo, loop, &poll_connection_events, connection,
                            &connection->conn);
    memory_free(journey);
    if (!worker->polls.is_over && error == 0)
        poll_connection_count(connection);
    if (worker->polls.is_over || error != 0)
        poll_connection_close(connection);
    else if (session != 0)
        poll_connection_serve(connection, session);
    else
        open_here(connection, &agent);
}

static void go(struct poll_connection *connection, unsigned worker, uint64_t session,
               const struct front *agent)
{
    struct journey *journey = memory_allocate_zero(sizeof(*journey));
    struct conn_cargo *cargo = journey != NULL ? conn_depart(connection->conn) : NULL;
    if (cargo == NULL) {
        memory_free(journey);
        poll_connection_close(connection);
        return;
    }
    journey->message.run = arrived;
    journey->connection = connection;
    journey->cargo = cargo;
    journey->session = session;
    if (agent != NULL)
        journey->agent = *agent;
    list_remove(&connection->clock_node);
    parking_leave(&connection->parking);
    worker_forget_stranger(connection->worker, &connection->stranger);
    loop_task_cancel(&connection->task);
    connection->conn = NULL;
    connection->worker = &connection->worker->gateway->workers[worker];
    loop_post(&connection->worker->loop, &journey->message);
}

void poll_move_request(struct poll_connection *connection, struct member_ref session)
{
    go(connection, session.worker, session.id, NULL);
}

void poll_move_open(struct poll_connection *connection, unsigned worker, const struct front *agent)
{
    go(connection, worker, 0, agent);
}
