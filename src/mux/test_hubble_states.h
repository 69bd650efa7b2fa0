/*
 * A session of Hubble's mux as a table: for each state and each event what is sent, what the holder
 * is told, and the state after. hubble_states_test.c walks all pairs. A pair that has no row
 * changes nothing; where data waits for the carrier, it sends that data.
 */
#ifndef MUX_TEST_HUBBLE_STATES_H
#define MUX_TEST_HUBBLE_STATES_H

#include "mux/hubble_mux.h"

enum hubble_event {
    TAKE, /* the carrier takes the messages that wait */
    /* The peer's messages for the session. */
    PEER_OPENS, /* if there is one, the owner refuses the new one */
    PEER_YES,
    PEER_YES_LATER, /* a yes while the ping of another session is under way */
    PEER_NO,
    PEER_DATA,
    PEER_EMPTY,      /* data without bytes */
    PEER_DATA_KEPT,  /* data that the holder does not consume yet */
    PEER_WRONG_DATA, /* with an order that is not the next */
    PEER_ENDS,       /* 05 of an agent, 04 of a proxy */
    PEER_OTHER_END,  /* the end that this peer never sends */
    PONG,
    LOST, /* the connection is lost */
    SHUT, /* it is closed at once, because this side stops */
    /* The holder's operations. */
    WE_OPEN,
    HOLD, /* the holder joins a session that the peer has opened */
    ACCEPT,
    WRITE,
    WRITE_FAILS, /* memory runs out in the write */
    FINISH,
    RESET,        /* with REASON_DIAL_REFUSED */
    RESET_CLOSED, /* with REASON_CLOSED, which lets what was written go out before */
    CONSUME,      /* all that was delivered */
    CLOSE,
    /* The owner's. */
    FAIL, /* the session that holds the most is ended */
    TIME, /* the next deadline is reached */
    HUBBLE_EVENTS,
};

enum hubble_state_name {
    NONE, /* no session has this GUID */
    /* Opened by the peer. */
    UNHELD,
    ASKED,
    OPEN,
    LINGERING,
    /* Opened by us. */
    ASKING,
    ASKING_WRITTEN,
    ASKING_FINISHED,
    ASKING_BOTH,
    ASKING_LEFT,
    ASKING_LEFT_CLOSED,
    PINGED,
    PINGED_WRITTEN,
    PINGED_FINISHED,
    PINGED_ANSWERED,
    PINGED_BOTH,
    PINGED_LEFT,
    PINGED_LEFT_CLOSED,
    BEHIND,
    READY,
    READY_ANSWERED,
    SILENT,
    ANSWERED,
    GIVEN_UP,
    GIVEN_UP_CLOSED,
    /* Ended. */
    ENDED,
    CLOSED_BY_PEER,
    UNHELD_ENDED,
    UNHELD_CLOSED,
    UNHELD_REFUSED,
    UNHELD_REPLACED,
    UNHELD_CLOSED_LOST,
    /* After the loss of the connection. */
    LOST_PEER,
    LOST_ENDED,
    LOST_UNHELD,
    /* The holder has not consumed all that was delivered. */
    KEEPING,
    KEEPING_LINGERING,
    FIN_TOLD,
    FIN_TOLD_LOST,
    FIN_TOLD_REPLACED,
    FIN_TOLD_TWICE,
    FIN_TOLD_REFUSED,
    RESET_DUE,
    RESET_DUE_REPLACED,
    REPLACED_FINISHED,
    REPLACED_LOST,
    REPLACED_LEFT,
    LOST_FINISHED,
    LOST_LEFT,
    /* The carrier has taken nothing since the last event, and the turn has not ended. */
    ACK_WAITS,
    ACK_AND_END_WAIT,
    NO_WAITS,
    NO_WAITS_CLOSED,
    DATA_WAITS,
    DATA_AND_FINISH_WAIT,
    FINISH_WAITS,
    LEFT,
    LEFT_CLOSED,
    END_WAITS,
    BROKEN,
    BROKEN_KEEPING,
    ANSWER_WAITS,
    DROPPED,
    FINISHED_LATE,
    CONSUMED_LATE,
    RESET_READY,
    RESET_DROPPED,
    HUBBLE_STATES,
    ELSEWHERE, /* a state that the table does not follow */
};

/* At which end of the connection a row holds. */
enum hubble_end { GATEWAY = 1, AGENT = 2, BOTH = GATEWAY | AGENT };

struct hubble_state {
    enum hubble_end end;
    enum hubble_state_name name;
    const char *meaning;
    enum hubble_state_name from;
    enum hubble_event by; /* this event leads here from there */
    bool is_stuck;        /* in this turn the carrier takes no message */
    unsigned waits;       /* seconds until the deadline; 0: none; not looked at while stuck */
};

struct hubble_reaction {
    enum hubble_end end;
    enum hubble_state_name state;
    uint32_t events;  /* E(event) of each */
    const char *sent; /* as hubble_mux_fake.h shows it, without the GUID and the order of data */
    const char *told;
    enum hubble_state_name after;
};

#define E(event) (UINT32_C(1) << (event))

/* Each ends with a row of zeros. */
extern const struct hubble_state hubble_states[];
extern const struct hubble_reaction hubble_reactions[];
/* Of the states in which something waits for the holder or the carrier. */
extern const struct hubble_reaction hubble_waiting_reactions[];

#endif
