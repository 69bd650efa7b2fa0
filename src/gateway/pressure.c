#include "gateway/pressure.h"

#include "base/log.h"
#include "base/reason.h"
#include "gateway/member.h"
#include "net/tls.h"

/* ---- a round ---- */

static void round_ends(struct pressure *pressure)
{
    atomic_store_explicit(&pressure->is_running, false, memory_order_release);
}

static void measure(const struct member *member, struct tunnel_holding *holding)
{
    *holding = (struct tunnel_holding){0};
    tunnel_measure(member->tunnel, loop_now(&member->worker->loop), holding);
}

/* What the account is charged for the connection of a link itself. */
static size_t connection_cost(const struct member *member, const struct tunnel_holding *holding)
{
    return member->worker->tls != NULL && holding->is_connected ? TLS_SESSION_COST : 0;
}

static void end_idle(struct member *member)
{
    log_warning("memory is at its limit (--max-memory): ending the link of agent %s, which "
                "has no session",
                member->name[0] != '\0' ? member->name : "(no name)");
    member_end(member, REASON_NO_MEMORY, "the gateway is at its memory limit");
}

static void end_largest(struct member *member)
{
    struct tunnel_holding holding;
    measure(member, &holding);
    if (tunnel_largest(member->tunnel) == 0 && connection_cost(member, &holding) > 0) {
        end_idle(member);
        return;
    }
    log_warning("memory is at its limit (--max-memory): ending the largest session of agent %s, or "
                "its link",
                member->name[0] != '\0' ? member->name : "(no name)");
    tunnel_end_largest(member->tunnel, REASON_NO_MEMORY,
                       "a process on the way is at its memory limit");
}

static void act(struct loop *loop, struct loop_message *message)
{
    struct worker *worker = loop->holder;
    struct pressure *pressure = &worker->gateway->pressure;
    (void)message;
    if (atomic_load(&pressure->is_over))
        return;
    struct member *member = member_find(worker, pressure->victim.id);
    if (member != NULL && account_level(loop->account) == ACCOUNT_FULL)
        end_largest(member);
    loop_timer_start(&worker->pressure.look_again, PAYER_PAUSE);
    round_ends(pressure);
}

static void choose(struct worker *worker)
{
    struct gateway *gateway = worker->gateway;
    struct pressure *pressure = &gateway->pressure;
    size_t bytes = payers_choose(&pressure->payers, &gateway->account, loop_now(&worker->loop),
                                 &pressure->victim);
    if (bytes == 0) {
        loop_timer_start(&worker->pressure.look_again, PAYER_PAUSE);
        round_ends(pressure);
        return;
    }
    struct worker *victims = &gateway->workers[pressure->victim.worker];
    loop_post(&victims->loop, &victims->pressure.act);
}

static void add(struct member *member)
{
    struct tunnel_holding holding;
    measure(member, &holding);
    uint64_t silence = (uint64_t)PAYER_SILENCE * 1000;
    bool is_silent = holding.unacknowledged > 0 && holding.silence >= silence;
    struct member_ref ref = member_ref(member);
    payer_add(member->payer, (struct payer_part){ref.worker, ref.id},
              connection_cost(member, &holding) + holding.bytes,
              is_silent ? holding.unacknowledged : 0);
}

static void count(struct loop *loop, struct loop_message *message)
{
    struct worker *worker = loop->holder;
    struct pressure *pressure = &worker->gateway->pressure;
    (void)message;
    if (atomic_load(&pressure->is_over))
        return;
    chunk_pool_trim(&loop->pool);
    pthread_mutex_lock(&pressure->payers.lock);
    size_t cursor = 0;
    struct member *member;
    while ((member = map_next(&worker->members, &cursor)) != NULL)
        add(member);
    pthread_mutex_unlock(&pressure->payers.lock);
    if (atomic_fetch_sub(&pressure->missing, 1) == 1)
        choose(worker);
}

static void begin(struct gateway *gateway)
{
    struct pressure *pressure = &gateway->pressure;
    payers_begin(&pressure->payers);
    atomic_store(&pressure->missing, gateway->worker_count);
    for (unsigned i = 0; i < gateway->worker_count; i++)
        loop_post(&gateway->workers[i].loop, &gateway->workers[i].pressure.count);
}

/* ---- the gauge ---- */

static void try_round(struct worker *worker)
{
    struct pressure *pressure = &worker->gateway->pressure;
    bool is_running = false;
    if (!atomic_compare_exchange_strong(&pressure->is_running, &is_running, true))
        return; /* whoever acts looks again */
    uint64_t now = loop_now(&worker->loop);
    if (payers_are_due(&pressure->payers, worker->loop.account, now)) {
        begin(worker->gateway);
        return;
    }
    loop_timer_start(&worker->pressure.look_again, (pressure->payers.next - now) / 1000 + 1);
    round_ends(pressure);
}

/* Once a turn. */
static void look(uv_prepare_t *prepare)
{
    struct worker *worker = prepare->data;
    if (account_level(worker->loop.account) != ACCOUNT_FULL)
        return;
    chunk_pool_trim(&worker->loop.pool);
    if (account_level(worker->loop.account) == ACCOUNT_FULL)
        try_round(worker);
}

/* A turn of the loop, which looks. */
static void look_again(struct loop_timer *timer)
{
    (void)timer;
}

/* ---- life ---- */

int pressure_init(struct pressure *pressure, uint64_t seed)
{
    *pressure = (struct pressure){0};
    return payers_init(&pressure->payers, seed);
}

void pressure_end(struct pressure *pressure)
{
    atomic_store(&pressure->is_over, true);
}

void pressure_deinit(struct pressure *pressure)
{
    payers_deinit(&pressure->payers);
}

int pressure_gauge_init(struct worker *worker)
{
    struct pressure_gauge *gauge = &worker->pressure;
    gauge->count.run = count;
    gauge->act.run = act;
    int error = loop_timer_init(&worker->loop, &gauge->look_again, look_again, worker);
    if (error == 0)
        error = uv_prepare_init(&worker->loop.uv, &gauge->prepare);
    if (error != 0)
        return error;
    gauge->prepare.data = worker;
    return uv_prepare_start(&gauge->prepare, look);
}

void pressure_gauge_deinit(struct worker *worker)
{
    uv_close((uv_handle_t *)&worker->pressure.prepare, NULL);
    loop_timer_close(&worker->pressure.look_again, NULL);
}
