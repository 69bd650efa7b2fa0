#include "agent/agent.h"

#include "agent/forward.h"
#include "agent/session.h"
#include "agent/uplink.h"
#include "base/error.h"
#include "base/exit_code.h"
#include "base/log.h"
#include "base/reason.h"
#include "ends/outlet.h"
#include "tunnel/relief.h"

#include <signal.h>
#include <stdio.h>

enum {
    STOP_GRACE = 5,  /* seconds for open sessions */
    DRAIN_LOOK = 10, /* milliseconds between looks whether the gateway has all that we sent */
};

struct agent {
    struct agent_config *config;
    struct account account;
    struct loop loop;
    struct session_table sessions;
    struct forward_table forwards;
    struct uplink uplink;
    struct relief relief;
    uv_signal_t signals[2];
    struct loop_timer stop_timer;
    uint64_t deadline;    /* of the stop, microseconds */
    struct loop_task end; /* of everything, at a turn's end */
    int exit_code;
    bool is_stopping;
};

/* ---- ending ---- */

static void end(struct loop_task *task)
{
    struct agent *agent = CONTAINER_OF(task, struct agent, end);
    uplink_close(&agent->uplink);
    session_table_abort(&agent->sessions, REASON_SHUTDOWN, "the agent is stopping");
    loop_stop(&agent->loop);
}

static void end_soon(struct agent *agent)
{
    loop_defer(&agent->loop, &agent->end);
}

static void sessions_emptied(struct session_table *table)
{
    struct agent *agent = CONTAINER_OF(table, struct agent, sessions);
    /* Not at once: the last session's end is only now being sent. */
    if (agent->is_stopping)
        loop_timer_start(&agent->stop_timer, 1);
}

static void look_at_stop(struct loop_timer *timer)
{
    struct agent *agent = timer->holder;
    uint64_t now = loop_now(&agent->loop);
    if (now >= agent->deadline)
        end_soon(agent);
    else if (agent->sessions.count > 0)
        loop_timer_start(timer, (agent->deadline - now) / 1000 + 1);
    else if (uplink_is_drained(&agent->uplink))
        end_soon(agent);
    else
        loop_timer_start(timer, DRAIN_LOOK);
}

static void stop(struct agent *agent)
{
    bool again = agent->is_stopping;
    agent->is_stopping = true;
    forward_table_close(&agent->forwards);
    if (again) {
        end_soon(agent);
        return;
    }
    agent->deadline = loop_now(&agent->loop) + (uint64_t)STOP_GRACE * 1000000;
    if (agent->sessions.count > 0) {
        log_info("stopping; %zu sessions have %d s to finish", agent->sessions.count, STOP_GRACE);
        uplink_announce_stop(&agent->uplink, STOP_GRACE);
    }
    look_at_stop(&agent->stop_timer);
}

static void signalled(uv_signal_t *handle, int number)
{
    (void)number;
    stop(handle->data);
}

/* ---- the uplink's events ---- */

static void up(struct uplink *uplink, struct tunnel *tunnel)
{
    struct agent *agent = uplink->holder;
    if (!agent->is_stopping)
        forward_table_up(&agent->forwards, tunnel);
}

static void down(struct uplink *uplink)
{
    struct agent *agent = uplink->holder;
    forward_table_down(&agent->forwards);
}

static void refused(struct uplink *uplink, int code, const char *why)
{
    struct agent *agent = uplink->holder;
    (void)code;
    log_error("cannot register as %s at %s: %s", agent->config->name, uplink->url_text, why);
    agent->exit_code = EXIT_CODE_REFUSED;
    end_soon(agent);
}

