#include "gateway/session.h"

#include "base/error.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/reason.h"
#include "gateway/crossing.h"
#include "gateway/member.h"
#include "policy/policy.h"
#include "relay/relay.h"

#include <stdio.h>
#include <string.h>

/* One relay on one worker. A session across workers is two of them, one on each side of the
 * crossing. */
struct session {
    struct relay relay;
    struct worker *worker;
    struct list_node node;
    struct loop_task burial;
    bool is_answering_half; /* of a crossing: the asking half is counted */
};

static void bury(struct loop_task *task)
{
    memory_free(CONTAINER_OF(task, struct session, burial));
}

static void ended(struct relay *relay, int code, const char *reason)
{
    struct session *session = CONTAINER_OF(relay, struct session, relay);
    log_debug("session ended after %llu bytes there and %llu back: %s%s%s",
              (unsigned long long)relay->side[0].received,
              (unsigned long long)relay->side[1].received, reason_text(code),
              reason != NULL ? ": " : "", reason != NULL ? reason : "");
    list_remove(&session->node);
    if (!session->is_answering_half)
        atomic_fetch_sub(&session->worker->gateway->sessions, 1);
    loop_bury(&session->worker->loop, &session->burial);
}

static const struct relay_owner relay_handlers = {.ended = ended};

