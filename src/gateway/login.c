/* From the handshake to the member: key, name, and the answer. */
#include "base/error.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/reason.h"
#include "gateway/visitor.h"

#include <stdio.h>
#include <string.h>

enum { MAX_CLAIMS = 3 };

/* Tells the agent why not, and closes. */
static void refuse(struct visitor *visitor, int code, const char *why)
{
    struct message message = {.type = MESSAGE_ACK, .is_handshake_ack = true, .is_known = true};
    message.welcome.ok = false;
    message.welcome.code = code;
    message.welcome.message = text_of(why);
    log_info("refused agent %s from %s: %s", visitor->name, visitor->address, why);
    struct slice_queue batch = SLICE_QUEUE_NULL;
    uint8_t buffer[MESSAGE_MAX_CONTROL];
    int size = message_encode(&message, buffer, sizeof(buffer));
    struct slice slice = SLICE_NULL;
    if (size > 0 && slice_copy(&visitor->worker->loop.pool, buffer, (size_t)size, &slice) == 0 &&
        slice_queue_push(&batch, slice) == 0 &&
        visitor->carrier->operations->is_ready(visitor->carrier)) {
        visitor->carrier->operations->send(visitor->carrier, &batch);
        visitor->carrier->operations->flush(visitor->carrier);
    }
    slice_queue_deinit(&batch);
    visitor_end(visitor, CULVERT_ERROR_REFUSED, why);
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
    struct member_login login = {
        .id = visitor->id,
        .name = visitor->name,
        .key_id = visitor->key_id,
        .address = visitor->address,
        .handshake = &handshake,
    };
    int error = member_new(worker, &login, visitor->carrier);
    if (error != 0) {
        registry_release(&worker->gateway->registry, visitor->name, visitor->id);
        refuse(visitor, REASON_NO_MEMORY, "the gateway has no memory for another agent");
        return;
    }
    visitor->carrier = NULL;
    visitor_end(visitor, 0, NULL);
}

static void probe_answered(struct worker *worker, struct member_probe *probe)
{
    struct visitor *visitor = visitor_find(worker, probe->visitor);
    bool is_alive = probe->is_alive;
    memory_free(probe);
    if (visitor == NULL)
        return;
    if (is_alive)
        refuse(visitor, REASON_NAME_TAKEN, "an agent with this name is connected and answers");
    else
        check_key_again(visitor);
}

static void probe_holder(struct visitor *visitor, struct member_ref holder)
{
    struct member_probe *probe = memory_allocate_zero(sizeof(*probe));
    if (probe == NULL) {
        refuse(visitor, REASON_NO_MEMORY, "the gateway is out of memory");
        return;
    }
    probe->member = holder;
    probe->asker = visitor->worker->loop.index;
    probe->visitor = visitor->id;
    probe->gateway = visitor->worker->gateway;
    probe->answered = probe_answered;
    log_debug("agent %s from %s has to wait: the holder of its name is asked", visitor->name,
              visitor->address);
    member_probe(probe);
}

static void claim(struct visitor *visitor)
{
    struct worker *worker = visitor->worker;
    struct member_ref ref = {worker->loop.index, visitor->id};
    struct member_ref holder;
    if (++visitor->claims > MAX_CLAIMS) {
        refuse(visitor, REASON_NAME_TAKEN, "other agents want this name at the same time");
        return;
    }
    int error = registry_claim(&worker->gateway->registry, visitor->name, ref, &holder);
    if (error == 0)
        become_member(visitor);
    else if (error == CULVERT_ERROR_EXISTS)
        probe_holder(visitor, holder);
    else
        refuse(visitor, REASON_NO_MEMORY, "the gateway is out of memory");
}

/* ---- the key ---- */

/* A question about a visitor's key; it finds the visitor by id, who may be gone by then. */
struct key_question {
    struct store_question question;
    uint64_t visitor;
};

