#include "agent/forward.h"

#include "base/error.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/reason.h"
#include "net/address.h"

#include <stdio.h>
#include <string.h>

enum { TARGET_SIZE = 512 };

struct forward {
    struct forward_table *table;
    struct rule rule;
    struct inlet *inlet; /* NULL: its port could not be bound */
    char target[TARGET_SIZE];
};

/* A connection that waits for the link. It has no holder yet, so it is not read. */
struct waiting {
    struct list_node node;
    struct forward *forward;
    struct stream *stream;
    uint64_t since;
    char client[ADDRESS_TEXT_SIZE];
};

/* ---- sessions ---- */

static void start_session(struct forward *forward, struct stream *stream, const char *client)
{
    struct forward_table *table = forward->table;
    struct message_open open = {
        .kind = text_of("tcp"),
        .agent = text_of(forward->rule.agent),
        .host = text_of(forward->rule.host),
        .port = forward->rule.port,
        .key = text_of(forward->rule.key),
        .client = text_of(client),
    };
    struct stream *towards = NULL;
    int error = tunnel_open(table->tunnel, &open, &towards);
    if (error != 0) {
        log_warning("no session to %s: %s", forward->target, error_text(error));
        stream_refuse(stream, REASON_NO_MEMORY, NULL);
        return;
    }
    session_join(table->sessions, stream, towards, forward->target);
}

/* ---- waiting ---- */

static void end_waiting(struct forward_table *table, struct waiting *waiting, const char *why)
{
    list_remove(&waiting->node);
    table->waiting_count--;
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
        if (now - waiting->since < (uint64_t)FORWARD_PATIENCE * 1000000)
            break;
        end_waiting(table, waiting, "the gateway was not there in time");
    }
    if (table->waiting_count > 0)
        loop_timer_start(timer, 1000);
}

static void wait_for_link(struct forward *forward, struct stream *stream, const char *client)
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
    snprintf(waiting->client, sizeof(waiting->client), "%s", client);
    list_append(&table->waiting, &waiting->node);
    if (table->waiting_count++ == 0)
        loop_timer_start(&table->timer, 1000);
}

static void accepted(struct inlet *inlet, struct stream *stream, const char *client)
{
    struct forward *forward = inlet_holder(inlet);
    if (forward->table->tunnel != NULL)
        start_session(forward, stream, client);
    else
        wait_for_link(forward, stream, client);
}

static const struct inlet_events inlet_handlers = {.accepted = accepted};

/* ---- life ---- */

int forward_table_init(struct forward_table *table, struct loop *loop,
                       struct session_table *sessions)
{
    *table = (struct forward_table){.loop = loop, .sessions = sessions};
    list_init(&table->waiting);
    return loop_timer_init(loop, &table->timer, look_at_waiting, table);
}

static int bind_one(struct forward_table *table, struct forward *forward,
                    struct whitelist *whitelist)
{
    const struct rule *rule = &forward->rule;
    const char *bind = rule->bind[0] != 0 ? rule->bind : NULL;
    int error =
        inlet_tcp(table->loop, bind, rule->local_port, &inlet_handlers, forward, &forward->inlet);
    if (error != 0) {
        log_error("cannot listen on %s port %u for %s: %s", bind != NULL ? bind : "loopback",
                  rule->local_port, forward->target, error_text(error));
        return error;
    }
    char text[ADDRESS_TEXT_SIZE];
    inlet_text(forward->inlet, text, sizeof(text));
    printf("forwarding %s -> %s\n", text, forward->target);
    fflush(stdout);
    struct sockaddr_storage anywhere;
    error = address_parse("0.0.0.0", inlet_port(forward->inlet), &anywhere);
    return error != 0 ? error : whitelist_deny(whitelist, &anywhere);
}

int forward_table_bind(struct forward_table *table, const struct rule *rules, size_t count,
                       struct whitelist *whitelist)
{
    int bound = 0;
    if (count == 0)
        return 0;
    table->forwards = memory_allocate_zero(count * sizeof(*table->forwards));
    if (table->forwards == NULL)
        return CULVERT_ERROR_NO_MEMORY;
    table->count = count;
    for (size_t i = 0; i < count; i++) {
        struct forward *forward = &table->forwards[i];
        forward->table = table;
        forward->rule = rules[i];
        rule_target_text(&rules[i], forward->target, sizeof(forward->target));
        if (bind_one(table, forward, whitelist) == 0)
            bound++;
    }
    return bound;
}

void forward_table_up(struct forward_table *table, struct tunnel *tunnel)
{
    table->tunnel = tunnel;
    for (size_t i = 0; i < table->count; i++) {
        if (table->forwards[i].inlet != NULL)
            inlet_accept(table->forwards[i].inlet, true);
    }
    struct list_node *node;
    while ((node = list_pop(&table->waiting)) != NULL) {
        struct waiting *waiting = CONTAINER_OF(node, struct waiting, node);
        table->waiting_count--;
        start_session(waiting->forward, waiting->stream, waiting->client);
        memory_free(waiting);
    }
}

void forward_table_down(struct forward_table *table)
{
    table->tunnel = NULL;
}

void forward_table_close(struct forward_table *table)
{
    for (size_t i = 0; i < table->count; i++) {
        if (table->forwards[i].inlet != NULL)
            inlet_close(table->forwards[i].inlet);
        table->forwards[i].inlet = NULL;
    }
    struct list_node *node;
    while ((node = list_first(&table->waiting)) != NULL)
        end_waiting(table, CONTAINER_OF(node, struct waiting, node), "the agent is stopping");
}

void forward_table_deinit(struct forward_table *table)
{
    loop_timer_close(&table->timer, NULL);
    memory_free(table->forwards);
    table->forwards = NULL;
    table->count = 0;
}
