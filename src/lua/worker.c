/* The worker process: `culvert lua-worker`. */
#include "base/error.h"
#include "base/exit_code.h"
#include "lua/answer.h"
#include "lua/confine.h"
#include "lua/excerpt.h"
#include "lua/frame.h"
#include "lua/json_module.h"
#include "lua/lua_pool.h"
#include "lua/request_object.h"
#include "lua/sandbox.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

enum {
    WORKER_SOCKET = 3,
    PRINTS = 64, /* lines that a script may print for one question */
};

struct worker {
    struct sandbox sandbox;
    struct frame_reader in;
    const char *secret; /* of the question that is being answered */
    unsigned prints;
};

/* ---- talking to the pool ---- */

/* Ends the object in the frame and sends it. */
static int send_object(struct frame *frame)
{
    frame_add(frame, "}", 1);
    int error = frame_end(frame);
    if (error == 0)
        error = frame_send(frame, WORKER_SOCKET);
    frame_deinit(frame);
    return error;
}

static int send_text(const char *name, const char *text)
{
    struct frame frame = {0};
    frame_object(&frame);
    frame_member(&frame, name, text);
    return send_object(&frame);
}

static int send_verdict(const struct policy_verdict *verdict, bool is_last)
{
    struct frame frame = {0};
    frame_object(&frame);
    frame_member(&frame, "verdict",
                 verdict->allowed  ? "allow"
                 : verdict->failed ? "fail"
                                   : "refuse");
    frame_member(&frame, "reason", verdict->reason);
    if (is_last)
        frame_json(&frame, "last", "true", 4);
    return send_object(&frame);
}

static void print(void *context, const char *line, size_t size)
{
    struct worker *worker = context;
    char text[ANSWER_LOG_SIZE];
    if (worker->prints++ >= PRINTS)
        return;
    if (worker->prints == PRINTS)
        snprintf(text, sizeof text, "(what it prints more is left out)");
    else
        excerpt_make(text, sizeof text, line, size, worker->secret);
    /* If this cannot be sent, neither can the answer, and that ends the worker. */
    (void)send_text("log", text);
}

/* ---- questions ---- */

struct ask {
    const json_t *question;
    struct worker *worker;
    struct policy_verdict verdict;
};

/* A boolean and, if the script gives one, a reason. */
static void take_verdict(lua_State *state, struct ask *ask, const char *function)
{
    struct policy_verdict *verdict = &ask->verdict;
    if (lua_type(state, -2) != LUA_TBOOLEAN) {
        policy_fail(verdict, "%s returned a %s instead of a boolean", function,
                    luaL_typename(state, -2));
        return;
    }
    if (lua_toboolean(state, -2))
        policy_allow(verdict, "the script allows it");
    else
        policy_refuse(verdict, "the script refuses it");
    size_t size = 0;
    const char *reason =
        lua_type(state, -1) == LUA_TSTRING ? lua_tolstring(state, -1, &size) : NULL;
    if (size > 0)
        excerpt_make(verdict->reason, sizeof verdict->reason, reason, size, ask->worker->secret);
}

static int ask_connect(lua_State *state)
{
    struct ask *ask = lua_touserdata(state, 1);
    sandbox_push_global(state, "connect");
    if (!lua_isfunction(state, -1)) {
        policy_fail(&ask->verdict, "the script has no function connect");
        return 0;
    }
    request_object_push_request(state, ask->question);
    lua_call(state, 1, 2);
    take_verdict(state, ask, "connect");
    return 0;
}

static int ask_register(lua_State *state)
{
    struct ask *ask = lua_touserdata(state, 1);
    sandbox_push_global(state, "register");
    /* The script was exchanged while the question was on its way. */
    if (!lua_isfunction(state, -1)) {
        policy_allow(&ask->verdict, "the script does not ask");
        return 0;
    }
    request_object_push_agent(state, ask->question);
    lua_call(state, 1, 2);
    take_verdict(state, ask, "register");
    return 0;
}

static int tell_event(lua_State *state)
{
    struct ask *ask = lua_touserdata(state, 1);
    policy_allow(&ask->verdict, "told");
    sandbox_push_global(state, "on_event");
    if (!lua_isfunction(state, -1))
        return 0;
    json_module_push(state, json_object_get(ask->question, "event"));
    lua_call(state, 1, 0);
    return 0;
}

