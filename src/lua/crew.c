#include "lua/crew.h"

#include "base/error.h"
#include "base/log.h"
#include "base/memory.h"
#include "lua/answer.h"
#include "lua/excerpt.h"
#include "policy/host.h"

#include <stdio.h>
#include <string.h>

enum {
    NAME_SIZE = 64,          /* of the script in its errors; Lua cuts it there itself */
    ANSWER_TEXT_SHOWN = 900, /* behind the path */
};

/* A worker's place, which outlives the worker. */
enum seat_state {
    SEAT_EMPTY,
    SEAT_LOADING,
    SEAT_IDLE,
    SEAT_BUSY,
};

struct seat {
    struct crew *crew;
    enum seat_state state;
    bool is_for_events;
    bool is_out;       /* its worker has died, and no replacement has read the script yet */
    bool has_served;   /* this worker has done something */
    unsigned failures; /* workers in a row that have not */
    struct lua_process *process;
    struct lua_question *question;
    struct loop_timer restart;
    struct loop_task restart_closed;
};

enum crew_state {
    CREW_LOADING,
    CREW_WORKING,
    CREW_ENDING,
};

struct crew {
    struct list_node node;
    struct crew_config config;
    struct crew_script script;
    enum crew_state state;
    bool is_at_work; /* crew_work was called */
    bool has_register;
    bool has_on_event;
    unsigned seat_count; /* the last one is the one for events */
    unsigned open_timers;
    struct loop_task burial;
    struct seat seats[];
};

static void fill_seat(struct seat *seat);
static void bury_if_over(struct crew *crew);

/* ---- questions ---- */

static void run_answer(struct loop *loop, struct loop_message *message)
{
    struct lua_question *question = CONTAINER_OF(message, struct lua_question, message);
    question->answered(loop, question);
}

void crew_answer(struct lua_question *question)
{
    question->message.run = run_answer;
    loop_post(question->loop, &question->message);
}

static int pack_question(const struct lua_question *question, struct frame *frame)
{
    const struct policy_request *request = &question->request;
    frame_object(frame);
    frame_member(frame, "source", request->source);
    frame_member(frame, "user", request->user);
    frame_member(frame, "address", request->address);
    if (question->kind == LUA_REGISTER) {
        frame_member(frame, "ask", "register");
    } else {
        char host[HOST_NAME_SIZE];
        host_canonical_text(text_of(request->host), host);
        frame_member(frame, "ask", "connect");
        frame_member(frame, "kind", request->kind);
        frame_member(frame, "agent", request->agent);
        frame_member(frame, "host", host);
        frame_number(frame, "port", request->port);
        frame_member(frame, "key", request->key);
    }
    frame_add(frame, "}", 1);
    return frame_end(frame);
}

static int pack_event(const char *event, struct frame *frame)
{
    frame_object(frame);
    frame_member(frame, "ask", "event");
    frame_json(frame, "event", event, strlen(event));
    frame_add(frame, "}", 1);
    return frame_end(frame);
}

/* ---- seats ---- */

static void leave(struct seat *seat)
{
    seat->process = NULL;
    seat->state = SEAT_EMPTY;
}

static void fail_question(struct seat *seat, const char *reason)
{
    struct lua_question *question = seat->question;
    seat->question = NULL;
    if (question == NULL)
        return;
    policy_fail(&question->verdict, "%s", reason);
    crew_answer(question);
}

static void fill_later(struct seat *seat, bool is_to_blame)
{
    uint64_t delay = 0;
    seat->failures = is_to_blame && !seat->has_served ? seat->failures + 1 : 0;
    for (unsigned i = 0; i < seat->failures && delay < CREW_DELAY_MAX; i++)
        delay = delay == 0 ? CREW_DELAY_MIN : delay * 2;
    loop_timer_start(&seat->restart, delay < CREW_DELAY_MAX ? delay : CREW_DELAY_MAX);
}

/* Notifies the owner when the last worker for questions has died, or the first one is ready again.
 */
