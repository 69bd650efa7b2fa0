#include "net/test_http_server.h"

#include "net/address.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

/* What a connection's thread begins with. */
struct beginning {
    struct test_http_server *server;
    unsigned number;
    int fd;
};

/* Byte by byte, so that nothing behind the head is taken. Returns whether there was one. */
static bool read_head(struct test_http_request *request)
{
    size_t size = 0;
    while (size < TEST_HTTP_HEAD) {
        if (recv(request->fd, request->head + size, 1, 0) != 1)
            return false;
        request->head[++size] = '\0';
        if (request->head[0] < 'A') { /* TLS, as real servers answer to it */
            test_http_write(request, "HTTP/1.1 400 Bad Request\r\n\r\n");
            return false;
        }
        if (size >= 4 && memcmp(request->head + size - 4, "\r\n\r\n", 4) == 0)
            return true;
    }
    return false;
}

static bool read_body(struct test_http_request *request)
{
    char length[256];
    request->body_size = strtoul(test_http_field(request, "Content-Length", length), NULL, 10);
    if (request->body_size > TEST_HTTP_BODY)
        return false;
    for (size_t size = 0; size < request->body_size;) {
        ssize_t got = recv(request->fd, request->body + size, request->body_size - size, 0);
        if (got <= 0)
            return false;
        size += (size_t)got;
    }
    return true;
}

static void *serve(void *argument)
{
    struct beginning beginning = *(struct beginning *)argument;
    struct test_http_server *server = beginning.server;
    struct test_http_request *request = calloc(1, sizeof(*request));
    free(argument);
    request->fd = beginning.fd;
    request->connection = beginning.number;
    request->body = malloc(TEST_HTTP_BODY);
    bool stays = true;
    while (stays && read_head(request) && read_body(request)) {
        request->count++;
        pthread_mutex_lock(&server->lock);
        stays = server->handle(server, request);
        pthread_mutex_unlock(&server->lock);
    }
    pthread_mutex_lock(&server->lock);
    server->fds[request->connection - 1] = -1;
    close(request->fd);
    pthread_mutex_unlock(&server->lock);
    free(request->body);
    free(request);
    return NULL;
}

static void *take(void *argument)
{
    struct test_http_server *server = argument;
    for (;;) {
        int fd = accept(server->listening, NULL, NULL);
        if (fd < 0)
            return NULL;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
        pthread_mutex_lock(&server->lock);
        if (server->is_ending || server->accepted == TEST_HTTP_CONNECTIONS) {
            close(fd);
            pthread_mutex_unlock(&server->lock);
            continue;
        }
        struct beginning *beginning = malloc(sizeof(*beginning));
        *beginning = (struct beginning){server, server->accepted + 1, fd};
        server->fds[server->accepted] = fd;
        pthread_create(&server->threads[server->accepted], NULL, serve, beginning);
        server->accepted++;
        pthread_mutex_unlock(&server->lock);
    }
}

void test_http_start(struct test_http_server *server,
                     bool (*handle)(struct test_http_server *, const struct test_http_request *),
                     void *holder)
{
    struct sockaddr_storage address;
    socklen_t size = sizeof(address);
    memset(server, 0, sizeof(*server));
    server->handle = handle;
    server->holder = holder;
    pthread_mutex_init(&server->lock, NULL);
    pthread_cond_init(&server->changed, NULL);
    server->listening = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(address_parse("127.0.0.1", 0, &address), 0);
    assert_int_equal(bind(server->listening, (struct sockaddr *)&address, address_size(&address)),
                     0);
    assert_int_equal(listen(server->listening, 16), 0);
    assert_int_equal(getsockname(server->listening, (struct sockaddr *)&address, &size), 0);
    server->port = address_port(&address);
    assert_int_equal(pthread_create(&server->acceptor, NULL, take, server), 0);
}

void test_http_stop(struct test_http_server *server)
{
    pthread_mutex_lock(&server->lock);
    server->is_ending = true;
    pthread_cond_broadcast(&server->changed);
    for (unsigned i = 0; i < server->accepted; i++) {
        if (server->fds[i] >= 0)
            shutdown(server->fds[i], SHUT_RDWR);
    }
    pthread_mutex_unlock(&server->lock);
    shutdown(server->listening, SHUT_RDWR);
    pthread_join(server->acceptor, NULL);
    close(server->listening);
    for (unsigned i = 0; i < server->accepted; i++)
        pthread_join(server->threads[i], NULL);
    pthread_mutex_destroy(&server->lock);
    pthread_cond_destroy(&server->changed);
}

const char *test_http_field(const struct test_http_request *request, const char *name,
                            char out[static 256])
{
    size_t size = strlen(name);
    out[0] = '\0';
    for (const char *line = strstr(request->head, "\r\n"); line != NULL;
         line = strstr(line + 2, "\r\n")) {
        if (strncasecmp(line + 2, name, size) == 0 && line[2 + size] == ':')
            (void)sscanf(line + 2 + size + 1, " %255[^\r]", out);
    }
    return out;
}

static void write_all(int fd, const void *bytes, size_t size)
{
    const char *from = bytes;
    while (size > 0) {
        ssize_t sent = send(fd, from, size, MSG_NOSIGNAL);
        if (sent <= 0)
            return;
        from += sent;
        size -= (size_t)sent;
    }
}

void test_http_write(const struct test_http_request *request, const char *text)
{
    write_all(request->fd, text, strlen(text));
}

void test_http_answer(const struct test_http_request *request, const char *status,
                      const char *fields, const void *body, size_t size)
{
    char length[64] = "";
    if (strncmp(status, "204", 3) != 0)
        snprintf(length, sizeof(length), "Content-Length: %zu\r\n", size);
    test_http_write(request, "HTTP/1.1 ");
    test_http_write(request, status);
    test_http_write(request, "\r\n");
    test_http_write(request, length);
    test_http_write(request, fields);
    test_http_write(request, "\r\n");
    write_all(request->fd, body, size);
}
