#include "agent/session.h"

#include "base/error.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/reason.h"
#include "codec/message.h"
#include "policy/host.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

void session_tally_release(struct session_tally *tally)
{
    if (--tally->holders == 0)
        tally->released(tally);
}

void session_table_init(struct session_table *table, struct loop *loop, const char *name,
                        struct journal *journal, struct payers *payers)
{
    *table =
        (struct session_table){.loop = loop, .name = name, .journal = journal, .payers = payers};
    list_init(&table->sessions);
}

uint64_t session_sent(const struct session *session)
{
    return session->relay.side[0].received;
}

uint64_t session_received(const struct session *session)
{
    return session->relay.side[1].received;
}

uint64_t session_held(const struct session *session)
{
    const struct relay_side *side = session->relay.side;
    return side[0].received - side[1].written + side[1].received - side[0].written;
}

void session_note_progress(struct session *session, uint64_t now, bool is_first)
{
    uint64_t moved = session->relay.side[0].written + session->relay.side[1].written;
    if (moved != session->moved || is_first)
        session->moved_at = now;
    session->moved = moved;
}

/* ---- telling ---- */

/* Warns of a session that did not come about, unless there are very many. */
static void warn(struct session_table *table, struct log_limit *limit, const char *sentence)
{
    uint64_t left_out = 0;
    if (!log_limit_take(limit, loop_now(table->loop), &left_out))
        log_debug("%s", sentence);
    else if (left_out > 0)
        log_warning("%s (and %" PRIu64 " more like it were not logged)", sentence, left_out);
    else
        log_warning("%s", sentence);
}

static void tell_log(const struct session *session, int code, const char *text)
{
    const struct session_subject *subject = &session->subject;
    struct session_table *table = session->table;
    bool is_out = subject->direction == SESSION_OUT;
    bool was_open = session->relay.is_open;
    char target[HOST_PORT_TEXT_SIZE];
    char sentence[1024];
    host_port_text(subject->host, subject->port, target);
    if (is_out && !was_open && code != REASON_NONE) {
        snprintf(sentence, sizeof(sentence), "no session to %s: %s", subject->target, text);
        warn(table, &table->refused_out, sentence);
    } else if (!is_out && !was_open && code == REASON_NOT_ALLOWED) {
        snprintf(sentence, sizeof(sentence), "refused %s for %s: %s", target, subject->agent, text);
        warn(table, &table->refused_in, sentence);
    } else {
        log_debug("session %" PRIu64 " to %s %s %s ended after %" PRIu64 " bytes there and "
                  "%" PRIu64 " back: %s",
                  session->id, target, is_out ? "through" : "for", subject->agent,
                  session_sent(session), session_received(session), text);
    }
}

static void tell_journal(const struct session *session, enum event_type type, int code,
                         const char *reason)
{
    static const char *const enders[] = {
        [RELAY_ASKING] = "source", [RELAY_ANSWERING] = "target", [RELAY_OWNER] = "agent"};
    const struct session_table *table = session->table;
    const struct session_subject *subject = &session->subject;
    bool is_out = subject->direction == SESSION_OUT;
    struct event event = {
        .type = type,
        .agent = is_out ? subject->agent : table->name,
        .session = session->id,
        .source = is_out ? table->name : subject->agent,
        .client = subject->client,
        .kind = "tcp",
        .host = subject->host,
        .port = subject->port,
        .key = subject->key,
        .code = code,
        .reason = reason,
    };
    if (type == EVENT_SESSION_CLOSED) {
        event.sent = session_sent(session);
        event.received = session_received(session);
        event.seconds = (double)(loop_now(table->loop) - session->since) / 1e6;
        event.ended_by = enders[session->relay.ended_by];
    }
    journal_emit(table->journal, &event);
}

/* ---- the relay's events ---- */

static void bury(struct loop_task *task)
{
    struct session *session = CONTAINER_OF(task, struct session, burial);
    explicit_bzero(session->texts, session->text_size);
    memory_free(session);
}

static void opened(struct relay *relay)
{
    struct session *session = CONTAINER_OF(relay, struct session, relay);
    /* The gateway recognizes by it a connection that comes back to it through a rule. */
    if (session->subject.direction == SESSION_IN)
        relay->side[0].stream->dialled = relay->side[1].stream->dialled;
    tell_journal(session, EVENT_SESSION_OPENED, REASON_NONE, NULL);
}

