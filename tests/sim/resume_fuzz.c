/*
 * A hostile peer of a native tunnel: whatever it says in messages, in handshakes that resume (at a
 * gateway) and in welcomes (at an agent), whole or in raw bytes, on one carrier after another, and
 * on express carriers beside them. The input is a list of instructions, each a byte and its
 * arguments. A refused handshake must change nothing, what is kept stays bounded, and nothing is
 * left at the end.
 */
#include "virtual_loop.h"
#include "wire.h"

#include "base/error.h"
#include "base/reason.h"
#include "tunnel/native_tunnel.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MAX_STREAMS = 16, RESUME_SECONDS = 60 };

struct fuzz {
    const uint8_t *data;
    size_t size;
    struct trial trial; /* for its clock */
    struct account account;
    struct virtual_loop loop;
    struct native_tunnel *tunnel;
    struct wire wires[2]; /* that of the tunnel, and the one that comes next */
    unsigned current;
    struct wire express[2]; /* the same for express carriers */
    unsigned current_express;
    struct link_identity identity;
    struct stream *streams[MAX_STREAMS];
    bool is_over;
};

static void require(bool condition)
{
    if (!condition)
        abort();
}

static uint8_t next_byte(struct fuzz *fuzz)
{
    if (fuzz->size == 0)
        return 0;
    fuzz->size--;
    return *fuzz->data++;
}

/* Mostly small and mostly near what is there, for else nothing would come of it. */
static uint64_t next_number(struct fuzz *fuzz, uint64_t near)
{
    uint8_t byte = next_byte(fuzz);
    if (byte < 128)
        return byte & 31;
    if (byte < 240)
        return near + (byte & 15) - 8;
    uint64_t number = 0;
    for (int i = 0; i < 8; i++)
        number = number << 8 | next_byte(fuzz);
    return number;
}

/* ---- the carriers ---- */

static struct carrier *next_carrier(struct fuzz *fuzz)
{
    return wire_open(&fuzz->wires[1 - fuzz->current]);
}

static void take_next(struct fuzz *fuzz)
{
    require(fuzz->wires[fuzz->current].is_closed);
    fuzz->current = 1 - fuzz->current;
}

/* ---- streams: what comes is consumed at once, or not at all ---- */

static void forget(struct stream *stream)
{
    struct fuzz *fuzz = stream->holder;
    for (size_t i = 0; i < MAX_STREAMS; i++)
        if (fuzz->streams[i] == stream)
            fuzz->streams[i] = NULL;
    stream->operations->close(stream);
}

static void on_event(struct stream *stream)
{
    (void)stream;
}

static void on_data(struct stream *stream, struct slice_queue *data)
{
    size_t bytes = data->bytes;
    slice_queue_clear(data);
    if (bytes % 3 != 0)
        stream->operations->consumed(stream, bytes);
}

static void on_reset(struct stream *stream, int code, const char *reason)
{
    (void)code;
    (void)reason;
    forget(stream);
}

static void on_written(struct stream *stream, size_t bytes)
{
    (void)stream;
    (void)bytes;
}

static const struct stream_events stream_events = {
    .opened = on_event,
    .data = on_data,
    .fin = on_event,
    .reset = on_reset,
    .written = on_written,
    .finished = on_event,
};

static void hold(struct fuzz *fuzz, struct stream *stream)
{
    stream->events = &stream_events;
    stream->holder = fuzz;
    for (size_t i = 0; i < MAX_STREAMS; i++) {
        if (fuzz->streams[i] == NULL) {
            fuzz->streams[i] = stream;
            stream->operations->accept(stream);
            return;
        }
    }
    stream_refuse(stream, REASON_LIMIT, "too many for this test");
}

static void use_stream(struct fuzz *fuzz)
{
    uint8_t what = next_byte(fuzz);
    struct stream *stream = fuzz->streams[what % MAX_STREAMS];
    if (stream == NULL)
        return;
    static const uint8_t bytes[4096];
    struct slice slice;
    struct slice_queue queue = SLICE_QUEUE_NULL;
    switch (what >> 4 & 3) {
    case 0:
        stream->operations->finish(stream);
        break;
    case 1:
        forget(stream);
        break;
    default:
        require(slice_copy(&fuzz->loop.loop.pool, bytes, sizeof bytes >> (what >> 6), &slice) == 0);
        require(slice_queue_push(&queue, slice) == 0);
        stream->operations->write(stream, &queue);
        slice_queue_deinit(&queue);
        break;
    }
}

/* ---- the tunnel's owner ---- */

static void on_peer_opened(struct tunnel *tunnel, struct stream *stream,
                           const struct message_open *open)
{
    (void)open;
    hold(tunnel->holder, stream);
}

