#include "agent/relief.h"

#include "agent/uplink.h"
#include "base/error.h"
#include "base/log.h"
#include "base/reason.h"
#include "mux/record_cost.h"

enum {
    LINKS = 0,            /* the part of links; a session's number is never 0 */
    WATCH_TIME = 1000,    /* milliseconds between two checks which sessions progress */
    LINK_PATIENCE = 2000, /* milliseconds without an acknowledgement until a link counts */
};

static const char WHY[] = "a process on the way is at its memory limit";

static bool is_full(const struct relief *relief)
{
    return account_level(relief->loop->account) == ACCOUNT_FULL;
}

/* ---- a round ---- */

static void add_session(const struct session *session, uint64_t now)
{
    size_t held = (size_t)session_held(session);
    bool is_silent = now - session->moved_at >= (uint64_t)PAYER_SILENCE * 1000;
    payer_add(session->payer, (struct payer_part){0, session->id}, MUX_RECORD_COST + held,
              is_silent ? held : 0);
}

static void add_links(const struct relief *relief, uint64_t now)
{
    const struct tunnel *tunnel = uplink_largest(relief->uplink);
    struct tunnel_holding holding = {0};
    if (tunnel == NULL)
        return;
    tunnel_measure(tunnel, now, &holding);
    if (holding.silence >= (uint64_t)LINK_PATIENCE * 1000)
        payer_add(relief->links, (struct payer_part){0, LINKS}, holding.unacknowledged, 0);
}

static void add_all(const struct relief *relief, uint64_t now)
{
    const struct list *list = &relief->sessions->sessions;
    payers_begin(relief->payers);
    pthread_mutex_lock(&relief->payers->lock);
    for (struct list_node *node = list_first(list); node != NULL; node = list_next(list, node))
        add_session(CONTAINER_OF(node, struct session, node), now);
    add_links(relief, now);
    pthread_mutex_unlock(&relief->payers->lock);
}

static void end_part(const struct relief *relief, uint64_t id, size_t bytes)
{
    if (id == LINKS) {
        log_warning("memory is at its limit (--max-memory): ending the link, with %zu bytes that "
                    "the gateway has not acknowledged, or its largest session",
                    bytes);
        tunnel_end_largest(uplink_largest(relief->uplink), REASON_NO_MEMORY, WHY);
        return;
    }
    struct session *session = session_find(relief->sessions, id);
    bool is_in = session->subject.direction == SESSION_IN;
    log_warning("memory is at its limit (--max-memory): resetting a session %s %s, which holds "
                "%zu bytes",
                is_in ? "for agent" : "to agent", session->subject.agent, bytes);
    relay_abort(&session->relay, REASON_NO_MEMORY, WHY);
}

static void run_round(struct loop_task *task)
{
    struct relief *relief = CONTAINER_OF(task, struct relief, round);
    uint64_t now = loop_now(relief->loop);
    struct payer_part part;
    if (!is_full(relief))
        return;
    add_all(relief, now);
    size_t bytes = payers_choose(relief->payers, relief->loop->account, now, &part);
    if (bytes > 0)
        end_part(relief, part.id, bytes);
    loop_timer_start(&relief->look_again, PAYER_PAUSE);
}

/* ---- the gauge ---- */

/* Notes which sessions have progressed. In the first check after a pause all count as progressing.
 */
static void watch(struct loop_timer *timer)
{
    struct relief *relief = timer->holder;
    const struct list *list = &relief->sessions->sessions;
    uint64_t now = loop_now(relief->loop);
    for (struct list_node *node = list_first(list); node != NULL; node = list_next(list, node))
        session_note_progress(CONTAINER_OF(node, struct session, node), now, !relief->is_watching);
    relief->is_watching = account_level(relief->loop->account) != ACCOUNT_EASY;
    if (relief->is_watching)
        loop_timer_start(timer, WATCH_TIME);
}

/* Called once a turn. */
static void look(uv_prepare_t *prepare)
{
    struct relief *relief = prepare->data;
    if (account_level(relief->loop->account) == ACCOUNT_EASY)
        return;
    if (!relief->is_watching)
        watch(&relief->watch);
    if (!is_full(relief))
        return;
    chunk_pool_trim(&relief->loop->pool);
    if (is_full(relief) &&
        payers_are_due(relief->payers, relief->loop->account, loop_now(relief->loop)))
        loop_defer_next(relief->loop, &relief->round);
}

/* Starts a turn of the loop, which checks the memory. */
static void look_again(struct loop_timer *timer)
{
    (void)timer;
}

/* ---- life ---- */

int relief_init(struct relief *relief, struct loop *loop, struct session_table *sessions,
                const struct uplink *uplink, struct payers *payers)
{
    *relief = (struct relief){.loop = loop,
                              .sessions = sessions,
                              .uplink = uplink,
                              .payers = payers,
                              .links = payers_join(payers, "links"),
                              .round = {.run = run_round}};
    if (relief->links == NULL)
        return CULVERT_ERROR_NO_MEMORY;
    int error = loop_timer_init(loop, &relief->look_again, look_again, relief);
    if (error == 0)
        error = loop_timer_init(loop, &relief->watch, watch, relief);
    if (error == 0)
        error = uv_prepare_init(&loop->uv, &relief->prepare);
    if (error != 0)
        return error;
    relief->prepare.data = relief;
    return uv_prepare_start(&relief->prepare, look);
}

void relief_deinit(struct relief *relief)
{
    loop_task_cancel(&relief->round);
    if (relief->look_again.is_open)
        loop_timer_close(&relief->look_again, NULL);
    if (relief->watch.is_open)
        loop_timer_close(&relief->watch, NULL);
    if (relief->prepare.data != NULL)
        uv_close((uv_handle_t *)&relief->prepare, NULL);
    if (relief->links != NULL)
        payers_leave(relief->payers, relief->links);
    relief->links = NULL;
}