/* Joins the streams, which it takes also when it fails. */
static void join(struct worker *worker, struct stream *asking, struct stream *answering,
                 bool is_answering_half)
{
    struct session *session = memory_allocate_zero(sizeof(*session));
    if (session == NULL) {
        stream_refuse(asking, REASON_NO_MEMORY, NULL);
        stream_refuse(answering, REASON_NO_MEMORY, NULL);
        return;
    }
    session->worker = worker;
    session->burial.run = bury;
    session->is_answering_half = is_answering_half;
    list_append(&worker->sessions, &session->node);
    if (!is_answering_half)
        atomic_fetch_add(&worker->gateway->sessions, 1);
    relay_join(&session->relay, asking, answering, &relay_handlers);
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

/* ---- the answering agent's side ---- */

/* Opens a stream towards the member and joins it with `asking`, which it takes. */
static void open_towards(struct worker *worker, uint64_t member_id, struct stream *asking,
                         const struct message_open *open, bool is_answering_half)
{
    struct member *member = member_find(worker, member_id);
    if (member == NULL) {
        stream_refuse(asking, REASON_UNKNOWN_AGENT, "the agent has just gone");
        return;
    }
    struct stream *stream = NULL;
    int error = tunnel_open(member->tunnel, open, &stream);
    if (error != 0) {
        stream_refuse(asking, error == CULVERT_ERROR_NO_MEMORY ? REASON_NO_MEMORY : REASON_LIMIT,
                      NULL);
        return;
    }
    join(worker, asking, stream, is_answering_half);
}

/* An open on its way to another worker; the texts lie behind it. */
struct travelling_open {
    struct loop_message message;
    struct stream *asking; /* the crossing's end on the answering side */
    uint64_t member_id;
    struct message_open open;
    char texts[];
};

static void open_arrived(struct loop *loop, struct loop_message *message)
{
    struct travelling_open *travelling = CONTAINER_OF(message, struct travelling_open, message);
    open_towards(loop->holder, travelling->member_id, travelling->asking, &travelling->open, true);
    memory_free(travelling);
}

static struct travelling_open *pack(const struct message_open *open)
{
    const struct text *from[] = {&open->kind, &open->agent, &open->host, &open->source,
                                 &open->client};
    size_t size = 0;
    for (size_t i = 0; i < sizeof(from) / sizeof(from[0]); i++)
        size += from[i]->size;
    struct travelling_open *packed = memory_allocate_zero(sizeof(*packed) + size);
    if (packed == NULL)
        return NULL;
    packed->open = *open;
    struct text *to[] = {&packed->open.kind, &packed->open.agent, &packed->open.host,
                         &packed->open.source, &packed->open.client};
    char *place = packed->texts;
    for (size_t i = 0; i < sizeof(from) / sizeof(from[0]); i++) {
        if (from[i]->size > 0)
            memcpy(place, from[i]->data, from[i]->size);
        to[i]->data = place;
        place += from[i]->size;
    }
    return packed;
}

static void open_across(struct worker *worker, struct member_ref target, struct stream *asking,
                        const struct message_open *open)
{
    struct worker *other = &worker->gateway->workers[target.worker];
    struct stream *near = NULL;
    struct stream *far = NULL;
    struct travelling_open *travelling = pack(open);
    if (travelling == NULL || crossing_new(&worker->loop, &other->loop, &near, &far) != 0) {
        memory_free(travelling);
        stream_refuse(asking, REASON_NO_MEMORY, NULL);
        return;
    }
    travelling->message.run = open_arrived;
    travelling->member_id = target.id;
    travelling->asking = far;
    /* Posted first: what the near end sends on comes behind it. */
    loop_post(&other->loop, &travelling->message);
    join(worker, asking, near, false);
}

/* ---- the asking agent's side ---- */

struct request_texts {
    char kind[MESSAGE_MAX_KIND + 1];
    char agent[MESSAGE_MAX_NAME + 1];
    char host[MESSAGE_MAX_HOST + 1];
    char key[MESSAGE_MAX_KEY + 1];
};

static int copy_texts(const struct message_open *open, struct request_texts *texts)
{
    if (text_copy(open->kind, texts->kind, sizeof(texts->kind)) != 0 ||
        text_copy(open->agent, texts->agent, sizeof(texts->agent)) != 0 ||
        text_copy(open->host, texts->host, sizeof(texts->host)) != 0 ||
        text_copy(open->key, texts->key, sizeof(texts->key)) != 0)
        return CULVERT_ERROR_TOO_LARGE;
    return str_is_agent_name(open->agent) && open->host.size > 0 ? 0 : CULVERT_ERROR_INVALID;
}

static struct policy_verdict ask_policy(const struct member *member)
{
    const struct gateway_config *config = member->worker->gateway->config;
    struct policy_verdict verdict;
    if (config->deny)
        policy_refuse(&verdict, "the gateway denies every session");
    else
        policy_allow(&verdict, "the gateway grants every session");
    return verdict;
}

static void refuse_request(const struct member *member, struct stream *stream,
                           const struct message_open *open, int code, const char *reason)
{
    log_info("refused session %s -> %.*s:%.*s:%u: %s", member->name, (int)open->agent.size,
             open->agent.data, (int)open->host.size, open->host.data, open->port, reason);
    stream_refuse(stream, code, reason);
}

void session_request(struct member *member, struct stream *stream, const struct message_open *open)
{
    struct worker *worker = member->worker;
    struct request_texts texts;
    if (copy_texts(open, &texts) != 0) {
        refuse_request(member, stream, open, REASON_PROTOCOL,
                       "the request names no possible target");
        return;
    }
    if (worker->is_draining) {
        refuse_request(member, stream, open, REASON_SHUTDOWN, "the gateway is stopping");
        return;
    }
    struct policy_verdict verdict = ask_policy(member);
    if (!verdict.allowed) {
        refuse_request(member, stream, open, REASON_FORBIDDEN, verdict.reason);
        return;
    }
    struct member_ref target;
    if (registry_find(&worker->gateway->registry, texts.agent, &target) != 0) {
        refuse_request(member, stream, open, REASON_UNKNOWN_AGENT,
                       "no agent with this name is connected");
        return;
    }
    log_debug("session %s -> %s:%s:%u", member->name, texts.agent, texts.host, open->port);
    /* The identity that routes is the one that was authorised; the key was for policy alone. */
    struct message_open onward = *open;
    onward.source = text_of(member->name);
    onward.client = text_of(member->address);
    onward.key = TEXT_NULL;
    if (target.worker == worker->loop.index)
        open_towards(worker, target.id, stream, &onward, false);
    else
        open_across(worker, target, stream, &onward);
}
