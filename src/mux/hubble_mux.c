#include "mux/hubble_mux_internal.h"

#include "base/error.h"
#include "base/memory.h"
#include "base/reason.h"
#include "codec/url_address.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { GUID_SIZE = 36 };

int hubble_mux_init(struct hubble_mux *mux, const struct hubble_mux_owner *owner, void *holder,
                    enum hubble_role role, const uint64_t seed[2], struct chunk_pool *pool,
                    struct account *account)
{
    *mux = (struct hubble_mux){
        .owner = owner,
        .holder = holder,
        .role = role,
        .pool = pool,
        .account = account,
        .control = SLICE_QUEUE_NULL,
        .random = seed[1],
        .patience = (uint64_t)HUBBLE_RESET_PATIENCE * 1000000,
    };
    map_init(&mux->sessions, seed[0]);
    list_init(&mux->streams);
    list_init(&mux->dead);
    list_init(&mux->news);
    list_init(&mux->notices);
    list_init(&mux->ready);
    for (int i = 0; i < HUBBLE_TIMERS; i++)
        list_init(&mux->timers[i]);
    slice_arena_init(&mux->arena, pool);
    return 0;
}

static struct hubble_stream *member_of(struct list_node *node)
{
    return CONTAINER_OF(node, struct hubble_stream, member);
}

void hubble_mux_set_patience(struct hubble_mux *mux, uint64_t microseconds)
{
    uint64_t least = (uint64_t)HUBBLE_RESET_PATIENCE * 1000000;
    mux->patience = microseconds > least ? microseconds : least;
}

void hubble_mux_abort(struct hubble_mux *mux, int code, const char *reason, uint64_t now)
{
    hubble_mux_at(mux, now);
    if (mux->failure == 0)
        mux->failure = CULVERT_ERROR_CLOSED;
    mux->asked = true;
    slice_queue_clear(&mux->control);

    struct list doomed;
    list_init(&doomed);
    struct list_node *node;
    while ((node = list_pop(&mux->streams)) != NULL) {
        hubble_stream_supersede(member_of(node));
        list_append(&doomed, node);
    }
    assert(mux->sessions.count == 0);
    /* Handlers may end other streams, which takes them off the list. */
    while ((node = list_pop(&doomed)) != NULL) {
        struct hubble_stream *stream = member_of(node);
        list_append(&mux->streams, node);
        /* What the peer had ended before did not end by the loss of its connection. */
        if (!stream->peer_closed && !stream->is_resetting)
            hubble_stream_take_reset(stream, code, reason);
        else if (reason_is_immediate(code))
            hubble_stream_tell_reset(stream, REASON_CLOSED, NULL);
        else
            hubble_stream_note(stream); /* its timer begins again */
        hubble_stream_settle(stream);
    }
    hubble_mux_tell_news(mux);
    mux->asked = false;
}

bool hubble_mux_is_empty(const struct hubble_mux *mux)
{
    const struct list_node *node = list_first(&mux->streams);
    while (node != NULL && CONTAINER_OF(node, const struct hubble_stream, member)->is_mute)
        node = list_next(&mux->streams, node);
    return node == NULL;
}

static void free_dead(struct hubble_mux *mux)
{
    struct list_node *node;
    while ((node = list_pop(&mux->dead)) != NULL)
        memory_free(member_of(node));
}

void hubble_mux_deinit(struct hubble_mux *mux)
{
    assert(mux->sessions.count == 0);
    slice_queue_deinit(&mux->control);
    slice_arena_deinit(&mux->arena);
    /* The rest is their holders', whose close frees them. */
    struct list_node *node;
    while ((node = list_pop(&mux->streams)) != NULL) {
        list_remove(&member_of(node)->fresh);
        account_release(mux->account, MUX_RECORD_COST);
        member_of(node)->mux = NULL;
    }
    free_dead(mux);
    map_deinit(&mux->sessions);
}

void hubble_mux_wake(struct hubble_mux *mux)
{
    if (mux->asked)
        return;
    mux->asked = true;
    mux->owner->wants_to_send(mux);
}

