/*
 * The agent's sessions: a local stream joined with a stream of the link. Each has a number, says
 * for whom it is and where it goes, and counts for the forward that it came through.
 */
#ifndef AGENT_SESSION_H
#define AGENT_SESSION_H

#include "base/list.h"
#include "base/log_limit.h"
#include "base/payer.h"
#include "journal/journal.h"
#include "net/asker.h"
#include "net/loop.h"
#include "relay/relay.h"

#include <stddef.h>
#include <stdint.h>

/* What the sessions of one forward add up to, and how many hold it. */
struct session_tally {
    uint64_t open;
    uint64_t total;
    uint64_t sent;          /* bytes from the asking side to the target, of those that have ended */
    uint64_t received;      /* and back */
    uint64_t open_sent;     /* the same of those that are open, as session_table_add_up found it */
    uint64_t open_received; /* and back */
    size_t holders;
    void (*released)(struct session_tally *tally); /* the last holder has let go */
};

void session_tally_release(struct session_tally *tally);

enum session_direction {
    SESSION_OUT, /* a local client's, towards another agent */
    SESSION_IN,  /* another agent's, towards a target here */
};

/* What a session is about. */
struct session_subject {
    enum session_direction direction;
    const char *agent; /* out: who dials; in: who asks */
    const char *host;
    uint16_t port;
    const char *client;          /* out: the local client's address; in: what the gateway says */
    const char *key;             /* of the connection, only for the events; may be NULL */
    const char *target;          /* out: AGENT:HOST:PORT, for the log */
    struct asker *asker;         /* in: who is charged for the descriptor; NULL: nobody */
    uint64_t forward;            /* out: its number */
    struct session_tally *tally; /* out: what it counts for; NULL: nothing */
};

struct session {
    struct relay relay;
    struct session_table *table;
    struct list_node node;
    struct loop_task burial;
    uint64_t id;
    uint64_t since;      /* microseconds of the loop's clock */
    struct payer *payer; /* for the memory that it holds; NULL: nobody */
    uint64_t moved;      /* bytes that had left it at moved_at */
    uint64_t moved_at;   /* microseconds of the loop's clock */
    struct session_subject subject;
    size_t text_size;
    char texts[]; /* what the subject points to */
};

struct session_table {
    struct loop *loop;
    const char *name;        /* of this agent */
    struct journal *journal; /* may be NULL */
    struct payers *payers;   /* who pays for the sessions; borrowed; NULL: nobody */
    struct list sessions;    /* in the order of their numbers */
    size_t count;
    uint64_t last_id;
    struct log_limit refused_out; /* warnings of sessions that did not come about, asked for here */
    struct log_limit refused_in;  /* and by other agents */
    void (*emptied)(struct session_table *table); /* the last session has ended; may be NULL */
};

/* All is borrowed. */
void session_table_init(struct session_table *table, struct loop *loop, const char *name,
                        struct journal *journal, struct payers *payers);

/* Joins the streams and takes them, also when it fails. The subject's texts are copied. */
void session_start(struct session_table *table, struct stream *asking, struct stream *answering,
                   const struct session_subject *subject);

/* The bytes so far. */
uint64_t session_sent(const struct session *session);
uint64_t session_received(const struct session *session);
/* Bytes of both directions that were received and have not been sent yet. */
uint64_t session_held(const struct session *session);
/* Sets moved_at to `now` if bytes have left the session since the last call, or if `is_first`. */
void session_note_progress(struct session *session, uint64_t now, bool is_first);

/* Returns NULL if no session has this number. */
struct session *session_find(const struct session_table *table, uint64_t id);

/* Counts the bytes of the sessions that are open into their tallies, whose open_sent and
 * open_received must be 0. */
void session_table_add_up(struct session_table *table);

/* Resets a session both ways. CULVERT_ERROR_NOT_FOUND. */
int session_table_end(struct session_table *table, uint64_t id, const char *reason);

/* Ends all. */
void session_table_abort(struct session_table *table, int code, const char *reason);

#endif
