#include "agent/forward.h"

#include "base/error.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/output.h"
#include "base/reason.h"
#include "net/address.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* A connection that waits for the link. It has no holder yet, so it is not read. */
struct waiting {
    struct list_node node;
    struct forward *forward;
    struct stream *stream;
    uint64_t since;
    struct inlet_client client;
};

/* ---- sessions ---- */

static void start_session(struct forward *forward, struct stream *stream,
                          const struct inlet_client *client)
{
    struct forward_table *table = forward->table;
    const struct rule *rule = &forward->rule;
    struct message_open open = {
        .kind = text_of("tcp"),
        .agent = text_of(rule->agent),
        .host = text_of(rule->host),
        .port = rule->port,
        .key = text_of(rule->key),
        .client = text_of(client->address),
        .pair = text_of(client->pair),
    };
    struct stream *towards = NULL;
    int error = tunnel_open(table->tunnel, &open, &towards);
    if (error != 0) {
        log_warning("no session to %s: %s", forward->target, error_text(error));
        stream_refuse(stream, REASON_NO_MEMORY, NULL);
        return;
    }
    struct session_subject subject = {
        .direction = SESSION_OUT,
        .agent = rule->agent,
        .host = rule->host,
        .port = rule->port,
        .client = client->address,
        .key = rule->key,
        .target = forward->target,
        .forward = forward->id,
        .tally = &forward->tally,
    };
    session_start(table->sessions, stream, towards, &subject);
}

/* ---- waiting ---- */

static void end_waiting(struct waiting *waiting, const char *why)
{
    list_remove(&waiting->node);
    waiting->forward->table->waiting_count--;
    log_warning("a connection to %s was reset: %s", waiting->forward->target, why);
    stream_refuse(waiting->stream, REASON_LINK_LOST, why);
    memory_free(waiting);
}

static void look_at_waiting(struct loop_timer *timer)
{
    struct forward_table *table = timer->holder;
    uint64_t now = loop_now(table->loop);
    struct list_node *node;
    while ((node = list_first(&table->waiting)) != NULL) {
        struct waiting *waiting = CONTAINER_OF(node, struct waiting, node);
        if (now - waiting->since < (uint64_t)table->patience * 1000000)
            break;
        end_waiting(waiting, "the gateway was not there in time");
    }
    if (table->waiting_count > 0)
        loop_timer_start(timer, 1000);
}

static void wait_for_link(struct forward *forward, struct stream *stream,
                          const struct inlet_client *client)
{
    struct forward_table *table = forward->table;
    struct waiting *waiting = NULL;
    if (table->waiting_count < FORWARD_WAITING)
        waiting = memory_allocate_zero(sizeof(*waiting));
    if (waiting == NULL) {
        log_warning("a connection to %s was reset: too many wait for the gateway", forward->target);
        stream_refuse(stream, REASON_LIMIT, NULL);
        return;
    }
    waiting->forward = forward;
    waiting->stream = stream;
    waiting->since = loop_now(table->loop);
    waiting->client = *client;
    list_append(&table->waiting, &waiting->node);
    if (table->waiting_count++ == 0)
        loop_timer_start(&table->timer, 1000);
}

static void end_waiting_of(struct forward *forward, const char *why)
{
    struct list *list = &forward->table->waiting;
    struct list_node *node = list_first(list);
    while (node != NULL) {
        struct waiting *waiting = CONTAINER_OF(node, struct waiting, node);
        node = list_next(list, node);
        if (waiting->forward == forward)
            end_waiting(waiting, why);
    }
}

static void accepted(struct inlet *inlet, struct stream *stream, const struct inlet_client *client)
{
    struct forward *forward = inlet_holder(inlet);
    if (forward->table->tunnel != NULL)
        start_session(forward, stream, client);
    else
        wait_for_link(forward, stream, client);
}

static const struct inlet_events inlet_handlers = {.accepted = accepted};

/* ---- ports ---- */

/* RFC 6761 §6.3: localhost is loopback, without asking a resolver. */
static const char *bind_of(const struct rule *rule)
{
    return rule->bind[0] == '\0' || strcmp(rule->bind, "localhost") == 0 ? NULL : rule->bind;
}

static void announce(const struct forward *forward)
{
    char text[ADDRESS_TEXT_SIZE];
    if (!forward->table->announces)
        return;
    inlet_text(forward->inlet, text, sizeof(text));
    output_print("forwarding %s -> %s", text, forward->target);
}

