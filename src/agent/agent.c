#include "agent/agent_inner.h"

#include "agent/rest.h"
#include "base/error.h"
#include "base/exit_code.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/reason.h"
#include "ends/outlet.h"
#include "policy/host.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/random.h>

enum {
    STOP_GRACE = 5,  /* seconds for open sessions, after a signal */
    DRAIN_LOOK = 10, /* milliseconds between looks whether the gateway has all that we sent */
};

static const char STOPPING[] = "the agent is stopping";

/* ---- telling ---- */

/* `why` it is not any more; NULL when it is. */
static void tell_change(struct agent *agent, const char *why)
{
    bool is_up = why == NULL;
    struct event event = {
        .type = is_up ? EVENT_AGENT_REGISTERED : EVENT_AGENT_UNREGISTERED,
        .agent = agent->config.name,
        .dialect = agent->dialect,
        .reason = why,
    };
    if (!is_up)
        event.seconds = (double)(loop_now(&agent->loop) - agent->registered) / 1e6;
    journal_emit(agent->config.journal, &event);
    if (agent->config.link_changed != NULL)
        agent->config.link_changed(agent->config.link_context, is_up);
}

/* ---- ending ---- */

static void close_api(struct agent *agent)
{
    rest_close(agent->rest);
    agent->rest = NULL;
}

