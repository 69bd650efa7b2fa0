#include "gateway/login.h"

#include "base/error.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/reason.h"
#include "gateway/address_group.h"
#include "gateway/dialect.h"
#include "gateway/resume.h"
#include "gateway/visitor.h"

#include <stdio.h>
#include <string.h>

enum { MAX_CLAIMS = 3 };

void login_tell_refused(const struct visitor *visitor, int code, const char *why)
{
    struct event event = {
        .type = EVENT_AUTH_FAILED,
        .agent = visitor->name,
        .address = visitor->address,
        .origin = address_group(visitor->front.address),
        .code = code,
        .reason = why,
    };
    journal_emit(visitor->worker->gateway->config->journal, &event);
}

static void drop_piece(struct carrier *carrier, struct slice piece)
{
    (void)carrier;
    slice_drop(&piece);
}

static void ignore_loss(struct carrier *carrier, int error, const char *why)
{
    (void)carrier;
    (void)error;
    (void)why;
}

/* Of a carrier that is closed next: it has no holder any more, or none yet. */
static const struct carrier_events nobody_listens = {
    .data = drop_piece,
    .message_end = dialect_ignore,
    .read_end = dialect_ignore,
    .ready = dialect_ignore,
    .lost = ignore_loss,
};

void login_answer_no(struct worker *worker, const struct dialect *dialect, struct carrier *carrier,
                     int code, const char *why)
{
    struct message message = {.type = MESSAGE_ACK, .is_handshake_ack = true, .is_known = true};
    message.welcome.ok = false;
    message.welcome.code = code;
    message.welcome.message = text_of(why);
    struct slice_queue batch = SLICE_QUEUE_NULL;
    uint8_t buffer[MESSAGE_MAX_CONTROL];
    int size = dialect->encode(&message, buffer, sizeof(buffer));
    struct slice slice = SLICE_NULL;
    carrier->events = &nobody_listens;
    if (size > 0 && slice_copy(&worker->loop.pool, buffer, (size_t)size, &slice) == 0 &&
        slice_queue_push(&batch, slice) == 0 && carrier->operations->is_ready(carrier)) {
        carrier->operations->send(carrier, &batch);
        carrier->operations->flush(carrier);
    }
    slice_queue_deinit(&batch);
}

void login_turn_away(struct visitor *visitor, int code, const char *why)
{
    login_answer_no(visitor->worker, visitor->dialect, visitor->carrier, code, why);
    visitor_end(visitor, CULVERT_ERROR_REFUSED, why);
}

void login_refuse(struct visitor *visitor, int code, const char *why)
{
    login_tell_refused(visitor, code, why);
    login_turn_away(visitor, code, why);
}

/* ---- the name ---- */

static void claim(struct visitor *visitor);
static void check_key_again(struct visitor *visitor);

static void become_member(struct visitor *visitor)
{
    struct worker *worker = visitor->worker;
    struct message_handshake handshake = {
        .epoch = visitor->epoch,
        .first = visitor->first,
        .window = visitor->window,
    };
    memcpy(handshake.boot, visitor->boot, sizeof(handshake.boot));
    memcpy(handshake.place, visitor->place, sizeof(handshake.place));
    struct member_login login = {
        .id = visitor->id,
        .name = visitor->name,
        .user = visitor->user,
        .key_id = visitor->key_id,
        .address = visitor->address,
        .host = visitor->front.address,
        .dialect = visitor->dialect,
        .handshake = &handshake,
    };
    int error = member_new(worker, &login, visitor->carrier);
    if (error != 0) {
        if (visitor->name[0] != '\0')
            registry_release(&worker->gateway->registry, visitor->name, visitor->id);
        login_refuse(visitor, REASON_NO_MEMORY, "the gateway has no memory for another agent");
        return;
    }
    visitor->carrier = NULL;
    visitor_end(visitor, 0, NULL);
}

static void probe_answered(struct worker *worker, struct probe *probe)
{
    struct visitor *visitor = visitor_find(worker, probe->visitor);
    bool is_alive = probe->is_alive;
    memory_free(probe);
    if (visitor == NULL)
        return;
    if (is_alive)
        login_refuse(visitor, REASON_NAME_TAKEN,
                     "an agent with this name is connected and answers");
    else
        check_key_again(visitor);
}

