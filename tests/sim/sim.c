#include "sim.h"

#include "base/error.h"

#include <stdlib.h>
#include <string.h>

struct flight {
    struct list_node node;
    uint64_t arrives;
    size_t size;
    uint8_t bytes[];
};

void sim_pipe_init(struct sim_pipe *pipe, uint64_t rate, uint64_t delay)
{
    *pipe = (struct sim_pipe){.rate = rate, .delay = delay};
    list_init(&pipe->flights);
}

void sim_pipe_drop(struct sim_pipe *pipe)
{
    struct list_node *node;
    while ((node = list_pop(&pipe->flights)) != NULL)
        free(CONTAINER_OF(node, struct flight, node));
    pipe->free_at = 0;
}

uint64_t sim_pipe_arrival(const struct sim_pipe *pipe)
{
    struct list_node *node = list_first(&pipe->flights);
    return node == NULL ? UINT64_MAX : CONTAINER_OF(node, struct flight, node)->arrives;
}

static uint64_t line_time(const struct sim_pipe *pipe, size_t bytes)
{
    return bytes * UINT64_C(1000000000) / pipe->rate;
}

uint64_t sim_pipe_ready(const struct sim_pipe *pipe, uint64_t now)
{
    uint64_t buffered = line_time(pipe, SIM_NOT_SENT);
    if (pipe->free_at < now * 1000 + buffered)
        return now;
    return (pipe->free_at - buffered) / 1000 + 1;
}

static int pipe_send(struct sim_pipe *pipe, const struct slice *head, const struct slice *body,
                     uint64_t now)
{
    size_t size = head->size + body->size;
    uint64_t start = pipe->free_at > now * 1000 ? pipe->free_at : now * 1000;
    pipe->free_at = start + line_time(pipe, size);
    if (pipe->is_dead)
        return 0;
    struct flight *flight = malloc(sizeof *flight + size);
    if (flight == NULL)
        return CULVERT_ERROR_NO_MEMORY;
    flight->node = (struct list_node){NULL, NULL};
    flight->arrives = (pipe->free_at + 999) / 1000 + pipe->delay;
    flight->size = size;
    memcpy(flight->bytes, head->data, head->size);
    if (body->size > 0)
        memcpy(flight->bytes + head->size, body->data, body->size);
    list_append(&pipe->flights, &flight->node);
    return 0;
}

void sim_end_init(struct sim_end *end, const struct mux_owner *owner, void *holder, bool dials,
                  size_t memory)
{
    memset(end, 0, sizeof *end);
    end->holder = holder;
    account_init(&end->account, memory);
    chunk_pool_init(&end->pool, &end->account);
    link_init(&end->link, &end->pool, &end->account);
    mux_init(&end->mux, owner, end, dials, 4711, &end->pool, &end->account);
    mux_set_peer_window(&end->mux, MUX_WINDOW);
}

void sim_connect(struct sim_end *a, struct sim_end *b, struct sim_pipe *a_to_b,
                 struct sim_pipe *b_to_a)
{
    a->out = b->in = a_to_b;
    a->in = b->out = b_to_a;
    uint64_t round_trip = a_to_b->delay + b_to_a->delay;
    mux_set_round_trip(&a->mux, round_trip);
    mux_set_round_trip(&b->mux, round_trip);
}

static int send_uncounted(struct sim_end *end, const struct message *message, uint64_t now)
{
    uint8_t encoded[MESSAGE_MAX_HEADER];
    int size = message_encode(message, encoded, sizeof encoded);
    if (size < 0)
        return size;
    struct slice head = {NULL, encoded, (size_t)size};
    return pipe_send(end->out, &head, &SLICE_NULL, now);
}

/* Sends what stands between the First that was said and what the other side lacks. */
static int bridge(struct sim_end *end, uint64_t messages, enum sim_first how, uint64_t now)
{
    if (messages == 0)
        return 0;
    if (how == SIM_SKIPS) {
        struct message skip = {.type = MESSAGE_SKIP, .skip = messages};
        return send_uncounted(end, &skip, now);
    }
    int result = 0;
    const struct link *link = &end->link;
    for (uint64_t i = 0; i < messages && result == 0; i++) {
        const struct link_entry *entry = &link->ring[(link->start + i) & (link->capacity - 1)];
        result = pipe_send(end->out, &entry->head, &entry->body, now);
    }
    return result;
}

int sim_reconnect(struct sim_end *a, struct sim_end *b, enum sim_first how, uint64_t now)
{
    sim_pipe_drop(a->in);
    sim_pipe_drop(a->out);
    a->in->is_dead = a->out->is_dead = false;
    uint64_t epoch = a->link.epoch + 1;
    uint64_t received_by_a = a->link.received;
    uint64_t received_by_b = b->link.received;
    uint64_t first = how == SIM_KNOWS ? received_by_b + 1 : link_first(&a->link);
    int result = link_attach(&b->link, epoch, first, received_by_a);
    if (result == 0)
        result = bridge(a, received_by_b + 1 - first, how, now);
    if (result == 0)
        result = link_attach(&a->link, epoch, received_by_a + 1, received_by_b);
    if (result != 0)
        return result;
    if (link_first(&a->link) != received_by_b + 1 || link_first(&b->link) != received_by_a + 1)
        return CULVERT_ERROR_INVALID;
    a->is_attached = b->is_attached = true;
    return 0;
}