/* Our port on whatever address: what an outlet must not dial. */
static int own_address(const struct forward *forward, struct sockaddr_storage *address)
{
    return address_parse("0.0.0.0", inlet_port(forward->inlet), address);
}

static int open_port(struct forward *forward, char *why, size_t why_size)
{
    struct forward_table *table = forward->table;
    const struct rule *rule = &forward->rule;
    struct sockaddr_storage own;
    int error = inlet_tcp(table->loop, bind_of(rule), rule->local_port, &inlet_handlers, forward,
                          &forward->inlet);
    if (error == 0) {
        error = own_address(forward, &own);
        if (error == 0)
            error = whitelist_deny(table->whitelist, &own);
        if (error != 0) {
            inlet_close(forward->inlet);
            forward->inlet = NULL;
        }
    }
    if (error != 0) {
        snprintf(why, why_size, "cannot listen on %s port %u for %s: %s",
                 rule->bind[0] != '\0' ? rule->bind : "loopback", rule->local_port, forward->target,
                 error_text(error));
        return error;
    }
    announce(forward);
    inlet_accept(forward->inlet, table->is_accepting);
    return 0;
}

static void close_port(struct forward *forward, const char *why)
{
    struct sockaddr_storage own;
    if (forward->inlet == NULL)
        return;
    end_waiting_of(forward, why);
    if (own_address(forward, &own) == 0)
        whitelist_allow_again(forward->table->whitelist, &own);
    inlet_close(forward->inlet);
    forward->inlet = NULL;
}

/* ---- coming and going ---- */

static void bury(struct loop_task *task)
{
    struct forward *forward = CONTAINER_OF(task, struct forward, burial);
    explicit_bzero(forward->rule.key, sizeof(forward->rule.key));
    memory_free(forward);
}

static void released(struct session_tally *tally)
{
    struct forward *forward = CONTAINER_OF(tally, struct forward, tally);
    loop_bury(forward->table->loop, &forward->burial);
}

static bool is_same_port(const struct rule *a, const struct rule *b)
{
    return a->local_port != 0 && a->local_port == b->local_port && strcmp(a->bind, b->bind) == 0;
}

/* Those that have a port are found out by the system. */
static bool is_taken_without_port(const struct forward_table *table, const struct rule *rule)
{
    const struct forward *forward = forward_table_first(table);
    for (; forward != NULL; forward = forward_table_next(table, forward)) {
        if (forward->inlet == NULL && is_same_port(&forward->rule, rule))
            return true;
    }
    return false;
}

static int make(struct forward_table *table, const struct rule *rule, enum forward_source source,
                struct forward **out, char *why, size_t why_size)
{
    if (table->count >= FORWARD_MAX) {
        snprintf(why, why_size,
                 "there are already %d forwards, which is the most that there may be", FORWARD_MAX);
        return CULVERT_ERROR_LIMIT;
    }
    if (is_taken_without_port(table, rule)) {
        snprintf(why, why_size,
                 "there is a forward from port %u already, which waits for the port to become free",
                 rule->local_port);
        return CULVERT_ERROR_EXISTS;
    }
    struct forward *forward = memory_allocate_zero(sizeof(*forward));
    if (forward == NULL) {
        snprintf(why, why_size, "%s", error_text(CULVERT_ERROR_NO_MEMORY));
        return CULVERT_ERROR_NO_MEMORY;
    }
    forward->table = table;
    forward->source = source;
    forward->rule = *rule;
    forward->burial.run = bury;
    forward->tally.holders = 1;
    forward->tally.released = released;
    rule_target_text(rule, forward->target, sizeof(forward->target));
    *out = forward;
    return 0;
}

static void enter(struct forward *forward, uint64_t id)
{
    struct forward_table *table = forward->table;
    forward->id = id != 0 ? id : table->last_id + 1;
    if (forward->id > table->last_id)
        table->last_id = forward->id;
    list_append(&table->forwards, &forward->node);
    table->count++;
    table->key_count += forward->rule.key[0] != '\0';
}

int forward_table_add(struct forward_table *table, const struct rule *rule,
                      enum forward_source source, uint64_t id, struct forward **forward, char *why,
                      size_t why_size)
{
    struct forward *added = NULL;
    int error = make(table, rule, source, &added, why, why_size);
    if (error != 0)
        return error;
    error = open_port(added, why, why_size);
    if (error != 0) {
        session_tally_release(&added->tally);
        return error;
    }
    enter(added, id);
    *forward = added;
    return 0;
}

