#include "mux/credit.h"

#include "base/error.h"

#include <assert.h>

/* Credit that a sender holds never adds up to more (docs/protocol.md, "Credit"). */
#define MAX_CREDIT (UINT64_C(1) << 31)

void credit_sender_init(struct credit_sender *sender, uint32_t window, uint32_t early)
{
    uint64_t total = window < MAX_CREDIT ? window : MAX_CREDIT;
    sender->available = early < total ? early : total;
    sender->withheld = total - sender->available;
    sender->is_accepted = false;
}

void credit_sender_accepted(struct credit_sender *sender)
{
    sender->is_accepted = true;
    sender->available += sender->withheld;
    sender->withheld = 0;
}

void credit_sender_spend(struct credit_sender *sender, size_t bytes)
{
    assert(bytes <= sender->available);
    sender->available -= bytes;
}

int credit_sender_grant(struct credit_sender *sender, uint64_t bytes)
{
    if (bytes > MAX_CREDIT - sender->available - sender->withheld)
        return CULVERT_ERROR_PROTOCOL;
    if (sender->is_accepted)
        sender->available += bytes;
    else
        sender->withheld += bytes;
    return 0;
}

void credit_receiver_init(struct credit_receiver *receiver, uint32_t window, uint64_t now)
{
    *receiver = (struct credit_receiver){
        .outstanding = window,
        .window = window,
        .base_window = window,
        .epoch_start = now,
    };
}

int credit_receiver_arrived(struct credit_receiver *receiver, size_t bytes)
{
    if (bytes > receiver->outstanding)
        return CULVERT_ERROR_PROTOCOL;
    receiver->outstanding -= bytes;
    receiver->undelivered += bytes;
    return 0;
}

static void grow(struct credit_receiver *receiver, struct account *account)
{
    uint64_t extra = receiver->window;
    if (extra > CREDIT_MAX_WINDOW - receiver->window)
        extra = CREDIT_MAX_WINDOW - receiver->window;
    account_promise(account, extra);
    receiver->window += extra;
    receiver->due += extra;
}

/*
 * How long it may take to use up a window that grows: CREDIT_EPOCH_TRIPS round trips, since the
 * round trip is that of an empty line, and the window is also for what a full queue on the way
 * holds (a line's worth), for TCP's start (BBR finds out what the line carries by having nearly
 * three lines' worth under way, and does not believe the answer of a sender that ran dry), for what
 * the sender's socket holds unsent, and for the quarter that is not granted yet. But what is below
 * CREDIT_SCHEDULING is no line, it is processes that wait for each other: more under way would only
 * wait in sockets, and what is behind it with it.
 */
static uint64_t epoch_length(uint64_t round_trip)
{
    uint64_t length = 2 * CREDIT_SCHEDULING;
    if (round_trip > CREDIT_SCHEDULING)
        length += CREDIT_EPOCH_TRIPS * (round_trip - CREDIT_SCHEDULING);
    return length;
}

static void grow_if_easy(struct credit_receiver *receiver, struct account *account)
{
    if (receiver->window < CREDIT_MAX_WINDOW && account_may_promise(account))
        grow(receiver, account);
}

/* A window that is used up within an epoch may be what holds the sender back; within two round
 * trips it surely does, and grows by two steps: with one, it stayed behind TCP's own window while
 * that looks for the line's rate. The bytes that open an epoch do not count, since they left at a
 * time unknown before it. */
static void measure(struct credit_receiver *receiver, size_t bytes, uint64_t now,
                    uint64_t round_trip, struct account *account)
{
    if (now - receiver->epoch_start > epoch_length(round_trip)) {
        receiver->epoch_start = now;
        receiver->epoch_bytes = 0;
        return;
    }
    receiver->epoch_bytes += bytes;
    if (receiver->epoch_bytes < receiver->window)
        return;
    bool is_quick = round_trip > CREDIT_SCHEDULING && now - receiver->epoch_start <= 2 * round_trip;
    receiver->epoch_start = now;
    receiver->epoch_bytes = 0;
    grow_if_easy(receiver, account);
    if (is_quick)
        grow_if_easy(receiver, account);
}

bool credit_receiver_consumed(struct credit_receiver *receiver, size_t bytes, uint64_t now,
                              uint64_t round_trip, struct account *account)
{
    assert(bytes <= receiver->undelivered);
    receiver->undelivered -= bytes;
    receiver->due += bytes;
    measure(receiver, bytes, now, round_trip, account);
    return receiver->due > 0 && receiver->due >= receiver->window / 4;
}

uint64_t credit_receiver_take_due(struct credit_receiver *receiver)
{
    uint64_t due = receiver->due;
    receiver->outstanding += due;
    receiver->due = 0;
    return due;
}

void credit_receiver_deinit(struct credit_receiver *receiver, struct account *account)
{
    if (receiver->window > receiver->base_window)
        account_take_back(account, receiver->window - receiver->base_window);
    receiver->window = receiver->base_window;
}
