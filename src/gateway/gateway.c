#include "gateway/gateway.h"

#include "base/error.h"
#include "base/exit_code.h"
#include "base/log.h"
#include "base/memory.h"
#include "gateway/start_line.h"
#include "gateway/worker.h"
#include "net/address.h"
#include "policy/host.h"

#include <errno.h>
#include <netdb.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

enum { REGISTRIES = 4 };

/* ---- TLS ---- */

static int load_tls(struct gateway *gateway)
{
    const struct gateway_config *config = gateway->config;
    if (config->tls_certificate == NULL)
        return 0;
    struct tls_context *context = NULL;
    char why[512];
    int error =
        tls_server_context(config->tls_certificate, config->tls_key, &context, why, sizeof(why));
    if (error != 0) {
        log_error("cannot set up TLS: %s", why);
        return error;
    }
    if (!tls_is_in_date(context, why, sizeof(why)))
        log_warning("the certificate in %s %s; agents will refuse it", config->tls_certificate,
                    why);
    for (unsigned i = 0; i < gateway->worker_count; i++)
        worker_set_tls(&gateway->workers[i], context);
    tls_context_unref(context);
    return 0;
}

/* ---- listening ---- */

static int resolve(const struct gateway_listen *listen, struct addrinfo **addresses)
{
    char port[8];
    snprintf(port, sizeof(port), "%u", listen->port);
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE};
    const char *host = listen->host[0] != 0 ? listen->host : "::";
    int failure = getaddrinfo(host, port, &hints, addresses);
    /* A machine without IPv6: all of IPv4 is all there is. */
    if (failure != 0 && listen->host[0] == 0)
        failure = getaddrinfo("0.0.0.0", port, &hints, addresses);
    return failure == 0 ? 0 : CULVERT_ERROR_RESOLVE;
}

/* Every worker listens on the same address; the first one finds out whether it is free, and which
 * port 0 means. */
static int listen_on_all(struct gateway *gateway, struct sockaddr_storage *address, bool dual)
{
    for (unsigned i = 0; i < gateway->worker_count; i++) {
        struct worker *worker = &gateway->workers[i];
        int error = worker_listen(worker, address, dual, i == 0);
        if (error != 0)
            return error;
        const struct listener *listener = worker->listeners[worker->listener_count - 1];
        address_set_port(address, listener_port(listener));
    }
    return 0;
}

static const char *listen_advice(int error)
{
    switch (error) {
    case -EADDRINUSE:
        return "; another process listens there, such as a web server or another gateway";
    case -EACCES:
        return "; ports below 1024 need root or the capability CAP_NET_BIND_SERVICE";
    case -EADDRNOTAVAIL:
        return "; no interface of this machine has that address";
    default:
        return "";
    }
}

static int listen_once(struct gateway *gateway, const struct gateway_listen *listen,
                       struct gateway_place *place)
{
    bool dual = listen->host[0] == 0;
    struct addrinfo *addresses = NULL;
    int error = resolve(listen, &addresses);
    if (error == 0) {
        struct sockaddr_storage address = {0};
        memcpy(&address, addresses->ai_addr, addresses->ai_addrlen);
        freeaddrinfo(addresses);
        error = listen_on_all(gateway, &address, dual);
        if (error == -EAFNOSUPPORT && dual && address_parse("0.0.0.0", listen->port, &address) == 0)
            error = listen_on_all(gateway, &address, false);
    }
    if (error != 0) {
        char text[HOST_PORT_TEXT_SIZE];
        log_error("cannot listen on %s: %s%s",
                  host_port_text(dual ? "*" : listen->host, listen->port, text), error_text(error),
                  listen_advice(error));
        return error;
    }
    const struct worker *first = &gateway->workers[0];
    const struct listener *listener = first->listeners[first->listener_count - 1];
    place->port = listener_port(listener);
    listener_text(listener, place->text, sizeof(place->text));
    return 0;
}

/* ---- keys ---- */

static void keys_changed(void *context)
{
    struct gateway *gateway = context;
    for (unsigned i = 0; i < gateway->worker_count; i++)
        worker_recheck_keys(&gateway->workers[i]);
}

