#include "gateway/gateway.h"

#include "base/error.h"
#include "base/exit_code.h"
#include "base/memory.h"
#include "gateway/gateway_listen.h"
#include "library/events.h"
#include "library/options.h"
#include "library/result.h"
#include "library/runner.h"
#include "library/texts.h"
#include "lua/lua_pool.h"
#include "net/machine.h"
#include "policy/network.h"

#include <culvert/gateway.h>
#include <stdio.h>

enum {
    WHY_SIZE = 512,
    LUA_WORKERS_MAX = 64,
    TRUSTED_MAX = 64,
    HANDSHAKES_MAX = 1000000,
    RESUME_WINDOW_MAX = 24 * 60 * 60,
};

struct culvert_gateway {
    struct runner runner;
    struct texts texts;
    struct gateway_config config;
    struct gateway_listen *listens;
    struct network trusted[TRUSTED_MAX];
    struct events events;
    struct gateway *gateway;
};

/* ---- options ---- */

static int take_listens(struct culvert_gateway *handle,
                        const struct culvert_gateway_options *options, char *why, size_t why_size)
{
    static const char *const usual[] = {":8080"};
    const char *const *listens = options->listen_count > 0 ? options->listens : usual;
    size_t count = options->listen_count > 0 ? options->listen_count : 1;
    handle->listens = memory_allocate_zero(count * sizeof(*handle->listens));
    if (handle->listens == NULL)
        return options_complain(CULVERT_NO_MEMORY, why, why_size, "out of memory");
    for (size_t i = 0; i < count; i++) {
        char wrong[WHY_SIZE] = "";
        int error = gateway_listen_parse(listens[i], &handle->listens[i], wrong, sizeof(wrong));
        if (error != 0)
            return options_complain(result_of_error(error), why, why_size, "listens[%zu]: %s", i,
                                    wrong);
    }
    handle->config.listens = handle->listens;
    handle->config.listen_count = count;
    return CULVERT_OK;
}

static int take_trusted(struct culvert_gateway *handle,
                        const struct culvert_gateway_options *options, char *why, size_t why_size)
{
    if (options->trusted_proxy_count > TRUSTED_MAX)
        return options_complain(CULVERT_INVALID, why, why_size, "trusted_proxies: at most %d",
                                TRUSTED_MAX);
    for (size_t i = 0; i < options->trusted_proxy_count; i++) {
        char wrong[WHY_SIZE] = "";
        struct network_parts parts;
        network_split(text_of(options->trusted_proxies[i]), &parts);
        if (network_parse(&parts, &handle->trusted[i], wrong, sizeof(wrong)) != 0)
            return options_complain(CULVERT_INVALID, why, why_size, "trusted_proxies[%zu]: %s", i,
                                    wrong);
    }
    handle->config.trusted = handle->trusted;
    handle->config.trusted_count = options->trusted_proxy_count;
    return CULVERT_OK;
}

static unsigned handshakes_of(int wanted)
{
    if (wanted == 0)
        return GATEWAY_HANDSHAKES;
    return wanted > 0 ? (unsigned)wanted : 0;
}

static int check(const struct culvert_gateway_options *options, char *why, size_t why_size)
{
    if (!options->grant && !options->deny && options->acl == NULL && options->script == NULL)
        return options_complain(CULVERT_INVALID, why, why_size,
                                "no policy is chosen: set acl, script, grant or deny");
    if ((options->tls_certificate == NULL) != (options->tls_key == NULL))
        return options_complain(CULVERT_INVALID, why, why_size,
                                "tls_certificate and tls_key need each other");
    if (options->threads > MACHINE_CORES_MAX)
        return options_complain(CULVERT_INVALID, why, why_size, "threads: at most %d",
                                MACHINE_CORES_MAX);
    if (options->resume_window > RESUME_WINDOW_MAX)
        return options_complain(CULVERT_INVALID, why, why_size, "resume_window: at most %d",
                                RESUME_WINDOW_MAX);
    if (options->lua_workers > LUA_WORKERS_MAX)
        return options_complain(CULVERT_INVALID, why, why_size, "lua_workers: at most %d",
                                LUA_WORKERS_MAX);
    if (options->handshakes_per_second > HANDSHAKES_MAX)
        return options_complain(CULVERT_INVALID, why, why_size, "handshakes_per_second: at most %d",
                                HANDSHAKES_MAX);
    return CULVERT_OK;
}

static unsigned resume_window_of(int seconds)
{
    if (seconds == 0)
        return GATEWAY_RESUME_WINDOW;
    return seconds > 0 ? (unsigned)seconds : 0;
}