static void set_out(struct seat *seat, bool is_out)
{
    struct crew *crew = seat->crew;
    if (seat->is_out == is_out || seat->is_for_events)
        return;
    seat->is_out = is_out;
    unsigned manned = 0;
    for (unsigned i = 0; i + 1 < crew->seat_count; i++)
        manned += !crew->seats[i].is_out;
    if (manned == (is_out ? 0 : 1))
        crew->config.owner->manned(crew->config.context, crew, !is_out);
}

/* The crew cannot start: it ends, and its owner is told. */
static void break_crew(struct crew *crew, const char *why)
{
    const struct crew_owner *owner = crew->config.owner;
    crew_end(crew, why);
    owner->broken(crew->config.context, crew, why);
}

/* Its worker has gone, or was never there. */
static void lose(struct seat *seat, const char *why, bool is_to_blame)
{
    struct crew *crew = seat->crew;
    leave(seat);
    fail_question(seat, why);
    if (crew->state == CREW_LOADING)
        break_crew(crew, why);
    else if (crew->state == CREW_WORKING)
        fill_later(seat, is_to_blame);
    else
        bury_if_over(crew);
    if (crew->state == CREW_WORKING && is_to_blame)
        set_out(seat, true);
}

static void feed(struct seat *seat)
{
    struct crew *crew = seat->crew;
    const struct crew_config *config = &crew->config;
    struct frame frame = {0};
    while (crew->is_at_work && seat->state == SEAT_IDLE) {
        int error;
        if (seat->is_for_events) {
            char *event = config->owner->next_event(config->context);
            if (event == NULL)
                return;
            error = pack_event(event, &frame);
            memory_free(event);
        } else {
            seat->question = config->owner->next_question(config->context);
            if (seat->question == NULL)
                return;
            error = pack_question(seat->question, &frame);
        }
        if (error != 0) {
            fail_question(seat, "there is no memory left to ask the script");
            continue;
        }
        seat->state = SEAT_BUSY;
        lua_process_expect(seat->process, config->timeout);
        lua_process_send(seat->process, &frame);
    }
}

/* Errors of the script name its file without folders, since agents see them too; whoever starts the
 * gateway is told the whole path. */
static const char *short_name(const struct crew *crew)
{
    const char *slash = strrchr(crew->script.path, '/');
    return slash != NULL ? slash + 1 : crew->script.path;
}

static void name_file(const struct crew *crew, const char *text, char why[static ANSWER_WHY_SIZE])
{
    const char *name = short_name(crew);
    size_t size = strlen(name);
    if (strncmp(text, name, size) == 0 && text[size] == ':')
        snprintf(why, ANSWER_WHY_SIZE, "%s%s", crew->script.path, text + size);
    else
        snprintf(why, ANSWER_WHY_SIZE, "%s: %.*s", crew->script.path, ANSWER_TEXT_SHOWN, text);
}

static void is_broken(struct seat *seat, const char *text)
{
    char why[ANSWER_WHY_SIZE];
    lua_process_kill(seat->process);
    name_file(seat->crew, text, why);
    if (seat->crew->state == CREW_WORKING)
        log_warning("a process could not read the script again: %s", why);
    lose(seat, why, true);
}

static void has_loaded(struct seat *seat, const struct answer *answer)
{
    struct crew *crew = seat->crew;
    seat->state = SEAT_IDLE;
    lua_process_expect(seat->process, 0);
    if (crew->state != CREW_LOADING) {
        set_out(seat, false);
        feed(seat);
        return;
    }
    if (!answer->has_connect) {
        is_broken(seat, "it defines no function connect, without which no session is allowed");
        return;
    }
    crew->has_register = answer->has_register;
    crew->has_on_event = answer->has_on_event;
    for (unsigned i = 0; i + 1 < crew->seat_count; i++) {
        if (crew->seats[i].state != SEAT_IDLE)
            return;
    }
    crew->state = CREW_WORKING;
    if (crew->has_on_event)
        fill_seat(&crew->seats[crew->seat_count - 1]);
    crew->config.owner->loaded(crew->config.context, crew);
}

static void speaks_nonsense(struct seat *seat)
{
    static const char why[] = "the script's process broke the rules";
    lua_process_kill(seat->process);
    log_warning("%s", why);
    lose(seat, why, true);
}