static void probe_holder(struct visitor *visitor, struct member_ref holder)
{
    struct probe *probe = memory_allocate_zero(sizeof(*probe));
    if (probe == NULL) {
        login_refuse(visitor, REASON_NO_MEMORY, "the gateway is out of memory");
        return;
    }
    probe->member = holder;
    probe->asker = visitor->worker->loop.index;
    probe->visitor = visitor->id;
    probe->gateway = visitor->worker->gateway;
    probe->key_id = visitor->key_id;
    memcpy(probe->boot, visitor->boot, sizeof(probe->boot));
    probe->answered = probe_answered;
    log_debug("agent %s from %s has to wait: the holder of its name is asked", visitor->name,
              visitor->address);
    probe_send(probe);
}

static void claim(struct visitor *visitor)
{
    struct worker *worker = visitor->worker;
    struct member_ref ref = {worker->loop.index, visitor->id};
    struct member_ref holder;
    if (visitor->resumption != NULL) {
        resume_finish(visitor);
        return;
    }
    if (++visitor->claims > MAX_CLAIMS) {
        login_refuse(visitor, REASON_NAME_TAKEN, "other agents want this name at the same time");
        return;
    }
    /* An agent of Hubble 0.1 may have no name; it can ask, but not be asked for. */
    if (visitor->name[0] == '\0') {
        become_member(visitor);
        return;
    }
    int error = registry_claim(&worker->gateway->registry, visitor->name, ref, &holder);
    if (error == 0)
        become_member(visitor);
    else if (error == CULVERT_ERROR_EXISTS)
        probe_holder(visitor, holder);
    else
        login_refuse(visitor, REASON_NO_MEMORY, "the gateway is out of memory");
}

/* ---- the script ---- */

/* A question to the policy script about a visitor, who may be gone before its answer. */
struct script_question {
    struct lua_question question;
    uint64_t visitor;
    char name[STORE_NAME_SIZE];
    char user[STORE_NAME_SIZE];
    char address[ADDRESS_TEXT_SIZE];
};

static void script_answered(struct loop *loop, struct lua_question *question)
{
    struct script_question *asked = CONTAINER_OF(question, struct script_question, question);
    struct visitor *visitor = visitor_find(loop->holder, asked->visitor);
    const struct policy_verdict *verdict = &question->verdict;
    if (visitor != NULL && verdict->allowed)
        claim(visitor);
    else if (visitor != NULL)
        login_refuse(visitor, verdict->failed ? REASON_POLICY_FAILED : REASON_FORBIDDEN,
                     verdict->reason);
    memory_free(asked);
}

/* The key is right; the script may have something against it. */
static void ask_script(struct visitor *visitor)
{
    struct authorizer *authorizer = &visitor->worker->gateway->authorizer;
    if (!authorizer_registers(authorizer)) {
        claim(visitor);
        return;
    }
    struct script_question *asked = memory_allocate_zero(sizeof(*asked));
    if (asked == NULL) {
        login_refuse(visitor, REASON_NO_MEMORY, "the gateway is out of memory");
        return;
    }
    asked->visitor = visitor->id;
    memcpy(asked->name, visitor->name, sizeof(asked->name));
    memcpy(asked->user, visitor->user, sizeof(asked->user));
    memcpy(asked->address, visitor->front.text, sizeof(asked->address));
    asked->question.kind = LUA_REGISTER;
    asked->question.loop = &visitor->worker->loop;
    asked->question.answered = script_answered;
    asked->question.request = (struct policy_request){
        .source = asked->name[0] != '\0' ? asked->name : POLICY_NOBODY,
        .user = asked->user,
        .address = asked->address,
        .kind = "",
        .agent = "",
        .host = "",
        .key = "",
    };
    if (authorizer_ask(authorizer, &asked->question) != 0) {
        memory_free(asked);
        login_refuse(visitor, REASON_LIMIT, "too many agents wait for the policy script");
    }
}

/* ---- the key ---- */

/* A question about a visitor's key; it finds the visitor by id, who may be gone by then. */
struct key_question {
    struct store_question question;
    uint64_t visitor;
    bool is_first; /* whether the key is right, not whether it still is */
};