void hubble_mux_fail(struct hubble_mux *mux, int error)
{
    if (mux->failure == 0)
        mux->failure = error;
    hubble_mux_wake(mux);
}

struct hubble_stream *hubble_mux_find(const struct hubble_mux *mux, struct text guid)
{
    char key[HUBBLE_MAX_GUID + 1];
    return text_copy(guid, key, sizeof key) == 0 ? map_find_text(&mux->sessions, key) : NULL;
}

/* SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators"). The numbers
 * need not be secret: a GUID is told to the peer anyway. */
static uint64_t next_random(struct hubble_mux *mux)
{
    uint64_t z = mux->random += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

/* RFC 9562 §5.4. */
static void make_guid(struct hubble_mux *mux, char guid[static GUID_SIZE + 1])
{
    do {
        uint64_t high = next_random(mux);
        uint64_t low = next_random(mux);
        high = (high & ~UINT64_C(0xf000)) | UINT64_C(0x4000);
        low = (low & ~(UINT64_C(3) << 62)) | UINT64_C(1) << 63;
        snprintf(guid, GUID_SIZE + 1,
                 "%08" PRIx64 "-%04" PRIx64 "-%04" PRIx64 "-%04" PRIx64 "-%012" PRIx64, high >> 32,
                 high >> 16 & 0xffff, high & 0xffff, low >> 48, low & UINT64_C(0xffffffffffff));
    } while (map_find_text(&mux->sessions, guid) != NULL);
}

int hubble_mux_open(struct hubble_mux *mux, const struct message_open *open, uint64_t now,
                    struct stream **stream)
{
    hubble_mux_at(mux, now);
    if (mux->failure != 0)
        return mux->failure;
    /* A burst of our own opens waits for the carrier; it must not cut the connection. */
    if (mux->control.bytes > HUBBLE_MAX_CONTROL_QUEUE / 2)
        return CULVERT_ERROR_LIMIT;

    char guid[GUID_SIZE + 1];
    struct message message = {.type = MESSAGE_OPEN, .guid = open->guid, .open = *open};
    if (open->guid.size == 0 || open->guid.size > HUBBLE_MAX_GUID ||
        hubble_mux_find(mux, open->guid) != NULL) {
        make_guid(mux, guid);
        message.guid = text_of(guid);
    }
    struct hubble_stream *made = hubble_stream_create(mux, message.guid, true);
    if (made == NULL)
        return CULVERT_ERROR_NO_MEMORY;

    /* An original joins host and port with a colon. */
    char host[MESSAGE_MAX_HOST + 3];
    uint8_t address[16];
    if (url_parse_ipv6(open->host, address)) {
        snprintf(host, sizeof host, "[%.*s]", (int)open->host.size, open->host.data);
        message.open.host = text_of(host);
    }
    int error = hubble_mux_queue(mux, &message);
    if (error != 0) {
        hubble_stream_discard(made);
        return error;
    }
    hubble_timer_start(made, HUBBLE_TIMER_ANSWER);
    *stream = &made->stream;
    hubble_mux_wake(mux);
    return 0;
}

void hubble_mux_turn_ends(struct hubble_mux *mux, uint64_t now)
{
    hubble_mux_at(mux, now);
    mux->asked = false;
    hubble_mux_tell_news(mux);
    free_dead(mux);
    slice_arena_rest(&mux->arena);
}

bool hubble_mux_is_drained(const struct hubble_mux *mux)
{
    return mux->control.count == 0 && mux->queued == 0 && list_is_empty(&mux->notices) &&
           list_is_empty(&mux->ready);
}

size_t hubble_mux_largest(const struct hubble_mux *mux, struct hubble_stream **stream)
{
    size_t largest = 0;
    *stream = NULL;
    for (struct list_node *node = list_first(&mux->streams); node != NULL;
         node = list_next(&mux->streams, node)) {
        const struct hubble_stream *one = member_of(node);
        if (one->is_over)
            continue; /* it has given back what it held */
        size_t held = MUX_RECORD_COST + one->out.bytes + one->outstanding;
        if (held > largest) {
            largest = held;
            *stream = member_of(node);
        }
    }
    return largest;
}