static void on_welcomed(struct tunnel *tunnel, const struct message_welcome *welcome)
{
    (void)tunnel;
    (void)welcome;
}

static void on_went_away(struct tunnel *tunnel, const struct message_goaway *goaway)
{
    (void)tunnel;
    (void)goaway;
}

static void on_detached(struct tunnel *tunnel, int error, const char *why)
{
    struct fuzz *fuzz = tunnel->holder;
    require(error != 0 && why != NULL && fuzz->tunnel->carrier == NULL);
    require(fuzz->wires[fuzz->current].is_closed);
}

static void on_lost(struct tunnel *tunnel, int error, const char *why)
{
    struct fuzz *fuzz = tunnel->holder;
    on_detached(tunnel, error, why);
    fuzz->is_over = true;
}

static const struct tunnel_owner owner = {
    .peer_opened = on_peer_opened,
    .welcomed = on_welcomed,
    .went_away = on_went_away,
    .detached = on_detached,
    .lost = on_lost,
};

/* ---- what the peer does ---- */

static struct wire *wire_now(struct fuzz *fuzz, bool is_express)
{
    return is_express ? &fuzz->express[fuzz->current_express] : &fuzz->wires[fuzz->current];
}

static void deliver_raw(struct fuzz *fuzz, bool is_express)
{
    size_t size = next_byte(fuzz);
    if (size > fuzz->size)
        size = fuzz->size;
    wire_deliver(wire_now(fuzz, is_express), &fuzz->loop.loop.pool, fuzz->data, size);
    fuzz->data += size;
    fuzz->size -= size;
}

static void deliver_message(struct fuzz *fuzz, bool is_express, struct message *message)
{
    static uint8_t bytes[MESSAGE_MAX_CONTROL + MESSAGE_MAX_DATA];
    int size = message_encode(message, bytes, MESSAGE_MAX_CONTROL);
    if (size < 0)
        return;
    size_t payload = message->type == MESSAGE_DATA ? message->payload : 0;
    wire_deliver(wire_now(fuzz, is_express), &fuzz->loop.loop.pool, bytes, (size_t)size + payload);
}

/* A counted message or one of those that are not. */
static void say(struct fuzz *fuzz)
{
    static const enum message_type types[] = {
        MESSAGE_OPEN, MESSAGE_DATA, MESSAGE_RESET,    MESSAGE_FIN,    MESSAGE_CREDIT,
        MESSAGE_PING, MESSAGE_PONG, MESSAGE_RECEIVED, MESSAGE_GOAWAY, MESSAGE_SKIP,
        MESSAGE_END,  MESSAGE_ACK,  MESSAGE_EXPRESS,
    };
    const struct link *link = &fuzz->tunnel->link;
    struct message message = {.type = types[next_byte(fuzz) % (sizeof types / sizeof types[0])]};
    message.sid = next_number(fuzz, fuzz->tunnel->mux.highest_peer_id);
    switch (message.type) {
    case MESSAGE_OPEN:
        message.open.kind = text_of("tcp");
        message.open.host = text_of("h");
        break;
    case MESSAGE_DATA:
        message.payload = (uint32_t)next_byte(fuzz) << next_byte(fuzz) % 9;
        break;
    case MESSAGE_RECEIVED:
        message.received = next_number(fuzz, link->next - 1 - link->unsent);
        break;
    case MESSAGE_EXPRESS:
        message.express = next_number(fuzz, link->epoch);
        break;
    case MESSAGE_SKIP:
    case MESSAGE_CREDIT:
    case MESSAGE_PING:
    case MESSAGE_PONG:
        message.skip = next_number(fuzz, 1 << 16);
        break;
    case MESSAGE_ACK:
        message.ack.ok = next_byte(fuzz) % 2 == 0;
        break;
    default:
        break;
    }
    deliver_message(fuzz, false, &message);
}

static void say_early(struct fuzz *fuzz)
{
    uint64_t next = fuzz->tunnel->link.received + 1;
    struct message early = {.type = MESSAGE_EARLY};
    struct message data = {.type = MESSAGE_DATA};
    early.early.number = next_number(fuzz, next);
    early.early.before = next_number(fuzz, next);
    data.sid = next_number(fuzz, fuzz->tunnel->mux.highest_peer_id);
    data.payload = next_byte(fuzz);
    deliver_message(fuzz, true, &early);
    deliver_message(fuzz, true, &data);
}