/* The agent does not learn which names and keys there are; the log says what is wrong. */
static void refuse_key(struct visitor *visitor, enum store_denial denial)
{
    login_tell_refused(visitor, REASON_FORBIDDEN, store_denial_text(denial));
    login_turn_away(visitor, REASON_FORBIDDEN, "the key is not valid for this name");
}

static void key_answered(struct loop *loop, struct store_question *question)
{
    struct key_question *asked = CONTAINER_OF(question, struct key_question, question);
    struct visitor *visitor = visitor_find(loop->holder, asked->visitor);
    int error = question->error;
    int64_t key_id = question->key_id;
    enum store_denial denial = question->denial;
    if (visitor != NULL && error == 0 && asked->is_first)
        memcpy(visitor->user, question->user, sizeof(visitor->user));
    bool is_first = asked->is_first;
    memory_free(asked);
    if (visitor == NULL)
        return;
    if (error == 0) {
        visitor->key_id = key_id;
        if (is_first)
            ask_script(visitor);
        else
            claim(visitor);
    } else if (error == CULVERT_ERROR_REFUSED) {
        refuse_key(visitor, denial);
    } else {
        log_error("the key of agent %s could not be checked: %s", visitor->name, error_text(error));
        login_refuse(visitor, REASON_LIMIT, "the gateway cannot check keys now");
    }
}

/* NULL: out of memory, and the visitor was refused. */
static struct key_question *ask(struct visitor *visitor)
{
    struct key_question *asked = memory_allocate_zero(sizeof(*asked));
    if (asked == NULL) {
        login_refuse(visitor, REASON_NO_MEMORY, "the gateway is out of memory");
        return NULL;
    }
    asked->visitor = visitor->id;
    asked->question.loop = &visitor->worker->loop;
    asked->question.answered = key_answered;
    return asked;
}

static void not_asked(struct visitor *visitor, struct key_question *asked)
{
    memory_free(asked);
    login_refuse(visitor, REASON_LIMIT, "too many agents are logging in");
}

void login_check_key(struct visitor *visitor, struct text key)
{
    struct store_watch *watch = visitor->worker->gateway->watch;
    if (watch == NULL) {
        ask_script(visitor);
        return;
    }
    struct key_question *asked = ask(visitor);
    if (asked != NULL)
        asked->is_first = true;
    if (asked != NULL && store_watch_check(watch, &asked->question, visitor->name, key) != 0)
        not_asked(visitor, asked);
}

/* The key may have been revoked while the name's holder was asked whether it is there, and who is
 * no member yet is not among those whose keys are looked at then. */
static void check_key_again(struct visitor *visitor)
{
    struct store_watch *watch = visitor->worker->gateway->watch;
    if (watch == NULL) {
        claim(visitor);
        return;
    }
    struct key_question *asked = ask(visitor);
    if (asked != NULL && store_watch_recheck(watch, &asked->question, visitor->key_id) != 0)
        not_asked(visitor, asked);
}

/* ---- the handshake ---- */

void login_take_handshake(struct visitor *visitor, const struct message_handshake *handshake)
{
    visitor->has_handshake = true;
    visitor->carrier->operations->read(visitor->carrier, false);
    int code = 0;
    const char *objection = visitor->dialect->object(handshake, &code);
    bool is_named = text_copy(handshake->name, visitor->name, sizeof(visitor->name)) == 0;
    if (!is_named || !str_is_legacy_name(handshake->name))
        snprintf(visitor->name, sizeof(visitor->name), "(malformed)");
    if (objection == NULL && shutdown_has_begun(&visitor->worker->gateway->shutdown)) {
        code = REASON_SHUTDOWN;
        objection = "the gateway is stopping";
    }
    if (objection != NULL) {
        login_refuse(visitor, code, objection);
        return;
    }
    visitor->epoch = handshake->epoch;
    visitor->first = handshake->first;
    visitor->window = handshake->window;
    memcpy(visitor->boot, handshake->boot, sizeof(visitor->boot));
    memcpy(visitor->place, handshake->place, sizeof(visitor->place));
    if (handshake->resumes)
        resume_begin(visitor, handshake);
    else
        login_check_key(visitor, handshake->key);
}

/* ---- what dialects share ---- */

void dialect_ignore(struct carrier *carrier)
{
    (void)carrier;
}

void dialect_lost(struct carrier *carrier, int error, const char *why)
{
    visitor_end(carrier->holder, error, why);
}