int forward_table_keep(struct forward_table *table, const struct rule *rule,
                       enum forward_source source, uint64_t id, char *why, size_t why_size)
{
    struct forward *forward = NULL;
    why[0] = '\0';
    int error = make(table, rule, source, &forward, why, why_size);
    if (error != 0)
        return error;
    (void)open_port(forward, why, why_size); /* the forward stays either way, and `why` tells */
    enter(forward, id);
    return 0;
}

void forward_table_retry(struct forward_table *table)
{
    char why[1024];
    struct forward *forward = forward_table_first(table);
    for (; forward != NULL; forward = forward_table_next(table, forward)) {
        if (forward->inlet == NULL && open_port(forward, why, sizeof(why)) != 0)
            log_warning("%s", why);
    }
}

void forward_remove(struct forward *forward)
{
    close_port(forward, "its forward was removed");
    list_remove(&forward->node);
    forward->table->count--;
    forward->table->key_count -= forward->rule.key[0] != '\0';
    session_tally_release(&forward->tally);
}

/* ---- looking ---- */

struct forward *forward_table_first(const struct forward_table *table)
{
    struct list_node *node = list_first(&table->forwards);
    return node != NULL ? CONTAINER_OF(node, struct forward, node) : NULL;
}

struct forward *forward_table_next(const struct forward_table *table, const struct forward *forward)
{
    struct list_node *node = list_next(&table->forwards, &forward->node);
    return node != NULL ? CONTAINER_OF(node, struct forward, node) : NULL;
}

struct forward *forward_table_find(const struct forward_table *table, uint64_t id)
{
    struct forward *forward = forward_table_first(table);
    while (forward != NULL && forward->id != id)
        forward = forward_table_next(table, forward);
    return forward;
}

uint16_t forward_port(const struct forward *forward)
{
    return forward->inlet != NULL ? inlet_port(forward->inlet) : forward->rule.local_port;
}

void forward_table_add_up(struct forward_table *table)
{
    struct forward *forward = forward_table_first(table);
    for (; forward != NULL; forward = forward_table_next(table, forward)) {
        forward->tally.open_sent = 0;
        forward->tally.open_received = 0;
    }
    session_table_add_up(table->sessions);
}

/* ---- the link ---- */

void forward_table_up(struct forward_table *table, struct tunnel *tunnel, unsigned window)
{
    bool is_short = window > 0 && window < FORWARD_PATIENCE;
    table->tunnel = tunnel;
    table->patience = is_short ? window : FORWARD_PATIENCE;
    table->is_accepting = true;
    struct forward *forward = forward_table_first(table);
    for (; forward != NULL; forward = forward_table_next(table, forward)) {
        if (forward->inlet != NULL)
            inlet_accept(forward->inlet, true);
    }
    struct list_node *node;
    while ((node = list_pop(&table->waiting)) != NULL) {
        struct waiting *waiting = CONTAINER_OF(node, struct waiting, node);
        table->waiting_count--;
        start_session(waiting->forward, waiting->stream, &waiting->client);
        memory_free(waiting);
    }
}

void forward_table_down(struct forward_table *table)
{
    table->tunnel = NULL;
}

/* ---- life ---- */

int forward_table_init(struct forward_table *table, struct loop *loop,
                       struct session_table *sessions, struct whitelist *whitelist, bool announces)
{
    *table = (struct forward_table){
        .loop = loop,
        .sessions = sessions,
        .whitelist = whitelist,
        .announces = announces,
        .patience = FORWARD_PATIENCE,
    };
    list_init(&table->waiting);
    list_init(&table->forwards);
    return loop_timer_init(loop, &table->timer, look_at_waiting, table);
}

void forward_table_close(struct forward_table *table)
{
    struct forward *forward = forward_table_first(table);
    for (; forward != NULL; forward = forward_table_next(table, forward))
        close_port(forward, "the agent is stopping");
}

void forward_table_deinit(struct forward_table *table)
{
    struct forward *forward;
    while ((forward = forward_table_first(table)) != NULL)
        forward_remove(forward);
    if (table->timer.is_open)
        loop_timer_close(&table->timer, NULL);
}