static void take_policy(struct culvert_gateway *handle,
                        const struct culvert_gateway_options *options)
{
    struct texts *texts = &handle->texts;
    struct gateway_config *config = &handle->config;
    config->grant = options->grant;
    config->deny = options->deny;
    config->acl = texts_keep(texts, options->acl);
    config->script = texts_keep(texts, options->script);
    config->program =
        texts_keep(texts, options->program != NULL ? options->program : CULVERT_PROGRAM);
    config->lua_user = texts_keep(texts, options->lua_user);
    config->lua_workers = options->lua_workers > 0 ? options->lua_workers : LUA_POOL_WORKERS;
    config->auth_timeout = options->auth_timeout > 0 ? options->auth_timeout : LUA_POOL_TIMEOUT;
}

static int take_options(struct culvert_gateway *handle,
                        const struct culvert_gateway_options *options, char *why, size_t why_size)
{
    struct texts *texts = &handle->texts;
    struct gateway_config *config = &handle->config;
    int code = check(options, why, why_size);
    if (code != CULVERT_OK)
        return code;
    config->tls_certificate = texts_keep(texts, options->tls_certificate);
    config->tls_key = texts_keep(texts, options->tls_key);
    take_policy(handle, options);
    config->open = options->open;
    config->legacy_hubble = options->legacy_hubble;
    config->data = texts_keep(texts, options->data);
    config->threads = options->threads > 0 ? options->threads : machine_cores();
    config->handshakes = handshakes_of(options->handshakes_per_second);
    config->resume_window = resume_window_of(options->resume_window);
    config->max_memory = options->max_memory > 0 ? options->max_memory : machine_half_memory();
    handle->events.are_wanted = options->script != NULL; /* it may see them */
    handle->events.callback = options->on_event;
    handle->events.context = options->event_context;
    handle->events.config.log = options->events_log;
    handle->events.config.file = texts_keep(texts, options->events_file);
    handle->events.config.webhook = texts_keep(texts, options->events_webhook);
    handle->events.config.webhook_secret = texts_keep(texts, options->events_webhook_secret);
    if (texts->has_failed)
        return options_complain(CULVERT_NO_MEMORY, why, why_size, "out of memory");
    code = take_trusted(handle, options, why, why_size);
    return code != CULVERT_OK ? code : take_listens(handle, options, why, why_size);
}

/* ---- life ---- */

static int open_gateway(void *object)
{
    struct culvert_gateway *handle = object;
    if (events_open(&handle->events) != 0)
        return EXIT_CODE_FAILURE;
    handle->config.journal = handle->events.journal;
    return gateway_open(&handle->config, &handle->gateway);
}

static int run_gateway(void *object)
{
    struct culvert_gateway *handle = object;
    return gateway_run(handle->gateway);
}

static const struct runner_job job = {open_gateway, run_gateway};

static void dispose(struct culvert_gateway *handle)
{
    if (handle->gateway != NULL)
        gateway_free(handle->gateway);
    events_close(&handle->events);
    memory_free(handle->listens);
    texts_deinit(&handle->texts);
    memory_free(handle);
}

int culvert_gateway_start(const struct culvert_gateway_options *given,
                          struct culvert_gateway **gateway, char *why, size_t why_size)
{
    struct culvert_gateway_options options;
    int code = options_take(&options, sizeof(options), given, why, why_size);
    if (code != CULVERT_OK)
        return code;
    struct culvert_gateway *handle = memory_allocate_zero(sizeof(*handle));
    if (handle == NULL)
        return options_complain(CULVERT_NO_MEMORY, why, why_size, "out of memory");
    code = take_options(handle, &options, why, why_size);
    if (code == CULVERT_OK)
        code = runner_start(&handle->runner, &job, handle, why, why_size);
    if (code != CULVERT_OK) {
        dispose(handle);
        return code;
    }
    *gateway = handle;
    return CULVERT_OK;
}

void culvert_gateway_free(struct culvert_gateway *gateway)
{
    if (gateway == NULL)
        return;
    gateway_stop(gateway->gateway, 0);
    runner_deinit(&gateway->runner);
    dispose(gateway);
}

uint16_t culvert_gateway_port(const struct culvert_gateway *gateway, size_t index)
{
    return gateway_port(gateway->gateway, index);
}

const char *culvert_gateway_address(const struct culvert_gateway *gateway, size_t index)
{
    return gateway_address(gateway->gateway, index);
}

void culvert_gateway_reload(struct culvert_gateway *gateway)
{
    gateway_reload(gateway->gateway);
}

void culvert_gateway_stop(struct culvert_gateway *gateway, unsigned seconds)
{
    gateway_stop(gateway->gateway, seconds);
}

int culvert_gateway_wait(struct culvert_gateway *gateway, int milliseconds)
{
    return runner_wait_ended(&gateway->runner, milliseconds);
}
