#include "ends/inlet.h"

#include "base/error.h"
#include "base/log_stranger.h"
#include "base/memory.h"
#include "ends/tcp_stream.h"
#include "net/address.h"
#include "net/listener.h"

#include <errno.h>
#include <netdb.h>
#include <string.h>
#include <unistd.h>

enum {
    MAX_LISTENERS = 8,
    /* A port that the kernel chose on the first address may be taken on the next. */
    PORT_ATTEMPTS = 16,
};

struct inlet {
    struct loop *loop;
    const struct inlet_events *events;
    void *holder;
    struct listener *listeners[MAX_LISTENERS];
    size_t count;
    struct loop_task grave;
};

struct bind_list {
    struct sockaddr_storage addresses[MAX_LISTENERS];
    size_t count;
    bool dual;
};

/* ---- what to bind ---- */

static void add_numeric(struct bind_list *list, const char *host)
{
    if (address_parse(host, 0, &list->addresses[list->count]) == 0)
        list->count++;
}

static void add_resolved(struct bind_list *list, const struct addrinfo *found)
{
    if (list->count == MAX_LISTENERS || found->ai_addrlen > sizeof(list->addresses[0]))
        return;
    struct sockaddr_storage address = {.ss_family = AF_UNSPEC};
    memcpy(&address, found->ai_addr, found->ai_addrlen);
    for (size_t i = 0; i < list->count; i++) {
        if (address_equals_host(&list->addresses[i], &address))
            return;
    }
    list->addresses[list->count++] = address;
}

/* Waits for the resolver, which a program may do where it starts. */
static int resolve(struct bind_list *list, const char *name)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE};
    struct addrinfo *found = NULL;
    if (getaddrinfo(name, NULL, &hints, &found) != 0)
        return CULVERT_ERROR_RESOLVE;
    for (const struct addrinfo *next = found; next != NULL; next = next->ai_next)
        add_resolved(list, next);
    freeaddrinfo(found);
    return list->count > 0 ? 0 : CULVERT_ERROR_RESOLVE;
}

static int list_addresses(struct bind_list *list, const char *bind)
{
    *list = (struct bind_list){.count = 0};
    if (bind == NULL) {
        add_numeric(list, "127.0.0.1");
        add_numeric(list, "::1");
    } else if (strcmp(bind, "*") == 0) {
        list->dual = true;
        add_numeric(list, "::");
    } else {
        add_numeric(list, bind);
    }
    return list->count > 0 ? 0 : resolve(list, bind);
}

/* ---- connections ---- */

static void on_accepted(struct listener *listener, int fd)
{
    struct inlet *inlet = listener_holder(listener);
    struct sockaddr_storage address = {.ss_family = AF_UNSPEC};
    socklen_t size = sizeof(address);
    struct inlet_client client = {{0}, {0}};
    if (getpeername(fd, (struct sockaddr *)&address, &size) == 0)
        address_text(&address, client.address);
    if (address_pair_text(fd, false, client.pair, sizeof(client.pair)) == NULL)
        client.pair[0] = '\0';
    struct stream *stream;
    int error = tcp_stream_new(inlet->loop, fd, &stream);
    if (error != 0) {
        log_stranger(client.address, "a connection from %s was closed: %s", client.address,
                     error_text(error));
        close(fd);
        return;
    }
    inlet->events->accepted(inlet, stream, &client);
}

static const struct listener_events listener_handlers = {.accepted = on_accepted};

/* ---- life ---- */

static void close_listeners(struct inlet *inlet)
{
    for (size_t i = 0; i < inlet->count; i++)
        listener_close(inlet->listeners[i]);
    inlet->count = 0;
}

static bool is_missing_family(int error)
{
    return error == -EAFNOSUPPORT || error == -EADDRNOTAVAIL || error == -EPROTONOSUPPORT;
}

/* Binds all addresses to one port. An address that this machine does not have is left out if there
 * is another. */
static int bind_all(struct inlet *inlet, struct bind_list *list, uint16_t port)
{
    const struct listener_options options = {.dual = list->dual, .leaves_reserve = true};
    int missing = CULVERT_ERROR_RESOLVE;
    for (size_t i = 0; i < list->count; i++) {
        struct sockaddr_storage *address = &list->addresses[i];
        struct listener *listener;
        address_set_port(address, port);
        int error = listener_new(inlet->loop, (struct sockaddr *)address, address_size(address),
                                 &options, &listener_handlers, inlet, &listener);
        if (is_missing_family(error)) {
            missing = error;
            continue;
        }
        if (error != 0) {
            close_listeners(inlet);
            return error;
        }
        inlet->listeners[inlet->count++] = listener;
        port = listener_port(listener);
    }
    return inlet->count > 0 ? 0 : missing;
}

static int bind_inlet(struct inlet *inlet, const char *bind, uint16_t port)
{
    struct bind_list list;
    int error = list_addresses(&list, bind);
    if (error != 0)
        return error;
    for (int attempt = 0; attempt < PORT_ATTEMPTS; attempt++) {
        error = bind_all(inlet, &list, port);
        if (error != -EADDRINUSE || port != 0)
            break;
    }
    if (is_missing_family(error) && list.dual) {
        list = (struct bind_list){.count = 0};
        add_numeric(&list, "0.0.0.0");
        error = bind_all(inlet, &list, port);
    }
    return error;
}

static void run_grave(struct loop_task *task)
{
    memory_free(CONTAINER_OF(task, struct inlet, grave));
}

int inlet_tcp(struct loop *loop, const char *bind, uint16_t port, const struct inlet_events *events,
              void *holder, struct inlet **inlet)
{
    struct inlet *new = memory_allocate_zero(sizeof(*new));
    if (new == NULL)
        return CULVERT_ERROR_NO_MEMORY;
    new->loop = loop;
    new->events = events;
    new->holder = holder;
    new->grave.run = run_grave;
    int error = bind_inlet(new, bind, port);
    if (error != 0) {
        memory_free(new);
        return error;
    }
    *inlet = new;
    return 0;
}

void inlet_accept(struct inlet *inlet, bool on)
{
    for (size_t i = 0; i < inlet->count; i++)
        listener_accept(inlet->listeners[i], on);
}

void inlet_close(struct inlet *inlet)
{
    close_listeners(inlet);
    loop_bury(inlet->loop, &inlet->grave);
}

void *inlet_holder(const struct inlet *inlet)
{
    return inlet->holder;
}

void inlet_text(const struct inlet *inlet, char *out, size_t size)
{
    listener_text(inlet->listeners[0], out, size);
}

uint16_t inlet_port(const struct inlet *inlet)
{
    return listener_port(inlet->listeners[0]);
}
