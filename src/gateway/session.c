#include "gateway/session.h"

#include "base/error.h"
#include "base/memory.h"
#include "base/reason.h"
#include "gateway/crossing.h"
#include "gateway/member.h"
#include "relay/relay.h"

#include <string.h>

/* One relay on one worker. A session across workers is two of them, one on each side of the
 * crossing; the asking half is the one that is counted and told of. */
struct session {
    struct relay relay;
    struct worker *worker;
    struct list_node node;
    struct list_node waiting; /* at a member whose link is lost */
    struct loop_task burial;
    struct request *request; /* NULL: the answering half of a crossing */
    struct chain *chain;
    uint8_t place[MESSAGE_PLACE_SIZE]; /* of the answering agent, where this half knows it */
    uint64_t since;                    /* microseconds */
    char verdict[];                    /* why it is allowed */
};

static void bury(struct loop_task *task)
{
    struct session *session = CONTAINER_OF(task, struct session, burial);
    request_unref(session->request);
    memory_free(session);
}

/* ---- events ---- */

static struct journal *journal_of(const struct worker *worker)
{
    return worker->gateway->config->journal;
}

static void opened(struct relay *relay)
{
    struct session *session = CONTAINER_OF(relay, struct session, relay);
    chain_dialled(session->chain, session->place, relay->side[1].stream->dialled);
    if (session->request == NULL)
        return;
    struct event event = request_event(session->request, EVENT_SESSION_OPENED);
    event.reason = session->verdict;
    journal_emit(journal_of(session->worker), &event);
}

static void tell_refused(const struct worker *worker, const struct request *request, int code,
                         const char *reason)
{
    struct event event = request_event(request, EVENT_SESSION_REFUSED);
    event.code = code;
    event.reason = reason != NULL ? reason : reason_text(code);
    journal_emit(journal_of(worker), &event);
}

static void tell_closed(const struct session *session, int code, const char *reason)
{
    static const char *const ends[] = {
        [RELAY_ASKING] = "source", [RELAY_ANSWERING] = "target", [RELAY_OWNER] = "gateway"};
    const struct relay *relay = &session->relay;
    struct event event = request_event(session->request, EVENT_SESSION_CLOSED);
    event.sent = relay->side[0].received;
    event.received = relay->side[1].received;
    event.seconds = (double)(loop_now(&session->worker->loop) - session->since) / 1e6;
    event.ended_by = ends[relay->ended_by];
    event.code = code;
    event.reason = reason != NULL ? reason : reason_text(code);
    journal_emit(journal_of(session->worker), &event);
}

/* ---- two streams ---- */

static void ended(struct relay *relay, int code, const char *reason)
{
    struct session *session = CONTAINER_OF(relay, struct session, relay);
    list_remove(&session->node);
    list_remove(&session->waiting);
    chain_end(session->chain);
    session->chain = NULL;
    if (session->request != NULL) {
        if (relay->is_open)
            tell_closed(session, code, reason);
        else
            tell_refused(session->worker, session->request, code, reason);
        atomic_fetch_sub(&session->worker->gateway->sessions, 1);
    }
    loop_bury(&session->worker->loop, &session->burial);
}

static const struct relay_owner relay_handlers = {.opened = opened, .ended = ended};

/* Joins the streams, which it takes also when it fails: then it returns NULL. `request` is
 * borrowed; NULL for an answering half. */
static struct session *join(struct worker *worker, struct stream *asking, struct stream *answering,
                            struct request *request, const char *verdict)
{
    size_t size = strlen(verdict) + 1;
    struct session *session = memory_allocate_zero(sizeof(*session) + size);
    if (session == NULL) {
        stream_refuse(asking, REASON_NO_MEMORY, NULL);
        stream_refuse(answering, REASON_NO_MEMORY, NULL);
        return NULL;
    }
    session->worker = worker;
    session->burial.run = bury;
    session->since = loop_now(&worker->loop);
    memcpy(session->verdict, verdict, size);
    if (request != NULL) {
        session->request = request_ref(request);
        atomic_fetch_add(&worker->gateway->sessions, 1);
    }
    list_append(&worker->sessions, &session->node);
    relay_join(&session->relay, asking, answering, &relay_handlers);
    return session->relay.is_over ? NULL : session;
}

/* Takes the chain for the session, which may be NULL: then it has ended. */
static void set_chain(struct session *session, struct chain *chain)
{
    if (session != NULL)
        session->chain = chain;
    else
        chain_end(chain);
}

uint64_t session_end_waiting(struct list *waiting, uint64_t now)
{
    const uint64_t patience = (uint64_t)SESSION_PATIENCE * 1000000;
    struct list_node *node;
    while ((node = list_first(waiting)) != NULL) {
        struct session *session = CONTAINER_OF(node, struct session, waiting);
        if (now < session->since + patience)
            return session->since + patience;
        relay_abort(&session->relay, REASON_UNREACHABLE,
                    "the agent has lost its connection and is not back yet");
        list_remove(node);
    }
    return UINT64_MAX;
}