static void say_welcome(struct fuzz *fuzz, bool is_express)
{
    const struct link *link = &fuzz->tunnel->link;
    struct message message = {.type = MESSAGE_ACK, .is_handshake_ack = true};
    message.welcome.ok = next_byte(fuzz) % 8 != 0;
    message.welcome.code = next_byte(fuzz) % 16;
    message.welcome.epoch = next_number(fuzz, fuzz->tunnel->epoch);
    message.welcome.first = next_number(fuzz, link->received + 1);
    message.welcome.received = next_number(fuzz, link->next - 1 - link->unsent);
    message.welcome.window = MUX_WINDOW;
    message.welcome.resume = RESUME_SECONDS;
    message.welcome.takes_express = true;
    memset(message.welcome.link, next_byte(fuzz) == 255, sizeof message.welcome.link);
    deliver_message(fuzz, is_express, &message);
}

/* ---- new carriers ---- */

static int check_is_handshake(struct inbound *inbound, const struct message *message,
                              struct slice_queue *payload, size_t size)
{
    (void)inbound;
    (void)payload;
    (void)size;
    return message->type == MESSAGE_HANDSHAKE ? 0 : CULVERT_ERROR_PROTOCOL;
}

/* A first message as raw bytes: whatever it is, it can be read. */
static void visit_raw(struct fuzz *fuzz)
{
    struct inbound inbound;
    struct slice piece;
    size_t size = fuzz->size < 300 ? fuzz->size : 300;
    inbound_init(&inbound, &fuzz->loop.loop.pool, check_is_handshake);
    inbound.only = MESSAGE_HANDSHAKE;
    if (size > 0 && slice_copy(&fuzz->loop.loop.pool, fuzz->data, size, &piece) == 0)
        (void)inbound_take(&inbound, piece);
    inbound_deinit(&inbound);
    fuzz->data += size;
    fuzz->size -= size;
}

static void resume(struct fuzz *fuzz)
{
    const struct link *link = &fuzz->tunnel->link;
    struct message_handshake handshake = {.version = text_of("1"), .resumes = true};
    handshake.window = MUX_WINDOW;
    handshake.epoch = next_number(fuzz, link->epoch + 1);
    handshake.first = next_number(fuzz, link->received + 1);
    handshake.received = next_number(fuzz, link->next - 1 - link->unsent);
    struct link before = *link;
    struct carrier *old = fuzz->tunnel->carrier;
    struct carrier *carrier = next_carrier(fuzz);
    int error = native_tunnel_resume(fuzz->tunnel, carrier, &handshake);
    if (error == 0) {
        require(handshake.epoch > before.epoch && link->epoch == handshake.epoch);
        require(handshake.first <= before.received + 1 && link->unsent == link->count);
        take_next(fuzz);
        return;
    }
    require(error == CULVERT_ERROR_REFUSED || error == CULVERT_ERROR_PROTOCOL);
    require(before.epoch == link->epoch && before.expected == link->expected);
    require(before.count == link->count && before.unsent == link->unsent);
    require(fuzz->tunnel->carrier == old && !wire_of(carrier)->is_closed);
    if (error == CULVERT_ERROR_PROTOCOL)
        fuzz->is_over = true;
}

static void rejoin(struct fuzz *fuzz)
{
    static const uint8_t nonce[CARRIER_NONCE_SIZE];
    struct carrier *carrier = next_carrier(fuzz);
    unsigned seconds;
    bool can = native_tunnel_can_resume(fuzz->tunnel, &seconds);
    int error = native_tunnel_rejoin(fuzz->tunnel, carrier, "agent1", NULL, nonce);
    require(error == (can ? 0 : CULVERT_ERROR_CLOSED));
    if (error == 0)
        take_next(fuzz);
}

static void begin_express(struct fuzz *fuzz)
{
    static const uint8_t nonce[CARRIER_NONCE_SIZE];
    const struct native_tunnel *tunnel = fuzz->tunnel;
    struct message_handshake handshake = {.resumes = true, .is_express = true};
    struct carrier *carrier = wire_open(&fuzz->express[1 - fuzz->current_express]);
    int error;
    if (tunnel->dials) {
        error = native_tunnel_add_express(fuzz->tunnel, carrier, "agent1", NULL, nonce);
        require(error == 0 || error == CULVERT_ERROR_CLOSED);
    } else {
        handshake.epoch = next_number(fuzz, tunnel->link.epoch);
        error = native_tunnel_take_express(fuzz->tunnel, carrier, &handshake);
        require(error == 0 || error == CULVERT_ERROR_REFUSED);
        require(error != 0 || handshake.epoch == tunnel->link.epoch);
    }
    require(!wire_of(carrier)->is_closed);
    if (error != 0)
        return;
    require(fuzz->express[fuzz->current_express].is_closed);
    fuzz->current_express = 1 - fuzz->current_express;
}

