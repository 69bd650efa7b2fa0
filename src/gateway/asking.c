#include "gateway/asking.h"

#include "base/memory.h"
#include "base/reason.h"
#include "gateway/authorizer.h"
#include "gateway/member.h"
#include "gateway/request.h"
#include "gateway/session.h"
#include "relay/hold.h"

/* A question to the script, and the stream that waits for its answer. */
struct asking {
    struct lua_question question;
    struct worker *worker;
    uint64_t member; /* who asks */
    struct request *request;
    struct hold hold;
};

static void act(struct worker *worker, struct request *request, struct stream *stream,
                const struct policy_verdict *verdict)
{
    if (worker->is_draining)
        session_refuse(worker, request, stream, REASON_SHUTDOWN, "the gateway is stopping");
    else if (!verdict->allowed)
        session_refuse(worker, request, stream,
                       verdict->failed ? REASON_POLICY_FAILED : REASON_FORBIDDEN, verdict->reason);
    else
        session_begin(worker, request, stream, verdict->reason);
}

static void gone(struct hold *hold)
{
    /* The answer, when it comes, finds nobody. */
    (void)hold;
}

static void answered(struct loop *loop, struct lua_question *question)
{
    struct asking *asking = CONTAINER_OF(question, struct asking, question);
    struct worker *worker = loop->holder;
    struct member *member = member_find(worker, asking->member);
    struct stream *stream = hold_release(&asking->hold);
    if (member != NULL)
        member->questions--;
    if (member != NULL && !question->verdict.allowed)
        refusal_budget_charge(&member->refusals, loop_now(loop), 0);
    if (stream != NULL) {
        act(worker, asking->request, stream, &question->verdict);
        hold_pass_on(&asking->hold, stream);
    }
    hold_deinit(&asking->hold);
    request_unref(asking->request);
    memory_free(asking);
}

/* Takes the stream. */
static void ask_script(struct member *member, struct request *request, struct stream *stream)
{
    struct worker *worker = member->worker;
    if (member->questions >= ASKING_QUESTIONS) {
        session_refuse(worker, request, stream, REASON_LIMIT,
                       "too many of this agent's sessions wait for the policy script");
        return;
    }
    struct asking *asking = memory_allocate_zero(sizeof(*asking));
    if (asking == NULL) {
        session_refuse(worker, request, stream, REASON_NO_MEMORY, NULL);
        return;
    }
    asking->worker = worker;
    asking->member = member->id;
    asking->request = request_ref(request);
    asking->question.kind = LUA_CONNECT;
    asking->question.loop = &worker->loop;
    asking->question.answered = answered;
    asking->question.request = request->asks;
    hold_start(&asking->hold, stream, &worker->loop.pool, gone);
    if (authorizer_ask(&worker->gateway->authorizer, &asking->question) == 0) {
        member->questions++;
        return;
    }
    session_refuse(worker, request, hold_release(&asking->hold), REASON_LIMIT,
                   "too many sessions wait for the policy script");
    request_unref(asking->request);
    memory_free(asking);
}

/* Asks all that answer at once. Returns whether the verdict is final. */
static bool decide(struct member *member, const struct request *request,
                   struct policy_verdict *verdict)
{
    struct worker *worker = member->worker;
    uint64_t begin = uv_hrtime();
    bool is_final = authorizer_decide(&worker->gateway->authorizer, &request->asks, verdict);
    if (is_final && !verdict->allowed)
        refusal_budget_charge(&member->refusals, loop_now(&worker->loop),
                              (uv_hrtime() - begin) / 1000);
    return is_final;
}

void asking_turn_away(struct member *member, struct stream *stream, int code, const char *why)
{
    struct event event = {
        .type = EVENT_SESSION_REFUSED,
        .source = member->name,
        .source_user = member->user,
        .source_address = member->address,
        .code = code,
        .reason = why,
    };
    journal_emit(member->worker->gateway->config->journal, &event);
    stream_refuse(stream, code, why);
}

void asking_begin(struct member *member, struct stream *stream, const struct message_open *open)
{
    struct worker *worker = member->worker;
    struct gateway *gateway = worker->gateway;
    struct request_source source = {member->name, member->user, member->address, member->place};
    int code = 0;
    const char *why = NULL;
    struct request *request =
        request_new(atomic_fetch_add(&gateway->next_session, 1) + 1, &source, open, &code, &why);
    if (request == NULL) {
        asking_turn_away(member, stream, code, why);
        return;
    }
    struct policy_verdict verdict = {0};
    if (!worker->is_draining && !refusal_budget_has(&member->refusals, loop_now(&worker->loop)))
        session_refuse(worker, request, stream, REASON_LIMIT,
                       "too many of this agent's sessions were refused; try again in a second");
    else if (worker->is_draining || decide(member, request, &verdict))
        act(worker, request, stream, &verdict);
    else
        ask_script(member, request, stream);
    request_unref(request);
}
