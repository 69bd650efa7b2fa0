#include "lua/process.h"

#include "base/error.h"
#include "base/log.h"
#include "base/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    WORKER_SOCKET = 3,
    ENVIRONMENT_MAX = 24,
    USER_SIZE = 32,      /* of the option */
    FRAMES_AT_ONCE = 64, /* that are taken from one worker before others have their turn */
    PROCESSES_MAX = 256, /* that are waited for at once */
};

struct lua_process {
    struct lua_process_group *group;
    const struct lua_process_handlers *handlers;
    void *holder;
    struct list_node node;
    pid_t pid;
    int socket;
    bool is_given_up;
    bool was_killed;
    bool is_closed; /* reaped, its handles are closing */
    struct frame out;
    struct frame_reader in;
    struct loop_timer timer;
    struct loop_task timer_closed;
    uv_poll_t poll;
    bool is_poll_closed;
};

/* ---- starting ---- */

/* What the time zone, a proxy and the authorities depend on, and a sanitizer's options. */
static bool is_inherited(const char *variable)
{
    static const char *const names[] = {
        "TZ",           "http_proxy",   "HTTP_PROXY",   "https_proxy",   "HTTPS_PROXY",
        "all_proxy",    "ALL_PROXY",    "no_proxy",     "NO_PROXY",      "SSL_CERT_FILE",
        "SSL_CERT_DIR", "ASAN_OPTIONS", "LSAN_OPTIONS", "UBSAN_OPTIONS", "TSAN_OPTIONS",
    };
    size_t size = strcspn(variable, "=");
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (strlen(names[i]) == size && memcmp(names[i], variable, size) == 0)
            return true;
    }
    return false;
}

static void choose_environment(char *chosen[static ENVIRONMENT_MAX])
{
    size_t count = 0;
    for (char **variable = environ; *variable != NULL && count < ENVIRONMENT_MAX - 1; variable++) {
        if (is_inherited(*variable))
            chosen[count++] = *variable;
    }
    chosen[count] = NULL;
}

/* A process group of its own, so that Ctrl-C in a terminal leaves it to us; no signal is blocked or
 * ignored. */
static int set_attributes(posix_spawnattr_t *attributes)
{
    sigset_t none;
    sigset_t all;
    sigemptyset(&none);
    sigfillset(&all);
    int error = posix_spawnattr_setflags(
        attributes, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    if (error == 0)
        error = posix_spawnattr_setsigmask(attributes, &none);
    if (error == 0)
        error = posix_spawnattr_setsigdefault(attributes, &all);
    return error;
}

static int spawn(const struct lua_process_group *group, int socket, pid_t *pid)
{
    char name[] = "culvert";
    char word[] = "lua-worker";
    char option[USER_SIZE];
    char *const words[] = {name, word, group->user.is_other ? option : NULL, NULL};
    snprintf(option, sizeof option, "--user=%u:%u", (unsigned)group->user.user,
             (unsigned)group->user.group);
    char *environment[ENVIRONMENT_MAX];
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    choose_environment(environment);
    int error = posix_spawn_file_actions_init(&actions);
    if (error != 0)
        return -error;
    error = posix_spawnattr_init(&attributes);
    if (error != 0) {
        posix_spawn_file_actions_destroy(&actions);
        return -error;
    }
    error = set_attributes(&attributes);
    if (error == 0)
        error = posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDWR, 0);
    if (error == 0)
        error = posix_spawn_file_actions_adddup2(&actions, STDIN_FILENO, STDOUT_FILENO);
    if (error == 0)
        error = posix_spawn_file_actions_adddup2(&actions, socket, WORKER_SOCKET);
    if (error == 0)
        error = posix_spawn(pid, group->program, &actions, &attributes, words, environment);
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&actions);
    return -error;
}

static void timer_fired(struct loop_timer *timer);
static void timer_closed(struct loop_task *task);
static void socket_ready(uv_poll_t *poll, int status, int events);

static void watch(struct lua_process *process)
{
    int events = UV_READABLE | (frame_is_empty(&process->out) ? 0 : UV_WRITABLE);
    uv_poll_start(&process->poll, events, socket_ready);
}