static void end(struct loop_task *task)
{
    struct agent *agent = CONTAINER_OF(task, struct agent, end);
    close_api(agent);
    uplink_close(&agent->uplink);
    session_table_abort(&agent->sessions, REASON_SHUTDOWN, STOPPING);
    if (agent->dialect != NULL)
        tell_change(agent, STOPPING);
    agent->dialect = NULL;
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
    if (agent->is_stopping && agent->stop_timer.is_open)
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

static void stop(struct agent *agent, unsigned seconds)
{
    bool again = agent->is_stopping;
    agent->is_stopping = true;
    forward_table_close(&agent->forwards);
    agent->deadline = loop_now(&agent->loop) + (uint64_t)seconds * 1000000;
    if (!again && agent->sessions.count > 0 && seconds > 0) {
        log_info("stopping; %zu session%s %u s to finish", agent->sessions.count,
                 agent->sessions.count == 1 ? " has" : "s have", seconds);
        uplink_announce_stop(&agent->uplink, seconds);
    }
    look_at_stop(&agent->stop_timer);
}

static void hung_up(struct agent *agent)
{
    uplink_reload_files(&agent->uplink);
    if (agent->rest != NULL)
        rest_reload_token(agent->rest);
    if (agent->config.forwards_file != NULL)
        agent_reload_forwards(agent);
}

/* A second SIGTERM or SIGINT does not wait for sessions. */
static void signalled(void *holder, int number)
{
    struct agent *agent = holder;
    if (number == SIGHUP)
        hung_up(agent);
    else
        stop(agent, agent->is_stopping ? 0 : STOP_GRACE);
}

static void stop_as_asked(struct control_request *request)
{
    struct agent *agent = CONTAINER_OF(request, struct agent, stop_request);
    stop(agent, atomic_load(&agent->stop_seconds));
}

void agent_stop(struct agent *agent, unsigned seconds)
{
    atomic_store(&agent->stop_seconds, seconds);
    control_tell(&agent->control, &agent->stop_request);
}

/* ---- the uplink's events ---- */

static void up(struct uplink *uplink, struct tunnel *tunnel)
{
    struct agent *agent = uplink->holder;
    agent->dialect = tunnel->operations->dialect;
    agent->is_detached = false;
    agent->registered = loop_now(&agent->loop);
    if (!agent->is_stopping)
        forward_table_up(&agent->forwards, tunnel, uplink_resume_window(uplink));
    tell_change(agent, NULL);
}

static void down(struct uplink *uplink, const char *why)
{
    struct agent *agent = uplink->holder;
    forward_table_down(&agent->forwards);
    tell_change(agent, why);
    agent->dialect = NULL;
}

/* New connections wait until it is registered elsewhere. */
static void leaving(struct uplink *uplink)
{
    struct agent *agent = uplink->holder;
    forward_table_down(&agent->forwards);
}

static void detached(struct uplink *uplink, const char *why)
{
    struct agent *agent = uplink->holder;
    struct event event = {
        .type = EVENT_LINK_LOST,
        .agent = agent->config.name,
        .dialect = agent->dialect,
        .reason = why,
    };
    agent->is_detached = true;
    forward_table_down(&agent->forwards);
    journal_emit(agent->config.journal, &event);
}

static void resumed(struct uplink *uplink, struct tunnel *tunnel, const struct native_gap *gap)
{
    struct agent *agent = uplink->holder;
    struct event event = {
        .type = EVENT_LINK_RESUMED,
        .agent = agent->config.name,
        .dialect = agent->dialect,
        .seconds = (double)gap->duration / 1e6,
        .replayed = gap->messages,
        .replayed_bytes = gap->bytes,
    };
    agent->is_detached = false;
    if (!agent->is_stopping && tunnel != NULL)
        forward_table_up(&agent->forwards, tunnel, uplink_resume_window(uplink));
    journal_emit(agent->config.journal, &event);
}

static void refused(struct uplink *uplink, int code, const char *why)
{
    struct agent *agent = uplink->holder;
    (void)code;
    log_error("cannot register as %s at %s: %s", agent->config.name, uplink_url_text(uplink), why);
    agent->exit_code = EXIT_CODE_REFUSED;
    end_soon(agent);
}

static void dial_for_peer(struct agent *agent, struct stream *asking, const char *kind,
                          const struct session_subject *subject)
{
    char text[HOST_PORT_TEXT_SIZE];
    struct outlet_target target = {
        .kind = kind,
        .host = subject->host,
        .port = subject->port,
        .asker = subject->asker,
        .timeout = agent->config.dial_timeout * 1000u,
    };
    struct stream *answering = NULL;
    log_debug("dialling %s for %s", host_port_text(subject->host, subject->port, text),
              subject->agent);
    int error = subject->asker == NULL
                    ? CULVERT_ERROR_NO_MEMORY
                    : outlet_dial(&agent->loop, &target, &agent->config.whitelist, &answering);
    if (error == 0)
        session_start(&agent->sessions, asking, answering, subject);
    else
        stream_refuse(asking,
                      error == CULVERT_ERROR_UNSUPPORTED ? REASON_UNSUPPORTED : REASON_NO_MEMORY,
                      NULL);
}

static void peer_opened(struct uplink *uplink, struct stream *asking,
                        const struct message_open *open)
{
    struct agent *agent = uplink->holder;
    char kind[MESSAGE_MAX_KIND + 1];
    char host[MESSAGE_MAX_HOST + 1];
    char source[MESSAGE_MAX_NAME + 1];
    char client[MESSAGE_MAX_HOST + 1];
    if (text_copy(open->kind, kind, sizeof(kind)) != 0 ||
        text_copy(open->host, host, sizeof(host)) != 0 ||
        text_copy(open->source, source, sizeof(source)) != 0) {
        stream_refuse(asking, REASON_PROTOCOL, NULL);
        return;
    }
    if (agent->is_stopping) {
        stream_refuse(asking, REASON_SHUTDOWN, STOPPING);
        return;
    }
    snprintf(client, sizeof(client), "%.*s", (int)open->client.size, open->client.data);
    struct session_subject subject = {
        .direction = SESSION_IN,
        .agent = source,
        .host = host,
        .port = open->port,
        .client = client,
        .asker = asker_hold(&agent->askers, source),
    };
    dial_for_peer(agent, asking, kind, &subject);
    asker_release(subject.asker);
}

static const struct uplink_owner uplink_handlers = {
    .up = up,
    .detached = detached,
    .leaving = leaving,
    .resumed = resumed,
    .down = down,
    .refused = refused,
    .peer_opened = peer_opened,
};

/* ---- life ---- */

static int prepare(struct agent *agent)
{
    int error = control_init(&agent->control, &agent->loop);
    agent->has_control = error == 0;
    if (error == 0)
        error = loop_timer_init(&agent->loop, &agent->stop_timer, look_at_stop, agent);
    if (error == 0) {
        agent->has_relief = true;
        error = relief_init(&agent->relief, &agent->loop, &agent->sessions, &agent->uplink,
                            &agent->payers);
    }
    if (error == 0 && agent->config.takes_signals)
        error = signals_take(&agent->signals, &agent->loop, signalled, agent);
    if (error != 0)
        log_error("the agent cannot start: %s", error_text(error));
    return error;
}

static int prepare_uplink(struct agent *agent)
{
    char why[512] = "";
    int error = uplink_init(&agent->uplink, &uplink_handlers, agent, &agent->loop, &agent->config,
                            why, sizeof(why));
    agent->has_uplink = true;
    if (error != 0)
        log_error("the agent cannot start: %s", why);
    return error;
}

static int open_api(struct agent *agent)
{
    char why[AGENT_WHY_SIZE];
    if (agent->config.api == NULL || rest_open(agent, &agent->rest, why, sizeof(why)) == 0)
        return EXIT_CODE_OK;
    log_error("the API cannot be served: %s", why);
    return EXIT_CODE_FAILURE;
}

static int open_all(struct agent *agent)
{
    /* First, for it makes the table whole even when it fails. */
    session_table_init(&agent->sessions, &agent->loop, agent->config.name, agent->config.journal,
                       &agent->payers);
    agent->sessions.emptied = sessions_emptied;
    int error = forward_table_init(&agent->forwards, &agent->loop, &agent->sessions,
                                   &agent->config.whitelist, agent->config.announces);
    if (error == 0)
        error = prepare(agent);
    if (error == 0)
        error = prepare_uplink(agent);
    if (error != 0)
        return EXIT_CODE_FAILURE;
    agent->started = loop_now(&agent->loop);
    int code = agent_open_forwards(agent);
    return code == EXIT_CODE_OK ? open_api(agent) : code;
}

int agent_open(const struct agent_config *config, struct agent **agent)
{
    struct whitelist whitelist = config->whitelist;
    struct agent *opened = memory_allocate_zero(sizeof(*opened));
    int error = opened == NULL ? CULVERT_ERROR_NO_MEMORY : 0;
    uint64_t seed = 0;
    if (error == 0 && getrandom(&seed, sizeof(seed), 0) != (ssize_t)sizeof(seed))
        error = -errno;
    if (error == 0)
        error = payers_init(&opened->payers, ~seed);
    if (error == 0) {
        account_init(&opened->account, config->max_memory);
        error = loop_init(&opened->loop, 0, &opened->account);
        if (error != 0)
            payers_deinit(&opened->payers);
    }
    if (error != 0) {
        log_error("the agent cannot start: %s", error_text(error));
        memory_free(opened);
        whitelist_deinit(&whitelist);
        return EXIT_CODE_FAILURE;
    }
    opened->config = *config;
    opened->end.run = end;
    opened->stop_request.run = stop_as_asked;
    askers_init(&opened->askers, &config->dial_limits, seed);
    int code = open_all(opened);
    if (code != EXIT_CODE_OK) {
        agent_free(opened);
        return code;
    }
    *agent = opened;
    return EXIT_CODE_OK;
}

int agent_run(struct agent *agent)
{
    control_begin(&agent->control);
    uplink_start(&agent->uplink);
    int error = loop_run(&agent->loop);
    signals_release(&agent->signals);
    control_end(&agent->control);
    log_info("the agent has ended");
    return error != 0 ? EXIT_CODE_FAILURE : agent->exit_code;
}

void agent_free(struct agent *agent)
{
    agent->is_stopping = true;
    if (agent->has_control)
        control_end(&agent->control);
    close_api(agent);
    if (agent->has_uplink)
        uplink_close(&agent->uplink);
    session_table_abort(&agent->sessions, REASON_SHUTDOWN, STOPPING);
    forward_table_deinit(&agent->forwards);
    loop_task_cancel(&agent->end);
    if (agent->has_uplink)
        uplink_deinit(&agent->uplink);
    if (agent->has_relief)
        relief_deinit(&agent->relief);
    if (agent->stop_timer.is_open)
        loop_timer_close(&agent->stop_timer, NULL);
    signals_release(&agent->signals);
    loop_deinit(&agent->loop);
    askers_deinit(&agent->askers);
    payers_deinit(&agent->payers);
    if (agent->has_control)
        control_deinit(&agent->control);
    whitelist_deinit(&agent->config.whitelist);
    memory_free(agent);
}
