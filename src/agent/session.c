#include "agent/session.h"

#include "base/log.h"
#include "base/memory.h"
#include "base/reason.h"
#include "relay/relay.h"

struct session {
    struct relay relay;
    struct session_table *table;
    struct list_node node;
    struct loop_task burial;
    const char *target; /* of a session that we asked for */
    char *asked;        /* what a peer asked for; may be NULL */
};

void session_table_init(struct session_table *table, struct loop *loop)
{
    *table = (struct session_table){.loop = loop};
    list_init(&table->sessions);
}

static void bury(struct loop_task *task)
{
    struct session *session = CONTAINER_OF(task, struct session, burial);
    memory_free(session->asked);
    memory_free(session);
}

static void report(const struct session *session, int code, const char *reason)
{
    const struct relay *relay = &session->relay;
    const char *text = reason != NULL ? reason : reason_text(code);
    const char *name = session->target != NULL  ? session->target
                       : session->asked != NULL ? session->asked
                                                : "";
    if (session->target != NULL && !relay->is_open && code != REASON_NONE)
        log_warning("no session to %s: %s", session->target, text);
    else if (session->asked != NULL && !relay->is_open && code == REASON_FORBIDDEN)
        log_warning("refused %s: --allow does not name it", session->asked);
    else
        log_debug("session %s%sended after %llu bytes there and %llu back: %s", name,
                  name[0] != 0 ? " " : "", (unsigned long long)relay->side[0].received,
                  (unsigned long long)relay->side[1].received, text);
}

static void ended(struct relay *relay, int code, const char *reason)
{
    struct session *session = CONTAINER_OF(relay, struct session, relay);
    struct session_table *table = session->table;
    report(session, code, reason);
    list_remove(&session->node);
    loop_bury(table->loop, &session->burial);
    if (--table->count == 0 && table->emptied != NULL)
        table->emptied(table);
}

static const struct relay_owner relay_handlers = {.ended = ended};

static struct session *join(struct session_table *table, struct stream *asking,
                            struct stream *answering)
{
    struct session *session = memory_allocate_zero(sizeof(*session));
    if (session == NULL) {
        stream_refuse(asking, REASON_NO_MEMORY, NULL);
        stream_refuse(answering, REASON_NO_MEMORY, NULL);
        return NULL;
    }
    session->table = table;
    session->burial.run = bury;
    list_append(&table->sessions, &session->node);
    table->count++;
    relay_join(&session->relay, asking, answering, &relay_handlers);
    return session;
}

void session_join(struct session_table *table, struct stream *asking, struct stream *answering,
                  const char *target)
{
    struct session *session = join(table, asking, answering);
    if (session != NULL)
        session->target = target;
}

void session_answer(struct session_table *table, struct stream *asking, struct stream *answering,
                    const char *asked)
{
    struct session *session = join(table, asking, answering);
    if (session != NULL)
        session->asked = memory_copy_text(asked);
}

void session_table_abort(struct session_table *table, int code, const char *reason)
{
    struct list_node *node;
    while ((node = list_pop(&table->sessions)) != NULL)
        relay_abort(&CONTAINER_OF(node, struct session, node)->relay, code, reason);
}