/* Both handles, or none. */
static int open_handles(struct lua_process *process)
{
    struct loop *loop = process->group->loop;
    int error = uv_poll_init(&loop->uv, &process->poll, process->socket);
    if (error != 0)
        return error;
    process->poll.data = process;
    /* Cannot fail in libuv: a timer takes nothing from the system. */
    error = loop_timer_init(loop, &process->timer, timer_fired, process);
    process->timer_closed.run = timer_closed;
    return error;
}

int lua_process_start(struct lua_process_group *group, const struct lua_process_handlers *handlers,
                      void *holder, struct lua_process **out)
{
    int pair[2] = {-1, -1};
    struct lua_process *process = memory_allocate_zero(sizeof *process);
    if (process == NULL)
        return CULVERT_ERROR_NO_MEMORY;
    process->group = group;
    process->handlers = handlers;
    process->holder = holder;
    frame_reader_init(&process->in, FRAME_ANSWER);
    int error = socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0 ? 0 : -errno;
    process->socket = pair[0];
    if (error == 0)
        error = spawn(group, pair[1], &process->pid);
    if (error == 0) {
        error = open_handles(process);
        if (error != 0) {
            kill(process->pid, SIGKILL);
            waitpid(process->pid, NULL, 0);
        }
    }
    if (pair[1] >= 0)
        close(pair[1]);
    if (error != 0) {
        if (pair[0] >= 0)
            close(pair[0]);
        memory_free(process);
        return error;
    }
    list_append(&group->processes, &process->node);
    watch(process);
    *out = process;
    return 0;
}

void lua_process_group_init(struct lua_process_group *group, struct loop *loop, const char *program,
                            const struct worker_user *user,
                            void (*emptied)(struct lua_process_group *))
{
    *group = (struct lua_process_group){
        .loop = loop, .program = program, .user = *user, .emptied = emptied};
    list_init(&group->processes);
}

/* ---- ending ---- */

static void free_when_closed(struct lua_process *process)
{
    if (process->timer.is_open || !process->is_poll_closed)
        return;
    struct lua_process_group *group = process->group;
    list_remove(&process->node);
    frame_deinit(&process->out);
    frame_reader_deinit(&process->in);
    memory_free(process);
    if (list_is_empty(&group->processes))
        group->emptied(group);
}

static void timer_closed(struct loop_task *task)
{
    struct lua_process *process = CONTAINER_OF(task, struct lua_process, timer_closed);
    process->timer_closed.run = NULL;
    free_when_closed(process);
}

static void poll_closed(uv_handle_t *handle)
{
    struct lua_process *process = handle->data;
    process->is_poll_closed = true;
    if (process->timer_closed.run == NULL)
        free_when_closed(process);
}

static void tell_end(const struct lua_process *process, int status)
{
    if (process->was_killed)
        return;
    if (WIFSIGNALED(status))
        log_warning("a process of the script was ended by signal %d", WTERMSIG(status));
    else if (WEXITSTATUS(status) != 0)
        log_warning("a process of the script ended with %d", WEXITSTATUS(status));
}

/* Its socket has ended, which the kernel does next to last when a process ends: waiting for the
 * rest takes no time. One that only closed it is killed; for others that comes too late to matter.
 */
static void reap(struct lua_process *process)
{
    int status = 0;
    pid_t ended;
    process->is_closed = true;
    kill(process->pid, SIGKILL);
    do
        ended = waitpid(process->pid, &status, 0);
    while (ended < 0 && errno == EINTR);
    if (ended == process->pid)
        tell_end(process, status);
    uv_close((uv_handle_t *)&process->poll, poll_closed);
    close(process->socket);
    loop_timer_close(&process->timer, &process->timer_closed);
}

void lua_process_kill(struct lua_process *process)
{
    process->is_given_up = true;
    if (process->is_closed)
        return;
    process->was_killed = true;
    loop_timer_stop(&process->timer);
    kill(process->pid, SIGKILL);
}