static int call_script(struct worker *worker, struct ask *ask)
{
    char why[SANDBOX_REASON_SIZE];
    const char *word = json_string_value(json_object_get(ask->question, "ask"));
    lua_CFunction function = tell_event;
    if (word != NULL && strcmp(word, "connect") == 0)
        function = ask_connect;
    else if (word != NULL && strcmp(word, "register") == 0)
        function = ask_register;
    worker->secret = json_string_value(json_object_get(ask->question, "key"));
    worker->prints = 0;
    int error = sandbox_call(&worker->sandbox, function, ask, worker->secret, why);
    worker->secret = NULL;
    if (error != 0)
        policy_fail(&ask->verdict, "%s", why);
    return error;
}

/* Returns an error when the worker is of no more use. */
static int answer(struct worker *worker)
{
    struct ask ask = {.worker = worker};
    int error = 0;
    json_t *question = json_loadb(worker->in.data, worker->in.size, 0, NULL);
    ask.question = question;
    if (question == NULL)
        policy_fail(&ask.verdict, "the request is not UTF-8 text");
    else
        error = call_script(worker, &ask);
    json_decref(question);
    /* Memory that one question has used up would fail all that follow. */
    bool is_last = error == CULVERT_ERROR_NO_MEMORY;
    int failure = send_verdict(&ask.verdict, is_last);
    return is_last ? error : failure;
}

/* ---- the script ---- */

static bool has_function(struct worker *worker, const char *name)
{
    lua_State *state = worker->sandbox.state;
    sandbox_push_global(state, name);
    bool is_function = lua_isfunction(state, -1);
    lua_pop(state, 1);
    return is_function;
}

static int note_functions(lua_State *state)
{
    struct worker *worker = lua_touserdata(state, 1);
    struct frame frame = {0};
    static const char *const names[] = {"connect", "register", "on_event"};
    frame_object(&frame);
    frame_json(&frame, "loaded", "true", 4);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        bool has = has_function(worker, names[i]);
        frame_json(&frame, names[i], has ? "true" : "false", has ? 4 : 5);
    }
    return send_object(&frame) == 0 ? 0 : luaL_error(state, "the pool has gone");
}

static int load(struct worker *worker, const char *name)
{
    char why[SANDBOX_REASON_SIZE];
    int error = frame_receive(&worker->in, WORKER_SOCKET);
    if (error != 0)
        return error;
    error = sandbox_run(&worker->sandbox, name, worker->in.data, worker->in.size, why);
    frame_reader_next(&worker->in);
    if (error == 0)
        error = sandbox_call(&worker->sandbox, note_functions, worker, NULL, why);
    if (error != 0)
        (void)send_text("broken", why);
    return error;
}

/* The first frame says what is to come. */
static int begin(struct worker *worker)
{
    int error = frame_receive(&worker->in, WORKER_SOCKET);
    if (error != 0)
        return error;
    json_t *hello = json_loadb(worker->in.data, worker->in.size, 0, NULL);
    frame_reader_next(&worker->in);
    const char *name = json_string_value(json_object_get(hello, "name"));
    json_int_t memory = json_integer_value(json_object_get(hello, "memory"));
    if (name == NULL || memory <= 0) {
        error = CULVERT_ERROR_PROTOCOL;
    } else {
        confine_memory((size_t)memory);
        error = sandbox_open(&worker->sandbox, (size_t)memory);
        worker->sandbox.print = print;
        worker->sandbox.context = worker;
    }
    if (error == 0)
        error = load(worker, name);
    json_decref(hello);
    return error;
}

static bool is_socket(int descriptor)
{
    int type = 0;
    socklen_t size = sizeof type;
    return getsockopt(descriptor, SOL_SOCKET, SO_TYPE, &type, &size) == 0 && type == SOCK_STREAM;
}

int lua_worker_run(const struct worker_user *user)
{
    struct worker worker = {.secret = NULL};
    char why[SANDBOX_REASON_SIZE];
    if (!is_socket(WORKER_SOCKET)) {
        fprintf(stderr, "culvert lua-worker: is started by a gateway alone\n");
        return EXIT_CODE_USAGE;
    }
    if (confine_process(WORKER_SOCKET, user, why, sizeof why) != 0) {
        (void)send_text("broken", why);
        return EXIT_CODE_OK;
    }
    frame_reader_init(&worker.in, FRAME_SCRIPT);
    int error = begin(&worker);
    while (error == 0) {
        error = frame_receive(&worker.in, WORKER_SOCKET);
        if (error == 0)
            error = answer(&worker);
        frame_reader_next(&worker.in);
    }
    sandbox_close(&worker.sandbox);
    frame_reader_deinit(&worker.in);
    /* Each of these has been told, or is the pool's own wish. */
    return EXIT_CODE_OK;
}