static void ended(struct relay *relay, int code, const char *reason)
{
    struct session *session = CONTAINER_OF(relay, struct session, relay);
    struct session_table *table = session->table;
    struct session_tally *tally = session->subject.tally;
    const char *text = reason != NULL ? reason : reason_text(code);
    tell_log(session, code, text);
    tell_journal(session, relay->is_open ? EVENT_SESSION_CLOSED : EVENT_SESSION_REFUSED, code,
                 text);
    if (tally != NULL) {
        tally->open--;
        tally->sent += session_sent(session);
        tally->received += session_received(session);
        session_tally_release(tally);
    }
    if (session->subject.asker != NULL)
        asker_drop_socket(session->subject.asker);
    if (session->payer != NULL)
        payers_leave(table->payers, session->payer);
    session->payer = NULL;
    list_remove(&session->node);
    loop_bury(table->loop, &session->burial);
    if (--table->count == 0 && table->emptied != NULL)
        table->emptied(table);
}

static const struct relay_owner relay_handlers = {.opened = opened, .ended = ended};

/* ---- starting ---- */

enum { TEXT_COUNT = 5 };

/* The places in a subject where its texts stand. */
static void list_texts(struct session_subject *subject, const char **places[TEXT_COUNT])
{
    places[0] = &subject->agent;
    places[1] = &subject->host;
    places[2] = &subject->client;
    places[3] = &subject->key;
    places[4] = &subject->target;
}

static struct session *new_session(const struct session_subject *subject)
{
    struct session_subject copy = *subject;
    const char **places[TEXT_COUNT];
    size_t size = 0;
    list_texts(&copy, places);
    for (int i = 0; i < TEXT_COUNT; i++)
        size += *places[i] != NULL ? strlen(*places[i]) + 1 : 0;
    struct session *session = memory_allocate_zero(sizeof(*session) + size);
    if (session == NULL)
        return NULL;
    char *next = session->texts;
    for (int i = 0; i < TEXT_COUNT; i++) {
        if (*places[i] == NULL)
            continue;
        size_t length = strlen(*places[i]) + 1;
        memcpy(next, *places[i], length);
        *places[i] = next;
        next += length;
    }
    session->subject = copy;
    session->text_size = size;
    return session;
}

/* The payer of the asking agent, or that of all local clients. */
static int find_payer(struct session *session, struct payers *payers)
{
    char name[MESSAGE_MAX_NAME + sizeof("agent ")];
    if (payers == NULL)
        return 0;
    bool is_in = session->subject.direction == SESSION_IN;
    snprintf(name, sizeof(name), "%s%s", is_in ? "agent " : "clients",
             is_in ? session->subject.agent : "");
    session->payer = payers_join(payers, name);
    return session->payer != NULL ? 0 : CULVERT_ERROR_NO_MEMORY;
}

void session_start(struct session_table *table, struct stream *asking, struct stream *answering,
                   const struct session_subject *subject)
{
    struct session *session = new_session(subject);
    if (session == NULL || find_payer(session, table->payers) != 0) {
        memory_free(session);
        stream_refuse(asking, REASON_NO_MEMORY, NULL);
        stream_refuse(answering, REASON_NO_MEMORY, NULL);
        return;
    }
    session->table = table;
    session->burial.run = bury;
    session->id = ++table->last_id;
    session->since = loop_now(table->loop);
    session->moved_at = session->since;
    list_append(&table->sessions, &session->node);
    table->count++;
    if (subject->asker != NULL)
        asker_keep_socket(subject->asker);
    if (subject->tally != NULL) {
        subject->tally->holders++;
        subject->tally->open++;
        subject->tally->total++;
    }
    relay_join(&session->relay, asking, answering, &relay_handlers);
}

/* ---- the table ---- */

static struct session *session_at(struct list_node *node)
{
    return CONTAINER_OF(node, struct session, node);
}

void session_table_add_up(struct session_table *table)
{
    struct list_node *node = list_first(&table->sessions);
    for (; node != NULL; node = list_next(&table->sessions, node)) {
        const struct session *session = session_at(node);
        struct session_tally *tally = session->subject.tally;
        if (tally == NULL)
            continue;
        tally->open_sent += session_sent(session);
        tally->open_received += session_received(session);
    }
}

struct session *session_find(const struct session_table *table, uint64_t id)
{
    struct list_node *node = list_first(&table->sessions);
    while (node != NULL && session_at(node)->id != id)
        node = list_next(&table->sessions, node);
    return node != NULL ? session_at(node) : NULL;
}

int session_table_end(struct session_table *table, uint64_t id, const char *reason)
{
    struct session *session = session_find(table, id);
    if (session == NULL)
        return CULVERT_ERROR_NOT_FOUND;
    relay_abort(&session->relay, REASON_SHUTDOWN, reason);
    return 0;
}

void session_table_abort(struct session_table *table, int code, const char *reason)
{
    struct list_node *node;
    while ((node = list_pop(&table->sessions)) != NULL)
        relay_abort(&session_at(node)->relay, code, reason);
}
