/* The login of a visitor whose handshake has come: the proof of a link that is to be resumed, the
 * key, the script, the name; then it is a member, or refused. */
#ifndef GATEWAY_LOGIN_H
#define GATEWAY_LOGIN_H

#include "codec/message.h"
#include "gateway/dialect.h"
#include "gateway/worker.h"

struct visitor;

/* The handshake has come. */
void login_take_handshake(struct visitor *visitor, const struct message_handshake *handshake);

/* Goes on with the key, which is borrowed; a link that is resumed has been proved. */
void login_check_key(struct visitor *visitor, struct text key);

/* Emits the event, tells the agent why not, and ends the visitor. */
void login_refuse(struct visitor *visitor, int code, const char *why);
/* The same without the event. */
void login_turn_away(struct visitor *visitor, int code, const char *why);
/* The event alone. */
void login_tell_refused(const struct visitor *visitor, int code, const char *why);

/* Sends a refusal on a carrier of this worker's, if it can. The caller closes the carrier next;
 * whoever held it is told no more of it. */
void login_answer_no(struct worker *worker, const struct dialect *dialect, struct carrier *carrier,
                     int code, const char *why);

#endif
