#include "gateway/asking.h"

#include "base/memory.h"
#include "base/reason.h"
#include "gateway/authorizer.h"
#include "gateway/member.h"
#include "gateway/request.h"
#include "gateway/session.h"
#include "relay/hold.h"

#include <string.h>
#include <time.h>

static const char too_many_refused[] =
    "too many of this agent's sessions were refused; try again in a second";

/* An agent whose questions to the access list wait. */
struct asking_agent {
    struct list_node node; /* in the worker's queue */
    struct worker *worker;
    struct member *member; /* NULL: it has ended */
    struct list askings;   /* oldest first; never empty */
    unsigned count;
    struct refusal_budget refusals; /* the member's, after its end */
};

/* An open question, and the stream that waits for the answer. */
struct asking {
    struct lua_question question;
    struct worker *worker;
    uint64_t member; /* who asks */
    struct request *request;
    struct hold hold;
    /* While it waits for the access list: */
    struct list_node node;
    struct authorizer_question *rules; /* NULL: it has not begun */
    uint64_t spent;                    /* microseconds of the processor */
};

static void gone(struct hold *hold)
{
    /* Detaches the question, so that a later answer has no effect. */
    (void)hold;
}

/* Takes the stream; refuses it if there is no memory. */
static struct asking *asking_new(struct member *member, struct request *request,
                                 struct stream *stream)
{
    struct worker *worker = member->worker;
    struct asking *asking = memory_allocate_zero(sizeof(*asking));
    if (asking == NULL) {
        session_refuse(worker, request, stream, REASON_NO_MEMORY, NULL);
        return NULL;
    }
    asking->worker = worker;
    asking->member = member->id;
    asking->request = request_ref(request);
    hold_start(&asking->hold, stream, &worker->loop.pool, gone);
    return asking;
}

static void end_rules(struct asking *asking)
{
    if (asking->rules == NULL)
        return;
    authorizer_end(asking->rules);
    memory_free(asking->rules);
    asking->rules = NULL;
}

static void asking_free(struct asking *asking)
{
    end_rules(asking);
    hold_deinit(&asking->hold);
    request_unref(asking->request);
    memory_free(asking);
}

static void refuse(struct asking *asking, int code, const char *why)
{
    struct stream *stream = hold_release(&asking->hold);
    if (stream != NULL)
        session_refuse(asking->worker, asking->request, stream, code, why);
    asking_free(asking);
}

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

/* As an event of the stream. */
static void act_and_free(struct asking *asking, const struct policy_verdict *verdict)
{
    struct stream *stream = hold_release(&asking->hold);
    if (stream != NULL) {
        act(asking->worker, asking->request, stream, verdict);
        hold_pass_on(&asking->hold, stream);
    }
    asking_free(asking);
}

/* ---- the script ---- */

static void answered(struct loop *loop, struct lua_question *question)
{
    struct asking *asking = CONTAINER_OF(question, struct asking, question);
    struct member *member = member_find(asking->worker, asking->member);
    if (member != NULL)
        member->questions--;
    if (member != NULL && !question->verdict.allowed)
        refusal_budget_charge(&member->refusals, loop_now(loop), 0);
    act_and_free(asking, &question->verdict);
}

/* `member` NULL: it has ended. */
static void ask_script(struct asking *asking, struct member *member)
{
    struct worker *worker = asking->worker;
    if (member != NULL && member->questions >= ASKING_QUESTIONS) {
        refuse(asking, REASON_LIMIT,
               "too many of this agent's sessions wait for the policy script");
        return;
    }
    if (host_parse(text_of(asking->request->asks.host), NULL) == HOST_INVALID) {
        refuse(asking, REASON_FORBIDDEN, "the host is neither a name nor an address");
        return;
    }
    asking->question.kind = LUA_CONNECT;
    asking->question.loop = &worker->loop;
    asking->question.answered = answered;
    asking->question.request = asking->request->asks;
    if (authorizer_ask(&worker->gateway->authorizer, &asking->question) != 0)
        refuse(asking, REASON_LIMIT, "too many sessions wait for the policy script");
    else if (member != NULL)
        member->questions++;
}

/* ---- the access list ---- */

/* Microseconds of CPU time of this thread, so that no agent is charged for the time in which
 * another process ran. */
static uint64_t processor_time(void)
{
    struct timespec time = {0};
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return (uint64_t)time.tv_sec * 1000000 + (uint64_t)time.tv_nsec / 1000;
}