static void has_answered(struct seat *seat, const struct answer *answer)
{
    const struct policy_verdict *verdict = &answer->verdict;
    struct lua_question *question = seat->question;
    seat->question = NULL;
    seat->state = SEAT_IDLE;
    seat->has_served = true;
    lua_process_expect(seat->process, 0);
    if (question != NULL) {
        question->verdict = *verdict;
        crew_answer(question);
    } else if (verdict->failed) {
        log_warning("on_event: %s", verdict->reason);
    }
    if (seat->crew->state == CREW_ENDING || answer->is_last) {
        lua_process_retire(seat->process);
        lose(seat, "", false);
    } else {
        feed(seat);
    }
}

static void seat_received(void *holder, const char *json, size_t size)
{
    struct seat *seat = holder;
    struct answer answer;
    int error = answer_decode(json, size, &answer);
    if (error == 0 && answer.kind == ANSWER_LOG)
        log_info("script: %s", answer.text);
    else if (error == 0 && answer.kind == ANSWER_LOADED && seat->state == SEAT_LOADING)
        has_loaded(seat, &answer);
    else if (error == 0 && answer.kind == ANSWER_BROKEN && seat->state == SEAT_LOADING)
        is_broken(seat, answer.text);
    else if (error == 0 && answer.kind == ANSWER_VERDICT && seat->state == SEAT_BUSY)
        has_answered(seat, &answer);
    else
        speaks_nonsense(seat);
}

static void seat_ended(void *holder)
{
    struct seat *seat = holder;
    char why[ANSWER_WHY_SIZE];
    if (seat->state == SEAT_LOADING)
        snprintf(why, sizeof why, "%s: the process that read it has died", seat->crew->script.path);
    else
        snprintf(why, sizeof why, "the script's process has died");
    lose(seat, why, true);
}

static void seat_late(void *holder)
{
    struct seat *seat = holder;
    char why[ANSWER_WHY_SIZE];
    lua_process_kill(seat->process);
    if (seat->state == SEAT_LOADING) {
        snprintf(why, sizeof why, "%s: was not read within %d s", seat->crew->script.path,
                 CREW_LOAD_MILLISECONDS / 1000);
        lose(seat, why, true);
        return;
    }
    snprintf(why, sizeof why, "the script did not answer within %g s",
             seat->crew->config.timeout / 1000.0);
    if (seat->is_for_events)
        log_warning("on_event: %s", why);
    /* A worker that was busy for so long has not failed at once, and its place is needed. */
    lose(seat, why, false);
}

static const struct lua_process_handlers SEAT_HANDLERS = {
    .received = seat_received,
    .ended = seat_ended,
    .late = seat_late,
};

/* What a worker is told first, with the text of the script behind it as a frame of its own. */
static int pack_script(const struct crew *crew, struct frame *frame)
{
    uint8_t header[FRAME_HEADER_SIZE];
    char name[NAME_SIZE];
    size_t size = crew->script.size;
    for (int i = FRAME_HEADER_SIZE - 1; i >= 0; i--, size >>= 8)
        header[i] = (uint8_t)size;
    excerpt_make(name, sizeof name, short_name(crew), strlen(short_name(crew)), NULL);
    frame_object(frame);
    frame_member(frame, "name", name);
    frame_number(frame, "memory", crew->config.memory);
    frame_add(frame, "}", 1);
    int error = frame_end(frame);
    if (error != 0)
        return error;
    frame_add(frame, header, sizeof header);
    frame_add(frame, crew->script.text, crew->script.size);
    return frame->has_failed ? CULVERT_ERROR_NO_MEMORY : 0;
}

static void fill_seat(struct seat *seat)
{
    struct crew *crew = seat->crew;
    struct frame frame = {0};
    seat->has_served = false;
    int error = pack_script(crew, &frame);
    if (error == 0)
        error = lua_process_start(crew->config.group, &SEAT_HANDLERS, seat, &seat->process);
    if (error != 0) {
        char why[ANSWER_WHY_SIZE];
        snprintf(why, sizeof why, "cannot start %s for the script: %s", crew->config.group->program,
                 error_text(error));
        if (crew->state == CREW_WORKING)
            log_warning("%s", why);
        frame_deinit(&frame);
        lose(seat, why, true);
        return;
    }
    seat->state = SEAT_LOADING;
    lua_process_expect(seat->process, CREW_LOAD_MILLISECONDS);
    lua_process_send(seat->process, &frame);
}

