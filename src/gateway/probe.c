#include "gateway/probe.h"

#include "base/reason.h"
#include "gateway/member.h"
#include "tunnel/link_proof.h"

#include <string.h>

void probes_init(struct probes *probes)
{
    *probes = (struct probes){.next = 0};
    list_init(&probes->waiting);
}

/* ---- the asker ---- */

static void came_back(struct loop *loop, struct loop_message *message)
{
    struct probe *probe = CONTAINER_OF(message, struct probe, message);
    probe->answered(loop->holder, probe);
}

static void answer(struct probe *probe, bool is_alive)
{
    probe->is_alive = is_alive;
    explicit_bzero(probe->boot, sizeof(probe->boot));
    probe->message.run = came_back;
    loop_post(&probe->gateway->workers[probe->asker].loop, &probe->message);
}

/* ---- the member ---- */

void probe_answer(struct member *member, bool is_alive)
{
    struct list_node *node;
    member->probes.is_out = false;
    while ((node = list_pop(&member->probes.waiting)) != NULL)
        answer(CONTAINER_OF(node, struct probe, node), is_alive);
}

void probe_ping(struct member *member)
{
    uint64_t now = loop_now(&member->worker->loop);
    member->probes.is_out = true;
    member->probes.next = now + (uint64_t)PROBE_INTERVAL * 1000;
    loop_timer_start(&member->timer, PROBE_TIME);
    tunnel_ping(member->tunnel);
}

void probe_ponged(struct member *member)
{
    if (!member->probes.is_out)
        return;
    loop_timer_stop(&member->timer);
    probe_answer(member, true);
}

void probe_timer_fired(struct member *member)
{
    if (member->probes.is_out)
        member_end(member, REASON_LINK_LOST, "it did not answer while another with its name came");
    else if (!list_is_empty(&member->probes.waiting))
        probe_ping(member);
}

/* Its answer is the next ping's, which goes out at once or when the interval is over. */
static void await_answer(struct member *member, struct probe *probe)
{
    struct probes *probes = &member->probes;
    uint64_t now = loop_now(&member->worker->loop);
    bool is_first = list_is_empty(&probes->waiting);
    list_append(&probes->waiting, &probe->node);
    if (probes->is_out || !is_first)
        return;
    if (now >= probes->next)
        probe_ping(member);
    else
        loop_timer_start(&member->timer, (probes->next - now) / 1000 + 1);
}

static bool is_same_agent(const struct member *member, const struct probe *probe)
{
    return member->key_id == probe->key_id && link_boot_is_same(member->boot, probe->boot);
}

/* Frees the name of a member that need not be asked. Returns whether it is free. */
static bool free_name(struct member *member, const struct probe *probe)
{
    if (member == NULL || member_has_left(member))
        return true;
    if (member->detached != 0)
        member_end(member, REASON_LINK_LOST, "another login took the name while its link was lost");
    else if (is_same_agent(member, probe))
        member_replace(member);
    else
        return false;
    return true;
}

static void arrived(struct loop *loop, struct loop_message *message)
{
    struct probe *probe = CONTAINER_OF(message, struct probe, message);
    struct member *member = member_find(loop->holder, probe->member.id);
    if (free_name(member, probe))
        answer(probe, false);
    else
        await_answer(member, probe);
}

void probe_send(struct probe *probe)
{
    probe->message.run = arrived;
    loop_post(&probe->gateway->workers[probe->member.worker].loop, &probe->message);
}