/* Works on a question until it is answered or the time is over; adds the CPU time that it took. */
static bool work_on(struct worker *worker, struct authorizer_question *question, uint64_t time,
                    uint64_t *spent, struct policy_verdict *verdict)
{
    uint64_t begin = uv_hrtime();
    uint64_t used = processor_time();
    bool is_answered = false;
    for (uint64_t passed = 0; !is_answered && passed < time;) {
        is_answered = authorizer_work(question, ASKING_WORK, &worker->denials, verdict);
        passed = (uv_hrtime() - begin) / 1000;
    }
    *spent += processor_time() - used;
    return is_answered;
}

/* Returns the microseconds of this turn that are left for a question. */
static uint64_t time_left(struct worker *worker)
{
    struct asking_queue *queue = &worker->asking;
    uint64_t now = loop_now(&worker->loop);
    if (queue->turn != now) {
        queue->turn = now;
        queue->spent = 0;
    }
    uint64_t left = queue->spent < ASKING_TURN ? ASKING_TURN - queue->spent : 0;
    return left < ASKING_SLICE ? left : ASKING_SLICE;
}

static struct refusal_budget *budget_of(struct asking_agent *agent)
{
    return agent->member != NULL ? &agent->member->refusals : &agent->refusals;
}

/* Removes the agent's oldest question; frees the agent if that was the last one. */
static void take_off(struct asking_agent *agent, struct asking *asking)
{
    list_remove(&asking->node);
    if (--agent->count > 0)
        return;
    if (agent->member != NULL)
        agent->member->asking = NULL;
    list_remove(&agent->node);
    memory_free(agent);
}

/* The checks before the script have answered. */
static void settle(struct asking_agent *agent, struct asking *asking,
                   const struct policy_verdict *verdict)
{
    struct worker *worker = asking->worker;
    struct member *member = agent->member;
    if (!verdict->allowed)
        refusal_budget_charge(budget_of(agent), loop_now(&worker->loop), asking->spent);
    take_off(agent, asking);
    end_rules(asking);
    if (verdict->allowed && !worker->is_draining &&
        authorizer_has_script(&worker->gateway->authorizer))
        ask_script(asking, member);
    else
        act_and_free(asking, verdict);
}

/* Begins the agent's oldest question. Returns whether it needs work; otherwise it is answered. */
static bool begin(struct asking_agent *agent, struct asking *asking)
{
    struct worker *worker = agent->worker;
    struct policy_verdict verdict = {0};
    if (!refusal_budget_has(budget_of(agent), loop_now(&worker->loop))) {
        take_off(agent, asking);
        refuse(asking, REASON_LIMIT, too_many_refused);
        return false;
    }
    asking->rules = memory_allocate_zero(sizeof(*asking->rules));
    if (asking->rules == NULL) {
        take_off(agent, asking);
        refuse(asking, REASON_NO_MEMORY, NULL);
        return false;
    }
    bool is_answered = authorizer_begin(&worker->gateway->authorizer, asking->rules,
                                        &asking->request->asks, &worker->denials, &verdict);
    if (is_answered)
        settle(agent, asking, &verdict);
    return !is_answered;
}

/* Serves the first agent of the queue, and moves it to the end. */
static void serve_next(struct asking_queue *queue, uint64_t time)
{
    struct asking_agent *agent = CONTAINER_OF(list_pop(&queue->agents), struct asking_agent, node);
    struct worker *worker = agent->worker;
    struct asking *asking = CONTAINER_OF(list_first(&agent->askings), struct asking, node);
    struct policy_verdict verdict = {0};
    list_append(&queue->agents, &agent->node);
    if (asking->hold.stream == NULL) {
        take_off(agent, asking);
        asking_free(asking);
        return;
    }
    if (asking->rules == NULL && !begin(agent, asking))
        return;
    if (worker->is_draining || work_on(worker, asking->rules, time, &asking->spent, &verdict))
        settle(agent, asking, &verdict);
}

static void run_queue(struct loop_task *task)
{
    struct asking_queue *queue = CONTAINER_OF(task, struct asking_queue, task);
    struct worker *worker = CONTAINER_OF(queue, struct worker, asking);
    uint64_t time = time_left(worker);
    uint64_t before = queue->spent;
    uint64_t begin = uv_hrtime();
    while (!list_is_empty(&queue->agents) && time > 0) {
        serve_next(queue, time);
        queue->spent = before + (uv_hrtime() - begin) / 1000;
        time = time_left(worker);
    }
    if (!list_is_empty(&queue->agents))
        loop_defer_next(&worker->loop, &queue->task);
}