void lua_process_retire(struct lua_process *process)
{
    process->is_given_up = true;
    if (process->is_closed)
        return;
    frame_deinit(&process->out);
    shutdown(process->socket, SHUT_WR);
    loop_timer_start(&process->timer, LUA_PROCESS_GRACE);
}

/* ---- at work ---- */

void lua_process_expect(struct lua_process *process, uint64_t milliseconds)
{
    if (milliseconds == 0)
        loop_timer_stop(&process->timer);
    else
        loop_timer_start(&process->timer, milliseconds);
}

static void timer_fired(struct loop_timer *timer)
{
    struct lua_process *process = timer->holder;
    if (process->is_given_up)
        lua_process_kill(process);
    else
        process->handlers->late(process->holder);
}

static void end(struct lua_process *process)
{
    if (!process->is_given_up) {
        process->is_given_up = true;
        process->handlers->ended(process->holder);
    }
    reap(process);
}

static int flush(struct lua_process *process)
{
    int result = frame_is_empty(&process->out) ? 0 : frame_send(&process->out, process->socket);
    watch(process);
    return result < 0 ? result : 0;
}

bool lua_process_is_sending(const struct lua_process *process)
{
    return !frame_is_empty(&process->out);
}

void lua_process_send(struct lua_process *process, struct frame *frame)
{
    frame_deinit(&process->out);
    process->out = *frame;
    *frame = (struct frame){0};
    /* An error means that it has gone, which reading will tell. */
    (void)flush(process);
}

/* Returns an error when nothing more will come. */
static int take_frames(struct lua_process *process)
{
    int result = 0;
    for (int i = 0; i < FRAMES_AT_ONCE && result == 0; i++) {
        result = frame_receive(&process->in, process->socket);
        if (result == 0) {
            if (!process->is_given_up)
                process->handlers->received(process->holder, process->in.data, process->in.size);
            frame_reader_next(&process->in);
        }
    }
    return result < 0 ? result : 0;
}

static void pump(struct lua_process *process)
{
    int error = flush(process);
    int failure = take_frames(process);
    if (failure != 0 || error != 0)
        end(process);
}

static void socket_ready(uv_poll_t *poll, int status, int events)
{
    (void)status;
    (void)events;
    pump(poll->data);
}

/* ---- without the loop ---- */

void lua_process_group_wait(struct lua_process_group *group, int milliseconds)
{
    struct pollfd sockets[PROCESSES_MAX];
    struct lua_process *processes[PROCESSES_MAX];
    nfds_t count = 0;
    for (struct list_node *node = list_first(&group->processes);
         node != NULL && count < PROCESSES_MAX; node = list_next(&group->processes, node)) {
        struct lua_process *process = CONTAINER_OF(node, struct lua_process, node);
        if (process->is_closed)
            continue;
        short events = (short)(POLLIN | (frame_is_empty(&process->out) ? 0 : POLLOUT));
        processes[count] = process;
        sockets[count++] = (struct pollfd){.fd = process->socket, .events = events};
    }
    if (count == 0 || poll(sockets, count, milliseconds) <= 0)
        return;
    for (nfds_t i = 0; i < count; i++) {
        if (sockets[i].revents != 0 && !processes[i]->is_closed)
            pump(processes[i]);
    }
}

static struct lua_process *first_open(const struct lua_process_group *group)
{
    for (struct list_node *node = list_first(&group->processes); node != NULL;
         node = list_next(&group->processes, node)) {
        struct lua_process *process = CONTAINER_OF(node, struct lua_process, node);
        if (!process->is_closed)
            return process;
    }
    return NULL;
}

void lua_process_group_end(struct lua_process_group *group)
{
    struct lua_process *process;
    uint64_t limit = uv_hrtime() / 1000000 + LUA_PROCESS_GRACE;
    while ((process = first_open(group)) != NULL) {
        uint64_t now = uv_hrtime() / 1000000;
        if (now < limit) {
            lua_process_group_wait(group, (int)(limit - now));
            continue;
        }
        lua_process_kill(process);
        reap(process);
    }
}
