#include "wan_flows.h"

enum { PROBES = 8 };

static bool is_of(const struct wan_flow *flow, int side, const struct wan_segment *segment)
{
    int other = !side;
    return flow->is_used && flow->address[side] == segment->source &&
           flow->port[side] == segment->source_port && flow->address[other] == segment->target &&
           flow->port[other] == segment->target_port;
}

/* The segment's flow; a new one takes a free place near its own, or the first there. */
static struct wan_flow *find(struct wan_flows *flows, int side, const struct wan_segment *segment)
{
    unsigned near_port = side == 0 ? segment->source_port : segment->target_port;
    unsigned far_port = side == 0 ? segment->target_port : segment->source_port;
    unsigned start = near_port * 31 + far_port * 7;
    struct wan_flow *place = &flows->all[start % WAN_FLOWS];
    for (unsigned i = PROBES; i-- > 0;) {
        struct wan_flow *flow = &flows->all[(start + i) % WAN_FLOWS];
        if (is_of(flow, side, segment))
            return flow;
        if (!flow->is_used)
            place = flow;
    }
    *place = (struct wan_flow){.is_used = true};
    place->address[side] = segment->source;
    place->address[!side] = segment->target;
    place->port[side] = segment->source_port;
    place->port[!side] = segment->target_port;
    place->next[side] = segment->sequence;
    place->next[!side] = segment->acknowledged;
    return place;
}

static struct wan_segment reset_for(const struct wan_flow *flow, int side)
{
    return (struct wan_segment){
        .source = flow->address[!side],
        .target = flow->address[side],
        .source_port = flow->port[!side],
        .target_port = flow->port[side],
        .sequence = flow->next[!side],
        .acknowledged = flow->next[side],
        .flags = WAN_RST | WAN_ACK,
    };
}

bool wan_flows_see(struct wan_flows *flows, int side, const struct wan_segment *segment,
                   struct wan_segment *answer)
{
    struct wan_flow *flow = find(flows, side, segment);
    if ((segment->flags & (WAN_SYN | WAN_ACK)) == WAN_SYN)
        flow->is_cut = false;
    if (!flow->is_cut) {
        if ((segment->flags & WAN_SYN) != 0)
            flow->next[side] = segment->sequence;
        uint32_t end = segment->sequence + segment->length;
        if ((int32_t)(end - flow->next[side]) > 0)
            flow->next[side] = end;
        return true;
    }
    /* What it has acknowledged is what it waits for. A reset is not answered. */
    *answer = reset_for(flow, side);
    answer->sequence = segment->acknowledged;
    if ((segment->flags & WAN_RST) != 0 || (segment->flags & WAN_ACK) == 0)
        answer->flags = 0;
    return false;
}

void wan_flows_cut(struct wan_flows *flows,
                   void (*tell)(void *context, int side, const struct wan_segment *reset),
                   void *context)
{
    for (int i = 0; i < WAN_FLOWS; i++) {
        struct wan_flow *flow = &flows->all[i];
        if (!flow->is_used || flow->is_cut)
            continue;
        flow->is_cut = true;
        for (int side = 0; side < WAN_SIDES; side++) {
            struct wan_segment reset = reset_for(flow, side);
            tell(context, side, &reset);
        }
    }
}