static void key_answered(struct loop *loop, struct store_question *question)
{
    struct key_question *asked = CONTAINER_OF(question, struct key_question, question);
    struct visitor *visitor = visitor_find(loop->holder, asked->visitor);
    int error = question->error;
    int64_t key_id = question->key_id;
    memory_free(asked);
    if (visitor == NULL)
        return;
    if (error == 0) {
        visitor->key_id = key_id;
        claim(visitor);
    } else if (error == CULVERT_ERROR_REFUSED) {
        refuse(visitor, REASON_FORBIDDEN, "the key is not valid for this name");
    } else {
        log_error("the key of agent %s could not be checked: %s", visitor->name, error_text(error));
        refuse(visitor, REASON_LIMIT, "the gateway cannot check keys now");
    }
}

/* NULL: out of memory, and the visitor was refused. */
static struct key_question *ask(struct visitor *visitor)
{
    struct key_question *asked = memory_allocate_zero(sizeof(*asked));
    if (asked == NULL) {
        refuse(visitor, REASON_NO_MEMORY, "the gateway is out of memory");
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
    refuse(visitor, REASON_LIMIT, "too many agents are logging in");
}

static void check_key(struct visitor *visitor, struct text key)
{
    struct store_watch *watch = visitor->worker->gateway->watch;
    if (watch == NULL) {
        claim(visitor);
        return;
    }
    struct key_question *asked = ask(visitor);
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

static void take_handshake(struct visitor *visitor, const struct message_handshake *handshake)
{
    visitor->has_handshake = true;
    visitor->carrier->operations->read(visitor->carrier, false);
    if (!str_is_agent_name(handshake->name)) {
        snprintf(visitor->name, sizeof(visitor->name), "(malformed)");
        refuse(visitor, REASON_PROTOCOL,
               "a name is 1 to 128 of A-Z a-z 0-9 . _ - and not the word gateway");
        return;
    }
    (void)text_copy(handshake->name, visitor->name,
                    sizeof(visitor->name)); /* fits: checked above */
    if (!text_equals(handshake->version, "1")) {
        refuse(visitor, REASON_UNSUPPORTED, "this gateway speaks version 1 of the protocol");
        return;
    }
    if (visitor->worker->is_draining) {
        refuse(visitor, REASON_SHUTDOWN, "the gateway is stopping");
        return;
    }
    visitor->epoch = handshake->epoch;
    visitor->first = handshake->first;
    visitor->window = handshake->window;
    if (handshake->resumes) {
        /* Links end with their carrier: there is none to resume, and the agent begins afresh. */
        refuse(visitor, REASON_LINK_LOST, "the link is not known here any more");
        return;
    }
    check_key(visitor, handshake->key);
}

int login_take_message(struct inbound *inbound, const struct message *message,
                       struct slice_queue *payload, size_t size)
{
    struct visitor *visitor = CONTAINER_OF(inbound, struct visitor, inbound);
    (void)payload;
    (void)size;
    if (visitor->has_handshake || !message->is_known || message->type != MESSAGE_HANDSHAKE)
        return CULVERT_ERROR_PROTOCOL;
    take_handshake(visitor, &message->handshake);
    return 0;
}

static void on_data(struct carrier *carrier, struct slice piece)
{
    struct visitor *visitor = carrier->holder;
    if (visitor->is_over) {
        slice_drop(&piece);
        return;
    }
    int error = inbound_take(&visitor->inbound, piece);
    if (error != 0 && !visitor->is_over)
        visitor_end(visitor, error, "the first message is no handshake");
}

static void on_message_end(struct carrier *carrier)
{
    struct visitor *visitor = carrier->holder;
    if (!visitor->is_over && !inbound_is_whole(&visitor->inbound))
        visitor_end(visitor, CULVERT_ERROR_PROTOCOL, "half a message");
}

static void on_nothing(struct carrier *carrier)
{
    (void)carrier;
}

static void on_lost(struct carrier *carrier, int error, const char *why)
{
    visitor_end(carrier->holder, error, why);
}

const struct carrier_events login_carrier_events = {
    .data = on_data,
    .message_end = on_message_end,
    .read_end = on_nothing,
    .ready = on_nothing,
    .lost = on_lost,
};