static void restart_fired(struct loop_timer *timer)
{
    fill_seat(timer->holder);
}

/* ---- the crew ---- */

bool crew_is_loading(const struct crew *crew)
{
    return crew->state == CREW_LOADING;
}

const char *crew_path(const struct crew *crew)
{
    return crew->script.path;
}

bool crew_has_register(const struct crew *crew)
{
    return crew->has_register;
}

bool crew_has_on_event(const struct crew *crew)
{
    return crew->has_on_event;
}

void crew_work(struct crew *crew)
{
    crew->is_at_work = true;
    for (unsigned i = 0; i < crew->seat_count; i++)
        feed(&crew->seats[i]);
}

int crew_start(const struct crew_config *config, struct crew_script *script, struct crew **out)
{
    unsigned count = config->workers + 1;
    struct crew *crew = memory_allocate_zero(sizeof *crew + count * sizeof *crew->seats);
    if (crew == NULL) {
        crew_script_free(script);
        return CULVERT_ERROR_NO_MEMORY;
    }
    crew->config = *config;
    crew->script = *script;
    *script = (struct crew_script){0};
    crew->seat_count = count;
    crew->open_timers = count;
    for (unsigned i = 0; i < count; i++) {
        crew->seats[i].crew = crew;
        crew->seats[i].is_for_events = i + 1 == count;
        /* Cannot fail in libuv: a timer takes nothing from the system. */
        loop_timer_init(config->group->loop, &crew->seats[i].restart, restart_fired,
                        &crew->seats[i]);
    }
    list_append(config->crews, &crew->node);
    *out = crew;
    for (unsigned i = 0; i + 1 < count && crew->state == CREW_LOADING; i++)
        fill_seat(&crew->seats[i]);
    return 0;
}

static void bury(struct loop_task *task)
{
    struct crew *crew = CONTAINER_OF(task, struct crew, burial);
    struct crew_config config = crew->config;
    list_remove(&crew->node);
    crew_script_free(&crew->script);
    memory_free(crew);
    config.owner->gone(config.context);
}

static void bury_if_over(struct crew *crew)
{
    for (unsigned i = 0; i < crew->seat_count; i++) {
        if (crew->seats[i].state != SEAT_EMPTY)
            return;
    }
    if (crew->open_timers > 0)
        return;
    crew->burial.run = bury;
    loop_bury(crew->config.group->loop, &crew->burial);
}

static void restart_closed(struct loop_task *task)
{
    struct seat *seat = CONTAINER_OF(task, struct seat, restart_closed);
    seat->crew->open_timers--;
    bury_if_over(seat->crew);
}

static void close_timers(struct crew *crew)
{
    if (crew->state == CREW_ENDING)
        return;
    crew->state = CREW_ENDING;
    for (unsigned i = 0; i < crew->seat_count; i++) {
        crew->seats[i].restart_closed.run = restart_closed;
        loop_timer_close(&crew->seats[i].restart, &crew->seats[i].restart_closed);
    }
}

void crew_retire(struct crew *crew)
{
    close_timers(crew);
    for (unsigned i = 0; i < crew->seat_count; i++) {
        struct seat *seat = &crew->seats[i];
        if (seat->state == SEAT_LOADING)
            lua_process_kill(seat->process);
        else if (seat->state == SEAT_IDLE)
            lua_process_retire(seat->process);
        if (seat->state != SEAT_BUSY)
            leave(seat);
    }
}

void crew_end_all(struct list *crews, const char *reason)
{
    for (struct list_node *node = list_first(crews); node != NULL; node = list_next(crews, node))
        crew_end(CONTAINER_OF(node, struct crew, node), reason);
}

void crew_end(struct crew *crew, const char *reason)
{
    crew_retire(crew);
    for (unsigned i = 0; i < crew->seat_count; i++) {
        struct seat *seat = &crew->seats[i];
        if (seat->state != SEAT_BUSY)
            continue;
        lua_process_kill(seat->process);
        leave(seat);
        fail_question(seat, reason);
    }
    bury_if_over(crew);
}