static void peer_opened(struct uplink *uplink, struct stream *asking,
                        const struct message_open *open)
{
    struct agent *agent = uplink->holder;
    char kind[MESSAGE_MAX_KIND + 1];
    char host[MESSAGE_MAX_HOST + 1];
    if (text_copy(open->kind, kind, sizeof(kind)) != 0 ||
        text_copy(open->host, host, sizeof(host)) != 0) {
        stream_refuse(asking, REASON_PROTOCOL, NULL);
        return;
    }
    if (agent->is_stopping) {
        stream_refuse(asking, REASON_SHUTDOWN, "the agent is stopping");
        return;
    }
    char asked[MESSAGE_MAX_NAME + MESSAGE_MAX_HOST + 32];
    snprintf(asked, sizeof(asked), "%s:%u for %.*s", host, open->port, (int)open->source.size,
             open->source.data);
    log_debug("dialling %s", asked);
    struct outlet_target target = {.kind = kind, .host = host, .port = open->port};
    struct stream *answering = NULL;
    int error = outlet_dial(&agent->loop, &target, &agent->config->whitelist, &answering);
    if (error != 0) {
        stream_refuse(asking,
                      error == CULVERT_ERROR_UNSUPPORTED ? REASON_UNSUPPORTED : REASON_NO_MEMORY,
                      NULL);
        return;
    }
    session_answer(&agent->sessions, asking, answering, asked);
}

static const struct uplink_owner uplink_handlers = {
    .up = up,
    .down = down,
    .refused = refused,
    .peer_opened = peer_opened,
};

/* ---- life ---- */

static struct tunnel *largest_tunnel(struct relief *relief)
{
    struct agent *agent = CONTAINER_OF(relief, struct agent, relief);
    struct tunnel *tunnel = uplink_tunnel(&agent->uplink);
    return tunnel != NULL && tunnel_largest(tunnel) > 0 ? tunnel : NULL;
}

static int watch_signals(struct agent *agent)
{
    static const int numbers[] = {SIGTERM, SIGINT};
    int error = 0;
    for (int i = 0; i < 2 && error == 0; i++) {
        error = uv_signal_init(&agent->loop.uv, &agent->signals[i]);
        agent->signals[i].data = agent;
        if (error == 0)
            error = uv_signal_start(&agent->signals[i], signalled, numbers[i]);
    }
    return error;
}

static int start(struct agent *agent)
{
    account_init(&agent->account, agent->config->max_memory);
    int error = loop_init(&agent->loop, 0, &agent->account);
    if (error == 0)
        error = loop_timer_init(&agent->loop, &agent->stop_timer, look_at_stop, agent);
    if (error == 0)
        error = relief_init(&agent->relief, &agent->loop, largest_tunnel);
    if (error == 0)
        error = watch_signals(agent);
    session_table_init(&agent->sessions, &agent->loop);
    agent->sessions.emptied = sessions_emptied;
    if (error == 0)
        error = forward_table_init(&agent->forwards, &agent->loop, &agent->sessions);
    if (error != 0)
        log_error("the agent cannot start: %s", error_text(error));
    return error;
}

static int prepare_uplink(struct agent *agent)
{
    char why[512] = "";
    int error = uplink_init(&agent->uplink, &uplink_handlers, agent, &agent->loop, agent->config,
                            why, sizeof(why));
    if (error != 0)
        log_error("the agent cannot start: %s", why);
    return error;
}

static void close_all(struct agent *agent)
{
    forward_table_deinit(&agent->forwards);
    uplink_deinit(&agent->uplink);
    relief_deinit(&agent->relief);
    loop_timer_close(&agent->stop_timer, NULL);
    for (int i = 0; i < 2; i++)
        uv_close((uv_handle_t *)&agent->signals[i], NULL);
    loop_deinit(&agent->loop);
}

int agent_run(struct agent_config *config)
{
    struct agent agent = {.config = config, .end = {.run = end}, .exit_code = EXIT_CODE_OK};
    /* When the system is short of something the process ends, and with it what was opened. */
    if (start(&agent) != 0)
        return EXIT_CODE_FAILURE;
    if (prepare_uplink(&agent) != 0) {
        close_all(&agent);
        return EXIT_CODE_FAILURE;
    }
    int bound =
        forward_table_bind(&agent.forwards, config->rules, config->rule_count, &config->whitelist);
    if (bound < 0 || (bound == 0 && config->rule_count > 0)) {
        log_error("none of the ports could be opened");
        close_all(&agent);
        return EXIT_CODE_NO_PORT;
    }
    uplink_start(&agent.uplink);
    int error = loop_run(&agent.loop);
    close_all(&agent);
    log_info("the agent has ended");
    return error != 0 ? EXIT_CODE_FAILURE : agent.exit_code;
}
