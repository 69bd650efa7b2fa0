#include "tunnel/relief.h"

#include "base/log.h"
#include "base/reason.h"

/* Of the open tunnels and of those that only deliver what they had. */
static struct tunnel *largest_of_all(struct relief *relief)
{
    struct tunnel *largest = relief->largest(relief);
    const struct list *list = &relief->loop->delivering;
    size_t most = largest != NULL ? tunnel_largest(largest) : 0;
    for (struct list_node *node = list_first(list); node != NULL; node = list_next(list, node)) {
        struct tunnel *tunnel = CONTAINER_OF(node, struct tunnel, delivering);
        size_t bytes = tunnel_largest(tunnel);
        if (bytes > most) {
            most = bytes;
            largest = tunnel;
        }
    }
    return largest;
}

static void relieve(struct loop_task *task)
{
    struct relief *relief = CONTAINER_OF(task, struct relief, task);
    struct tunnel *tunnel = largest_of_all(relief);
    if (tunnel == NULL || account_level(relief->loop->account) != ACCOUNT_FULL)
        return;
    log_warning("memory is at its limit (--max-memory): a session that holds %zu bytes is reset",
                tunnel_largest(tunnel));
    tunnel_end_largest(tunnel, REASON_NO_MEMORY, "a process on the way is at its memory limit");
}

/* Once a turn. Without a session to reset nothing is put off to the next turn, which would come at
 * once, for ever. */
static void look(uv_prepare_t *prepare)
{
    struct relief *relief = prepare->data;
    struct loop *loop = relief->loop;
    if (account_level(loop->account) != ACCOUNT_FULL)
        return;
    chunk_pool_trim(&loop->pool);
    if (account_level(loop->account) == ACCOUNT_FULL && largest_of_all(relief) != NULL)
        loop_defer_next(loop, &relief->task);
}

int relief_init(struct relief *relief, struct loop *loop,
                struct tunnel *(*largest)(struct relief *))
{
    *relief = (struct relief){.loop = loop, .largest = largest, .task = {.run = relieve}};
    int error = uv_prepare_init(&loop->uv, &relief->prepare);
    if (error != 0)
        return error;
    relief->prepare.data = relief;
    return uv_prepare_start(&relief->prepare, look);
}

void relief_deinit(struct relief *relief)
{
    loop_task_cancel(&relief->task);
    uv_close((uv_handle_t *)&relief->prepare, NULL);
}
