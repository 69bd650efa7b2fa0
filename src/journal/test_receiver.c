#include "journal/test_receiver.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { REQUEST_SIZE = 4 * 1024 * 1024, PATIENCE_SECONDS = 60 };

/* False when the receiver is being stopped. */
static bool wait_for(const struct receiver *receiver, int descriptor, short events)
{
    struct pollfd both[] = {{.fd = receiver->stop[0], .events = POLLIN},
                            {.fd = descriptor, .events = events}};
    poll(both, 2, -1);
    return both[0].revents == 0;
}

/* Reads one request; NULL if the connection ends before. */
static char *read_request(const struct receiver *receiver, int connection)
{
    char *request = malloc(REQUEST_SIZE);
    size_t size = 0;
    while (request != NULL && wait_for(receiver, connection, POLLIN)) {
        ssize_t got = recv(connection, request + size, REQUEST_SIZE - 1 - size, 0);
        if (got <= 0)
            break;
        size += (size_t)got;
        request[size] = '\0';
        const char *end = strstr(request, "\r\n\r\n");
        const char *length = strcasestr(request, "\r\nContent-Length: ");
        if (end != NULL && length != NULL &&
            size >= (size_t)(end + 4 - request) + strtoul(length + 18, NULL, 10))
            return request;
    }
    free(request);
    return NULL;
}

static void flood(const struct receiver *receiver, int connection)
{
    static const char zeros[4096];
    while (wait_for(receiver, connection, POLLOUT)) {
        if (send(connection, zeros, sizeof zeros, MSG_NOSIGNAL) < 0)
            break;
    }
}

static void answer(const struct receiver *receiver, int connection, int status)
{
    char head[256];
    if (status == RECEIVER_HANGS)
        wait_for(receiver, -1, 0);
    if (status == RECEIVER_HANGS || status == RECEIVER_CLOSES)
        return;
    bool is_flood = status == RECEIVER_FLOODS;
    int size = snprintf(head, sizeof head,
                        "HTTP/1.1 %d Answer\r\nContent-Length: %s\r\nConnection: close\r\n%s\r\n",
                        is_flood ? 200 : status, is_flood ? "1000000000000000" : "0",
                        receiver->extra == NULL ? "" : receiver->extra);
    send(connection, head, (size_t)size, MSG_NOSIGNAL);
    if (is_flood)
        flood(receiver, connection);
}

static void serve(struct receiver *receiver, int connection)
{
    char *request = read_request(receiver, connection);
    if (request == NULL)
        return;
    int status = 200;
    pthread_mutex_lock(&receiver->mutex);
    if (receiver->request_count < receiver->answer_count)
        status = receiver->answers[receiver->request_count];
    if (receiver->request_count < RECEIVER_REQUESTS)
        receiver->requests[receiver->request_count++] = request;
    pthread_cond_broadcast(&receiver->changed);
    pthread_mutex_unlock(&receiver->mutex);
    answer(receiver, connection, status);
}

static void *run(void *context)
{
    struct receiver *receiver = context;
    while (wait_for(receiver, receiver->listener, POLLIN)) {
        int connection = accept(receiver->listener, NULL, NULL);
        if (connection < 0)
            break;
        serve(receiver, connection);
        close(connection);
    }
    return NULL;
}

int receiver_start(struct receiver *receiver)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    memset(receiver, 0, sizeof *receiver);
    receiver->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (receiver->listener < 0 || pipe(receiver->stop) != 0 ||
        bind(receiver->listener, (struct sockaddr *)&address, size) != 0 ||
        listen(receiver->listener, 16) != 0 ||
        getsockname(receiver->listener, (struct sockaddr *)&address, &size) != 0)
        return -1;
    snprintf(receiver->url, sizeof receiver->url, "http://127.0.0.1:%d/events?a=b",
             ntohs(address.sin_port));
    pthread_mutex_init(&receiver->mutex, NULL);
    pthread_cond_init(&receiver->changed, NULL);
    return pthread_create(&receiver->thread, NULL, run, receiver) == 0 ? 0 : -1;
}

void receiver_stop(struct receiver *receiver)
{
    close(receiver->stop[1]);
    pthread_join(receiver->thread, NULL);
    close(receiver->stop[0]);
    close(receiver->listener);
    for (size_t i = 0; i < receiver->request_count; i++)
        free(receiver->requests[i]);
    pthread_cond_destroy(&receiver->changed);
    pthread_mutex_destroy(&receiver->mutex);
}

void receiver_answer_next(struct receiver *receiver, int status)
{
    pthread_mutex_lock(&receiver->mutex);
    receiver->answers[receiver->answer_count++] = status;
    pthread_mutex_unlock(&receiver->mutex);
}

const char *receiver_request(struct receiver *receiver, size_t index)
{
    struct timespec limit;
    clock_gettime(CLOCK_REALTIME, &limit);
    limit.tv_sec += PATIENCE_SECONDS;
    int error = 0;
    pthread_mutex_lock(&receiver->mutex);
    while (receiver->request_count <= index && error == 0)
        error = pthread_cond_timedwait(&receiver->changed, &receiver->mutex, &limit);
    const char *request = error == 0 ? receiver->requests[index] : NULL;
    pthread_mutex_unlock(&receiver->mutex);
    return request;
}

const char *receiver_body(struct receiver *receiver, size_t index)
{
    const char *request = receiver_request(receiver, index);
    return request == NULL ? "" : strstr(request, "\r\n\r\n") + 4;
}

size_t receiver_count(struct receiver *receiver)
{
    pthread_mutex_lock(&receiver->mutex);
    size_t count = receiver->request_count;
    pthread_mutex_unlock(&receiver->mutex);
    return count;
}
