#include "gateway/resume.h"

#include "base/error.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/reason.h"
#include "gateway/dialect.h"
#include "gateway/login.h"
#include "gateway/visitor.h"
#include "tunnel/native_tunnel.h"

#include <stdio.h>
#include <string.h>

/* Says nothing about what was wrong. */
static const char not_known[] = "the link is not known here any more";

void resumption_free(struct resumption *resumption)
{
    if (resumption == NULL)
        return;
    explicit_bzero(resumption->key, sizeof(resumption->key));
    memory_free(resumption);
}

static void post(struct resumption *resumption, unsigned worker,
                 void (*run)(struct loop *, struct loop_message *))
{
    resumption->message.run = run;
    loop_post(&resumption->gateway->workers[worker].loop, &resumption->message);
}

/* ---- the proof ---- */

static void check_came_back(struct loop *loop, struct loop_message *message)
{
    struct resumption *resumption = CONTAINER_OF(message, struct resumption, message);
    struct visitor *visitor = visitor_find(loop->holder, resumption->visitor);
    if (visitor == NULL) {
        resumption_free(resumption);
        return;
    }
    visitor->resumption = resumption;
    if (resumption->verdict == RESUME_RIGHT) {
        login_check_key(visitor, text_of(resumption->key));
        return;
    }
    if (resumption->verdict == RESUME_WRONG)
        login_tell_refused(visitor, REASON_LINK_LOST,
                           "it could not prove that the link is its own");
    login_turn_away(visitor, REASON_LINK_LOST, not_known);
}

static enum resume_verdict judge(const struct resumption *resumption, const struct member *member)
{
    const struct native_tunnel *tunnel = member != NULL ? member_resumable(member) : NULL;
    const struct message_handshake *handshake = &resumption->handshake;
    if (tunnel == NULL)
        return RESUME_UNKNOWN;
    if (strcmp(resumption->name, member->name) != 0 ||
        !link_proof_is_right(tunnel->identity.secret, resumption->nonce, handshake->epoch,
                             handshake->proof))
        return RESUME_WRONG;
    bool is_next = handshake->is_express ? handshake->epoch == tunnel->link.epoch
                                         : handshake->epoch > tunnel->link.epoch;
    return is_next ? RESUME_RIGHT : RESUME_UNKNOWN;
}

static void check_arrived(struct loop *loop, struct loop_message *message)
{
    struct resumption *resumption = CONTAINER_OF(message, struct resumption, message);
    resumption->verdict = judge(resumption, member_find(loop->holder, resumption->member.id));
    post(resumption, resumption->asker, check_came_back);
}

void resume_begin(struct visitor *visitor, const struct message_handshake *handshake)
{
    struct gateway *gateway = visitor->worker->gateway;
    struct member_ref member;
    char link[LINK_NAME_TEXT_SIZE];
    link_name_text(handshake->link, link);
    if (registry_find(&gateway->links, link, &member) != 0) {
        login_turn_away(visitor, REASON_LINK_LOST, not_known);
        return;
    }
    struct resumption *resumption = memory_allocate_zero(sizeof(*resumption));
    if (resumption == NULL) {
        login_refuse(visitor, REASON_NO_MEMORY, "the gateway is out of memory");
        return;
    }
    resumption->gateway = gateway;
    resumption->member = member;
    resumption->asker = visitor->worker->loop.index;
    resumption->visitor = visitor->id;
    resumption->handshake = *handshake;
    resumption->handshake.version = resumption->handshake.name = resumption->handshake.key =
        TEXT_NULL;
    resumption->handshake.feature_count = 0;
    memcpy(resumption->nonce, visitor->nonce, sizeof(resumption->nonce));
    memcpy(resumption->name, visitor->name, sizeof(resumption->name));
    (void)text_copy(handshake->key, resumption->key, sizeof(resumption->key)); /* it fits */
    post(resumption, member.worker, check_arrived);
}

/* ---- the carrier ---- */

static int give(struct member *member, const struct member_login *login, struct carrier *carrier)
{
    if (member == NULL)
        return CULVERT_ERROR_REFUSED;
    if (!login->handshake->is_express)
        return member_resume(member, login, carrier);
    struct native_tunnel *tunnel = member_resumable(member);
    return tunnel != NULL ? native_tunnel_take_express(tunnel, carrier, login->handshake)
                          : CULVERT_ERROR_REFUSED;
}

/* On the member's worker; takes the carrier. */
static void hand_over(struct worker *worker, const struct resumption *resumption,
                      struct carrier *carrier)
{
    struct member_login login = {
        .id = resumption->member.id,
        .name = resumption->name,
        .user = resumption->user,
        .key_id = resumption->key_id,
        .address = resumption->address,
        .dialect = &dialect_native,
        .handshake = &resumption->handshake,
    };
    int error = give(member_find(worker, login.id), &login, carrier);
    if (error == 0)
        return;
    login_answer_no(worker, login.dialect, carrier, REASON_LINK_LOST, not_known);
    carrier_close(carrier, CULVERT_ERROR_REFUSED, not_known);
}

static void carrier_arrived(struct loop *loop, struct loop_message *message)
{
    struct resumption *resumption = CONTAINER_OF(message, struct resumption, message);
    struct worker *worker = loop->holder;
    struct carrier *carrier = NULL;
    if (worker->is_draining) {
        resumption->cargo->operations->drop(resumption->cargo);
    } else {
        int error = resumption->cargo->operations->arrive(resumption->cargo, loop, &carrier);
        if (error == 0)
            hand_over(worker, resumption, carrier);
        else
            log_debug("the new connection of agent %s is lost: %s", resumption->name,
                      error_text(error));
    }
    resumption_free(resumption);
}

void resume_finish(struct visitor *visitor)
{
    struct worker *worker = visitor->worker;
    struct resumption *resumption = visitor->resumption;
    struct carrier *carrier = visitor->carrier;
    memcpy(resumption->user, visitor->user, sizeof(resumption->user));
    snprintf(resumption->address, sizeof(resumption->address), "%s", visitor->address);
    resumption->key_id = visitor->key_id;
    bool is_here = resumption->member.worker == worker->loop.index;
    if (!is_here) {
        resumption->cargo = carrier->operations->depart(carrier);
        if (resumption->cargo == NULL) {
            visitor_end(visitor, CULVERT_ERROR_CLOSED, "it could not go to its link's worker");
            return;
        }
    }
    visitor->resumption = NULL;
    visitor->carrier = NULL;
    visitor_end(visitor, 0, NULL);
    if (!is_here) {
        post(resumption, resumption->member.worker, carrier_arrived);
        return;
    }
    hand_over(worker, resumption, carrier);
    resumption_free(resumption);
}
