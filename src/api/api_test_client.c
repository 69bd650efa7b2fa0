#include "api/api_test_client.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

void client_open(struct client *client, const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    memset(client, 0, sizeof *client);
    snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
    client->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    assert_true(client->fd >= 0);
    assert_int_equal(connect(client->fd, (struct sockaddr *)&address, sizeof address), 0);
}

void client_close(struct client *client)
{
    close(client->fd);
}

void client_send(struct client *client, const char *text)
{
    assert_int_equal(send(client->fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

void client_read(struct client *client)
{
    while (!client->has_ended && client->size < CLIENT_ANSWER_SIZE - 1) {
        ssize_t got =
            read(client->fd, client->answer + client->size, CLIENT_ANSWER_SIZE - 1 - client->size);
        if (got < 0 && errno == EAGAIN)
            return;
        client->has_ended = got <= 0;
        client->size += got > 0 ? (size_t)got : 0;
    }
}

unsigned client_count_text(const char *text, const char *piece)
{
    unsigned count = 0;
    for (const char *at = strstr(text, piece); at != NULL; at = strstr(at + 1, piece))
        count++;
    return count;
}

bool client_has_come(void *context)
{
    struct client *client = context;
    client_read(client);
    return client_count_text(client->answer, client->awaited) >= client->times;
}

bool client_has_ended(void *context)
{
    struct client *client = context;
    client_read(client);
    return client->has_ended;
}

void client_assert_has(const struct client *client, const char *text)
{
    if (strstr(client->answer, text) == NULL)
        fail_msg("\"%s\" is not in: %s", text, client->answer);
}
