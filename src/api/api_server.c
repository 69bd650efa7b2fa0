#include "api/api_server.h"

#include "api/api_connection.h"
#include "api/api_listen.h"
#include "base/error.h"
#include "base/log.h"
#include "base/memory.h"
#include "net/address.h"
#include "net/listener.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

struct api_server {
    struct api_site site;
    struct listener *listener;
    char *path; /* of the unix socket, or NULL */
    struct api_listen_file file;
    struct loop_timer grace; /* runs while there is no room */
    struct loop_task buried;
    bool is_closed;
};

static void free_server(struct api_server *server)
{
    struct api_site *site = &server->site;
    explicit_bzero(site->token, sizeof site->token);
    memory_free(site->given);
    memory_free(server->path);
    memory_free(server);
}

/* ---- connections ---- */

static struct api_server *server_of(struct api_site *site)
{
    return CONTAINER_OF(site, struct api_server, site);
}

static void on_changed(struct api_site *site)
{
    struct api_server *server = server_of(site);
    if (server->is_closed)
        return;
    bool has_room = api_connection_has_room(site);
    listener_accept(server->listener, has_room);
    if (has_room)
        loop_timer_stop(&server->grace);
    else
        loop_timer_start(&server->grace, API_CONNECTION_GRACE);
}

static void on_grace_over(struct loop_timer *timer)
{
    struct api_server *server = timer->holder;
    on_changed(&server->site);
}

/* Where there is no room, the next ones wait in the kernel's queue. */
static void on_accepted(struct listener *listener, int fd)
{
    struct api_server *server = listener_holder(listener);
    struct api_site *site = &server->site;
    api_connection_make_room(site);
    int error = api_connection_new(site, fd);
    if (error != 0)
        log_warning("the API could not take a connection: %s", error_text(error));
}

static const struct listener_events EVENTS = {on_accepted};

/* ---- the server ---- */

int api_server_set_token(struct api_server *server, const char *token)
{
    return text_copy(text_of(token), server->site.token, sizeof server->site.token);
}

static int copy_texts(struct api_server *server, const struct api_server_config *config)
{
    struct api_site *site = &server->site;
    int error = api_server_set_token(server, config->token);
    if (error != 0)
        return error;
    site->given = memory_copy_text(config->host != NULL ? config->host : "");
    server->path = config->host == NULL ? memory_copy_text(config->path) : NULL;
    bool is_whole = site->given != NULL && (config->host != NULL || server->path != NULL);
    return is_whole ? 0 : CULVERT_ERROR_NO_MEMORY;
}

int api_server_new(struct loop *loop, const struct api_server_config *config,
                   struct api_server **server, char *why, size_t why_size)
{
    char detail[API_DETAIL_SIZE];
    struct api_server *new = memory_allocate_zero(sizeof *new);
    int error = CULVERT_ERROR_NO_MEMORY;
    snprintf(detail, sizeof detail, "%s", error_text(error));
    if (new == NULL)
        goto out;
    new->site.loop = loop;
    new->site.routes = config->routes;
    new->site.route_count = config->route_count;
    new->site.context = config->context;
    new->site.refresh_token = config->refresh_token;
    new->site.changed = on_changed;
    list_init(&new->site.connections);
    error = copy_texts(new, config);
    if (error == 0)
        error = api_listen(loop, config, &EVENTS, new, &new->listener, &new->file, detail);
    if (error != 0) {
        free_server(new);
        goto out;
    }
    loop_timer_init(loop, &new->grace, on_grace_over, new);
    listener_accept(new->listener, true);
    *server = new;
    return 0;
out:
    snprintf(why, why_size, "%s", detail);
    return error;
}

void api_server_text(const struct api_server *server, char *out, size_t size)
{
    char text[ADDRESS_TEXT_SIZE];
    if (server->path != NULL) {
        snprintf(out, size, "unix:%s", server->path);
        return;
    }
    listener_text(server->listener, text, sizeof text);
    snprintf(out, size, "http://%s", text);
}

uint16_t api_server_port(const struct api_server *server)
{
    return listener_port(server->listener);
}

static void run_buried(struct loop_task *task)
{
    free_server(CONTAINER_OF(task, struct api_server, buried));
}

void api_server_close(struct api_server *server)
{
    assert(!server->is_closed);
    server->is_closed = true;
    listener_close(server->listener);
    if (server->path != NULL)
        api_listen_remove(server->path, &server->file);
    api_connection_close_all(&server->site);
    server->buried.run = run_buried;
    loop_timer_close(&server->grace, &server->buried);
}
