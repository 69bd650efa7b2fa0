/* What the files of the uplink share. */
#ifndef AGENT_UPLINK_INNER_H
#define AGENT_UPLINK_INNER_H

#include "agent/uplink.h"

/* ---- uplink_links.c: what becomes of the links ---- */

/* Gives the try's carrier to the link that waits for it, or to a new one. */
void uplink_take_carrier(struct uplink *uplink, const struct approach_result *result);
/* Ends a link. */
void uplink_end_link(struct registration **registration, int code, const char *why);

/* ---- uplink_tries.c: when and where a carrier is looked for ---- */

void uplink_try_home(struct uplink *uplink);
/* The try has come to nothing: the next is under way or waits, and that was logged. */
void uplink_failed(struct uplink *uplink, enum ladder_outcome outcome, const char *why);
/* The same for a gateway that has accepted the connection and does not answer. */
void uplink_fell_silent(struct uplink *uplink, const char *why);
/* The same for a gateway that wants us back after so many seconds. */
void uplink_busy(struct uplink *uplink, unsigned seconds, const char *why);
/* Milliseconds to wait for the answer to a first handshake, after `waited` milliseconds of waiting
 * for the server. */
uint64_t uplink_handshake_time(const struct uplink *uplink, uint64_t waited);
/* Says what has happened at a URL, and tries again after so many milliseconds. */
void uplink_try_later(struct uplink *uplink, const char *what, const char *url, const char *why,
                      uint64_t delay);
/* Milliseconds: exponential, with jitter. */
uint64_t uplink_back_off(struct uplink *uplink);
/* Milliseconds until a lost connection is replaced: at once unless it is lost again and again. */
uint64_t uplink_redial_delay(struct uplink *uplink);
/* Looks for an express carrier, unless something else is under way. */
void uplink_try_express(struct uplink *uplink);
/* Ends the try that is under way beside the link. */
void uplink_cancel_side(struct uplink *uplink);
/* Sees to it that what is due beside the link is done. */
void uplink_arm_side(struct uplink *uplink);
void uplink_timer_fired(struct loop_timer *timer);
void uplink_side_timer_fired(struct loop_timer *timer);

#endif