static int start_watch(struct gateway *gateway)
{
    if (gateway->config->open) {
        log_warning("OPEN: agents need no key; whoever reaches this port can register any name");
        return 0;
    }
    char why[512];
    int error = store_watch_start(gateway->config->data, keys_changed, gateway, &gateway->watch,
                                  why, sizeof(why));
    if (error != 0)
        log_error("cannot open the store of keys: %s", why);
    return error;
}

/* ---- threads ---- */

static void *run_worker(void *argument)
{
    struct worker *worker = argument;
    int error = loop_run(&worker->loop);
    if (error != 0)
        log_error("worker %u has ended: %s", worker->loop.index, error_text(error));
    return NULL;
}

static int start_threads(struct gateway *gateway)
{
    /* Signals are for the thread that runs the gateway, or for the program around it. */
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = 0;
    for (unsigned i = 1; i < gateway->worker_count && error == 0; i++) {
        struct worker *worker = &gateway->workers[i];
        error = -pthread_create(&worker->thread, NULL, run_worker, worker);
        worker->has_thread = error == 0;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (error != 0)
        log_error("cannot start a thread: %s", error_text(error));
    return error;
}

static void reload_tls(struct gateway *gateway)
{
    if (gateway->config->tls_certificate == NULL)
        return;
    if (load_tls(gateway) == 0)
        log_info("the TLS certificate was read again");
    else
        log_warning("the old TLS certificate stays in use");
}

static void reload(struct gateway *gateway)
{
    reload_tls(gateway);
    authorizer_reload(&gateway->authorizer);
    if (gateway->config->journal != NULL)
        journal_reopen(gateway->config->journal);
}

/* ---- policy ---- */

static int start_policy(struct gateway *gateway)
{
    char why[512];
    int error = authorizer_open(&gateway->authorizer, gateway->config, &gateway->workers[0].loop,
                                why, sizeof(why));
    if (error != 0)
        log_error("cannot read the policy: %s", why);
    return error;
}

/* ---- life ---- */

static int start_workers(struct gateway *gateway)
{
    unsigned count = gateway->config->threads;
    gateway->workers = memory_allocate_zero(count * sizeof(*gateway->workers));
    if (gateway->workers == NULL)
        return CULVERT_ERROR_NO_MEMORY;
    for (; gateway->worker_count < count; gateway->worker_count++) {
        struct worker *worker = &gateway->workers[gateway->worker_count];
        int error = worker_init(worker, gateway, gateway->worker_count);
        if (error != 0)
            return error;
    }
    shutdown_init(&gateway->shutdown, gateway, reload);
    /* Before anyone can read that we listen: who has may ask us to end. */
    return gateway->config->takes_signals ? shutdown_take_signals(&gateway->shutdown) : 0;
}

static int start(struct gateway *gateway)
{
    int error = start_workers(gateway);
    if (error != 0)
        log_error("cannot start the gateway: %s", error_text(error));
    return error;
}

static int listen_everywhere(struct gateway *gateway)
{
    const struct gateway_config *config = gateway->config;
    gateway->places = memory_allocate_zero((config->listen_count + 1) * sizeof(*gateway->places));
    if (gateway->places == NULL)
        return CULVERT_ERROR_NO_MEMORY;
    int error = 0;
    for (size_t i = 0; i < config->listen_count && error == 0; i++)
        error = listen_once(gateway, &config->listens[i], &gateway->places[i]);
    return error;
}

/* What the user may have got wrong. Returns an exit code. */
static int open_all(struct gateway *gateway)
{
    int error = load_tls(gateway);
    if (error == 0)
        error = start_policy(gateway);
    if (error == 0)
        error = start_watch(gateway);
    if (error != 0)
        return EXIT_CODE_FAILURE;
    error = listen_everywhere(gateway);
    if (error == CULVERT_ERROR_NO_MEMORY)
        return EXIT_CODE_FAILURE;
    return error == 0 ? EXIT_CODE_OK : EXIT_CODE_NO_PORT;
}

static void join_threads(struct gateway *gateway)
{
    for (unsigned i = 1; i < gateway->worker_count; i++) {
        if (gateway->workers[i].has_thread)
            pthread_join(gateway->workers[i].thread, NULL);
        gateway->workers[i].has_thread = false;
    }
}

/* Frees the first so many. */
static void deinit_registries(struct gateway *gateway, size_t count)
{
    struct registry *const registries[REGISTRIES] = {&gateway->registry, &gateway->links,
                                                     &gateway->polls, &gateway->left};
    while (count > 0)
        registry_deinit(registries[--count]);
}

static void deinit_tables(struct gateway *gateway)
{
    deinit_registries(gateway, REGISTRIES);
    admission_deinit(&gateway->admission);
    pressure_deinit(&gateway->pressure);
    chains_deinit(&gateway->chains);
}

static int init_tables(struct gateway *gateway, unsigned handshakes)
{
    struct registry *const registries[REGISTRIES] = {&gateway->registry, &gateway->links,
                                                     &gateway->polls, &gateway->left};
    uint64_t seeds[REGISTRIES + 3];
    if (getrandom(seeds, sizeof(seeds), 0) != (ssize_t)sizeof(seeds))
        return CULVERT_ERROR_NO_MEMORY;
    for (size_t i = 0; i < REGISTRIES; i++) {
        int error = registry_init(registries[i], seeds[i]);
        if (error != 0) {
            deinit_registries(gateway, i);
            return error;
        }
    }
    int error = admission_init(&gateway->admission, handshakes, seeds[REGISTRIES]);
    if (error == 0) {
        error = pressure_init(&gateway->pressure, seeds[REGISTRIES + 1]);
        if (error != 0)
            admission_deinit(&gateway->admission);
    }
    if (error != 0)
        deinit_registries(gateway, REGISTRIES);
    else
        chains_init(&gateway->chains, seeds[REGISTRIES + 2]);
    return error;
}

int gateway_open(const struct gateway_config *config, struct gateway **out)
{
    struct gateway *gateway = memory_allocate_zero(sizeof(*gateway));
    if (gateway == NULL || init_tables(gateway, config->handshakes) != 0) {
        log_error("cannot start the gateway: out of memory");
        memory_free(gateway);
        return EXIT_CODE_FAILURE;
    }
    gateway->config = config;
    account_init(&gateway->account, config->max_memory);
    int code = start(gateway) == 0 ? open_all(gateway) : EXIT_CODE_FAILURE;
    if (code != EXIT_CODE_OK) {
        gateway_free(gateway);
        return code;
    }
    start_line_log(gateway);
    *out = gateway;
    return EXIT_CODE_OK;
}

int gateway_run(struct gateway *gateway)
{
    int error = start_threads(gateway);
    if (error == 0) {
        error = loop_run(&gateway->workers[0].loop);
        log_info("the gateway has ended");
    } else {
        for (unsigned i = 1; i < gateway->worker_count; i++)
            loop_stop(&gateway->workers[i].loop);
    }
    shutdown_release_signals(&gateway->shutdown);
    join_threads(gateway);
    return error == 0 ? EXIT_CODE_OK : EXIT_CODE_FAILURE;
}

void gateway_free(struct gateway *gateway)
{
    if (gateway->watch != NULL)
        store_watch_stop(gateway->watch);
    authorizer_close(&gateway->authorizer);
    if (gateway->shutdown.gateway != NULL)
        shutdown_deinit(&gateway->shutdown);
    pressure_end(&gateway->pressure);
    for (unsigned i = 0; i < gateway->worker_count; i++)
        worker_deinit(&gateway->workers[i]);
    memory_free(gateway->workers);
    memory_free(gateway->places);
    deinit_tables(gateway);
    memory_free(gateway);
}

/* ---- from other threads ---- */

uint16_t gateway_port(const struct gateway *gateway, size_t index)
{
    return index < gateway->config->listen_count ? gateway->places[index].port : 0;
}

const char *gateway_address(const struct gateway *gateway, size_t index)
{
    return index < gateway->config->listen_count ? gateway->places[index].text : NULL;
}

void gateway_stop(struct gateway *gateway, unsigned seconds)
{
    shutdown_stop(&gateway->shutdown, seconds);
}

void gateway_reload(struct gateway *gateway)
{
    shutdown_reload(&gateway->shutdown);
}