void session_abort_all(struct worker *worker, int code, const char *reason)
{
    struct list_node *node;
    while ((node = list_first(&worker->sessions)) != NULL) {
        struct session *session = CONTAINER_OF(node, struct session, node);
        relay_abort(&session->relay, code, reason);
        list_remove(node);
    }
}

void session_refuse(struct worker *worker, const struct request *request, struct stream *asking,
                    int code, const char *reason)
{
    tell_refused(worker, request, code, reason);
    stream_refuse(asking, code, reason);
}

/* ---- the answering agent's side ---- */

/* Opens a stream towards the member, which may be NULL. Returns NULL with an enum reason_code. */
static struct stream *open_towards(struct member *member, const struct request *request, int *code)
{
    *code = REASON_UNKNOWN_AGENT;
    if (member == NULL || member_has_left(member))
        return NULL;
    struct message_open open = request_open(request);
    struct stream *stream = NULL;
    int error = tunnel_open(member->tunnel, &open, &stream);
    *code = error == CULVERT_ERROR_NO_MEMORY ? REASON_NO_MEMORY : REASON_LIMIT;
    return error == 0 ? stream : NULL;
}

/* The session, which may be NULL, was opened towards the member. Takes the chain. */
static void mind_member(struct session *session, struct member *member, struct chain *chain)
{
    set_chain(session, chain);
    if (session == NULL)
        return;
    memcpy(session->place, member->place, sizeof(session->place));
    if (member->detached != 0)
        member_await(member, &session->waiting);
}

/* A request on its way to another worker. */
struct travelling_request {
    struct loop_message message;
    struct stream *asking; /* the crossing's end on the answering side */
    uint64_t member_id;
    struct request *request;
    struct chain *chain;
};

static void request_arrived(struct loop *loop, struct loop_message *message)
{
    struct travelling_request *travelling =
        CONTAINER_OF(message, struct travelling_request, message);
    struct worker *worker = loop->holder;
    int code = 0;
    struct member *member = member_find(worker, travelling->member_id);
    struct stream *answering = open_towards(member, travelling->request, &code);
    if (answering != NULL) {
        mind_member(join(worker, travelling->asking, answering, NULL, ""), member,
                    travelling->chain);
    } else {
        chain_end(travelling->chain);
        stream_refuse(travelling->asking, code, NULL);
    }
    request_unref(travelling->request);
    memory_free(travelling);
}

/* What is to become a session. */
struct start {
    struct request *request;
    struct stream *asking; /* taken */
    const char *verdict;
    struct chain *chain; /* taken */
};

static void refuse_start(struct worker *worker, const struct start *start, int code)
{
    chain_end(start->chain);
    session_refuse(worker, start->request, start->asking, code, NULL);
}

static void start_across(struct worker *worker, struct member_ref target, const struct start *start)
{
    struct worker *other = &worker->gateway->workers[target.worker];
    struct stream *near = NULL;
    struct stream *far = NULL;
    struct travelling_request *travelling = memory_allocate_zero(sizeof(*travelling));
    if (travelling == NULL || crossing_new(&worker->loop, &other->loop, &near, &far) != 0) {
        memory_free(travelling);
        refuse_start(worker, start, REASON_NO_MEMORY);
        return;
    }
    travelling->message.run = request_arrived;
    travelling->member_id = target.id;
    travelling->asking = far;
    travelling->request = request_ref(start->request);
    travelling->chain = chain_ref(start->chain);
    /* Posted first: what the near end sends on comes behind it. */
    loop_post(&other->loop, &travelling->message);
    set_chain(join(worker, start->asking, near, start->request, start->verdict), start->chain);
}

static void start_here(struct worker *worker, struct member_ref target, const struct start *start)
{
    int code = 0;
    struct member *member = member_find(worker, target.id);
    struct stream *answering = open_towards(member, start->request, &code);
    if (answering != NULL)
        mind_member(join(worker, start->asking, answering, start->request, start->verdict), member,
                    start->chain);
    else
        refuse_start(worker, start, code);
}

void session_begin(struct worker *worker, struct request *request, struct stream *asking,
                   const char *verdict)
{
    struct member_ref target;
    struct start start = {.request = request, .asking = asking, .verdict = verdict};
    const char *why = NULL;
    if (registry_find(&worker->gateway->registry, request->asks.agent, &target) != 0) {
        session_refuse(worker, request, asking, REASON_UNKNOWN_AGENT,
                       "no agent with this name is connected to this gateway, and agents at "
                       "different gateways cannot meet");
        return;
    }
    int error = chain_begin(&worker->gateway->chains, request, &start.chain, &why);
    if (error != 0)
        session_refuse(worker, request, asking,
                       error == CULVERT_ERROR_LIMIT ? REASON_LIMIT : REASON_NO_MEMORY, why);
    else if (target.worker == worker->loop.index)
        start_here(worker, target, &start);
    else
        start_across(worker, target, &start);
}