/* Returns the member's entry in the queue, a new one if it has none; NULL: no memory. */
static struct asking_agent *agent_of(struct member *member)
{
    if (member->asking != NULL)
        return member->asking;
    struct asking_agent *agent = memory_allocate_zero(sizeof(*agent));
    if (agent == NULL)
        return NULL;
    agent->worker = member->worker;
    agent->member = member;
    list_init(&agent->askings);
    list_append(&member->worker->asking.agents, &agent->node);
    member->asking = agent;
    return agent;
}

/* Appends a question to the agent's. */
static void wait_for_rules(struct member *member, struct asking *asking)
{
    struct worker *worker = member->worker;
    if (member->asking != NULL && member->asking->count >= ASKING_WAITING) {
        refuse(asking, REASON_LIMIT, "too many of this agent's sessions wait for the policy");
        return;
    }
    struct asking_agent *agent = agent_of(member);
    if (agent == NULL) {
        refuse(asking, REASON_NO_MEMORY, NULL);
        return;
    }
    list_append(&agent->askings, &asking->node);
    agent->count++;
    loop_defer_next(&worker->loop, &worker->asking.task);
}

/* ---- opens ---- */

/* The checks before the script have answered. Takes the stream. */
static void conclude(struct member *member, struct request *request, struct stream *stream,
                     const struct policy_verdict *verdict, uint64_t spent)
{
    struct worker *worker = member->worker;
    if (!verdict->allowed)
        refusal_budget_charge(&member->refusals, loop_now(&worker->loop), spent);
    if (!verdict->allowed || !authorizer_has_script(&worker->gateway->authorizer)) {
        act(worker, request, stream, verdict);
        return;
    }
    struct asking *asking = asking_new(member, request, stream);
    if (asking != NULL)
        ask_script(asking, member);
}

/* Continues a question in later turns. Takes the stream. */
static void go_on_later(struct member *member, struct request *request, struct stream *stream,
                        struct authorizer_question *question, uint64_t spent)
{
    struct asking *asking = asking_new(member, request, stream);
    struct authorizer_question *copy = asking != NULL ? memory_allocate(sizeof(*copy)) : NULL;
    if (copy != NULL) {
        *copy = *question;
        explicit_bzero(question, sizeof(*question));
        asking->rules = copy;
        asking->spent = spent;
        wait_for_rules(member, asking);
        return;
    }
    authorizer_end(question);
    if (asking != NULL)
        refuse(asking, REASON_NO_MEMORY, NULL);
}

/* Takes the stream. A question with a quick answer does not wait. */
static void ask(struct member *member, struct request *request, struct stream *stream)
{
    struct worker *worker = member->worker;
    struct authorizer *authorizer = &worker->gateway->authorizer;
    struct authorizer_question question;
    struct policy_verdict verdict = {0};
    uint64_t spent = 0;
    uint64_t time = list_is_empty(&worker->asking.agents) ? time_left(worker) : 0;
    if (time == 0 && authorizer_has_rules(authorizer)) {
        struct asking *asking = asking_new(member, request, stream);
        if (asking != NULL)
            wait_for_rules(member, asking);
        return;
    }
    bool is_answered =
        authorizer_begin(authorizer, &question, &request->asks, &worker->denials, &verdict) ||
        work_on(worker, &question, time, &spent, &verdict);
    worker->asking.spent += spent;
    if (!is_answered) {
        go_on_later(member, request, stream, &question, spent);
        return;
    }
    authorizer_end(&question);
    conclude(member, request, stream, &verdict, spent);
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
    if (worker->is_draining)
        session_refuse(worker, request, stream, REASON_SHUTDOWN, "the gateway is stopping");
    else if (!refusal_budget_has(&member->refusals, loop_now(&worker->loop)))
        session_refuse(worker, request, stream, REASON_LIMIT, too_many_refused);
    else
        ask(member, request, stream);
    request_unref(request);
}

void asking_leave(struct member *member)
{
    struct asking_agent *agent = member->asking;
    if (agent == NULL)
        return;
    agent->refusals = member->refusals;
    agent->member = NULL;
    member->asking = NULL;
}

/* ---- the queue ---- */

void asking_queue_init(struct asking_queue *queue)
{
    *queue = (struct asking_queue){.task.run = run_queue};
    list_init(&queue->agents);
}

void asking_queue_deinit(struct asking_queue *queue)
{
    struct list_node *node;
    while ((node = list_first(&queue->agents)) != NULL) {
        struct asking_agent *agent = CONTAINER_OF(node, struct asking_agent, node);
        struct asking *asking = CONTAINER_OF(list_first(&agent->askings), struct asking, node);
        take_off(agent, asking);
        asking_free(asking);
    }
    loop_task_cancel(&queue->task);
}