size_t sim_end_deinit(struct sim_end *end)
{
    mux_deinit(&end->mux);
    link_deinit(&end->link);
    if (end->reading != NULL)
        chunk_unref(end->reading);
    end->reading = NULL;
    return chunk_pool_deinit(&end->pool);
}

/* Payload lies in large chunks, many messages one behind another, as a carrier reads it. */
static int read_payload(struct sim_end *end, const uint8_t *bytes, size_t size,
                        struct slice_queue *payload)
{
    while (size > 0) {
        if (end->reading == NULL || end->read == end->reading->size) {
            if (end->reading != NULL)
                chunk_unref(end->reading);
            end->read = 0;
            end->reading = chunk_pool_get(&end->pool, CHUNK_LARGE);
            if (end->reading == NULL)
                return CULVERT_ERROR_NO_MEMORY;
        }
        size_t room = end->reading->size - end->read;
        size_t part = size < room ? size : room;
        uint8_t *place = end->reading->data + end->read;
        memcpy(place, bytes, part);
        chunk_ref(end->reading);
        int result = slice_queue_push(payload, (struct slice){end->reading, place, part});
        if (result != 0)
            return result;
        end->read += part;
        bytes += part;
        size -= part;
    }
    return 0;
}

static int take_in(struct sim_end *end, const struct flight *flight, uint64_t now)
{
    struct message message;
    size_t used = 0;
    int result = message_decode(flight->bytes, flight->size, &message, &used);
    if (result != 0)
        return result > 0 ? CULVERT_ERROR_PROTOCOL : result;
    if (message.type == MESSAGE_RECEIVED)
        return link_acknowledged(&end->link, message.received, now);
    if (message.type == MESSAGE_SKIP) {
        result = link_take_skip(&end->link, message.skip, now);
        return result < 0 ? result : 0;
    }
    result = link_take(&end->link, flight->size, now);
    if (result <= 0)
        return result;
    struct slice_queue payload = SLICE_QUEUE_NULL;
    if (message.type == MESSAGE_DATA)
        result = read_payload(end, flight->bytes + used, flight->size - used, &payload);
    if (result >= 0)
        result = mux_receive(&end->mux, &message, &payload, now);
    slice_queue_deinit(&payload);
    return result;
}

int sim_end_receive(struct sim_end *end, uint64_t now)
{
    int result = 0;
    while (result == 0 && sim_pipe_arrival(end->in) <= now) {
        struct list_node *node = list_pop(&end->in->flights);
        struct flight *flight = CONTAINER_OF(node, struct flight, node);
        result = take_in(end, flight, now);
        free(flight);
    }
    return result;
}

static int send_report(struct sim_end *end, uint64_t now)
{
    struct message message = {.type = MESSAGE_RECEIVED, .received = end->link.received};
    link_reported(&end->link);
    return send_uncounted(end, &message, now);
}

/* Puts one message on the carrier. Returns 1, 0 if there is none, or an error. */
static int send_one(struct sim_end *end, uint64_t now)
{
    if (end->link.unsent == 0) {
        struct mux_output output;
        enum mux_may may = link_has_room(&end->link) ? MUX_MAY_ALL : MUX_MAY_CONTROL;
        int result = mux_pull(&end->mux, may, &output, now);
        if (result <= 0)
            return result;
        result = link_append(&end->link, output.head, output.head_size, output.body,
                             output.is_control, now);
        if (result != 0)
            return result;
    }
    const struct link_entry *entry = link_unsent(&end->link, 0);
    if (entry == NULL)
        return CULVERT_ERROR_INVALID;
    int result = pipe_send(end->out, &entry->head, &entry->body, now);
    link_sent(&end->link, 1);
    return result == 0 ? 1 : result;
}

int sim_end_send(struct sim_end *end, uint64_t now)
{
    int result = 0;
    if (end->is_attached && link_report_is_due(&end->link, now))
        result = send_report(end, now);
    end->wants_to_send = false;
    while (result >= 0 && end->is_attached && sim_pipe_ready(end->out, now) == now) {
        result = send_one(end, now);
        if (result == 0)
            break;
    }
    mux_turn_ends(&end->mux);
    return result < 0 ? result : 0;
}

uint64_t sim_end_timeout(const struct sim_end *end, uint64_t now)
{
    if (!end->is_attached)
        return UINT64_MAX;
    uint64_t timeout = link_timeout(&end->link);
    uint64_t ready = sim_pipe_ready(end->out, now);
    if (ready > now && ready < timeout)
        timeout = ready;
    return timeout;
}