/* What may be with any carrier. */
static void change_wire(struct wire *wire, uint8_t what)
{
    const struct carrier_events *events = wire->carrier.events;
    if (wire->is_closed)
        return;
    switch (what % 4) {
    case 0:
        events->lost(&wire->carrier, CULVERT_ERROR_CLOSED, "lost");
        break;
    case 1:
        wire->is_ready = !wire->is_ready;
        if (wire->is_ready)
            events->ready(&wire->carrier);
        break;
    case 2:
        wire->is_long = !wire->is_long;
        break;
    default:
        events->message_end(&wire->carrier);
        break;
    }
}

static void begin(struct fuzz *fuzz, bool is_agent)
{
    account_init(&fuzz->account, SIZE_MAX);
    virtual_loop_init(&fuzz->loop, &fuzz->trial, &fuzz->account);
    require(native_tunnel_new(&owner, fuzz, &fuzz->loop.loop, is_agent, &fuzz->tunnel) == 0);
    fuzz->wires[0].is_closed = fuzz->express[0].is_closed = true;
    struct message_handshake handshake = {.window = MUX_WINDOW, .epoch = 1, .first = 1};
    struct carrier *carrier = next_carrier(fuzz);
    if (is_agent)
        require(native_tunnel_register(fuzz->tunnel, carrier,
                                       &(struct native_credentials){.name = "agent1"}) == 0);
    else
        require(native_tunnel_welcome(fuzz->tunnel, carrier, &handshake, &fuzz->identity,
                                      RESUME_SECONDS) == 0);
    take_next(fuzz);
}

static void open_stream(struct fuzz *fuzz)
{
    struct message_open open = {.kind = text_of("tcp"), .host = text_of("h")};
    struct stream *stream;
    /* An agent's streams wait outside until it is registered. */
    if (fuzz->tunnel->link.epoch > 0 && tunnel_open(&fuzz->tunnel->base, &open, &stream) == 0)
        hold(fuzz, stream);
}

static void act_on_carriers(struct fuzz *fuzz, uint8_t what)
{
    bool is_agent = fuzz->tunnel->dials;
    switch (what) {
    case 1:
        if (!is_agent)
            visit_raw(fuzz);
        break;
    case 2:
        change_wire(wire_now(fuzz, false), 0);
        break;
    case 4:
        change_wire(wire_now(fuzz, false), 1);
        break;
    case 7:
    case 8:
        if (is_agent)
            rejoin(fuzz);
        else
            resume(fuzz);
        break;
    case 12:
        begin_express(fuzz);
        break;
    default:
        change_wire(wire_now(fuzz, next_byte(fuzz) % 2 != 0), next_byte(fuzz));
        break;
    }
}

static void act(struct fuzz *fuzz)
{
    uint8_t what = next_byte(fuzz);
    switch (what % 16) {
    case 0:
        deliver_raw(fuzz, false);
        break;
    case 3:
        fuzz->trial.now += next_number(fuzz, 1000000) % 100000000;
        break;
    case 5:
        open_stream(fuzz);
        break;
    case 6:
        use_stream(fuzz);
        break;
    case 9:
        if (fuzz->tunnel->dials)
            say_welcome(fuzz, false);
        break;
    case 10:
    case 11:
        say(fuzz);
        break;
    case 13:
        if (next_byte(fuzz) % 8 == 0)
            say_welcome(fuzz, true);
        else
            say_early(fuzz);
        break;
    case 14:
        deliver_raw(fuzz, true);
        break;
    default:
        act_on_carriers(fuzz, what % 16);
        break;
    }
    /* Without a turn in between now and then, as what one read brings. */
    if (what < 200)
        virtual_loop_turn(&fuzz->loop);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct fuzz fuzz;
    memset(&fuzz, 0, sizeof fuzz);
    fuzz.data = data;
    fuzz.size = size;
    fuzz.trial.now = 1;
    begin(&fuzz, next_byte(&fuzz) % 2 != 0);
    while (fuzz.size > 0 && !fuzz.is_over) {
        act(&fuzz);
        const struct link *link = &fuzz.tunnel->link;
        require(link->unsent <= link->count && link->kept <= link->bound + LINK_CONTROL_RESERVE);
        require(link->expected <= link->received + 1);
    }
    tunnel_close(&fuzz.tunnel->base, REASON_SHUTDOWN, NULL);
    require(fuzz.wires[fuzz.current].is_closed && fuzz.express[fuzz.current_express].is_closed);
    for (size_t i = 0; i < MAX_STREAMS; i++)
        if (fuzz.streams[i] != NULL)
            forget(fuzz.streams[i]);
    require(virtual_loop_deinit(&fuzz.loop) == 0 && fuzz.account.used == 0);
    return 0;
}
