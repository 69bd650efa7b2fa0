/* For tests: a client of an API on a Unix socket. */
#ifndef API_API_TEST_CLIENT_H
#define API_API_TEST_CLIENT_H

#include <stdbool.h>
#include <stddef.h>

enum { CLIENT_ANSWER_SIZE = 16 * 1024 };

/* The answers that a client has received so far, and what is waited for in them. */
struct client {
    int fd;
    char answer[CLIENT_ANSWER_SIZE];
    size_t size;
    bool has_ended;
    const char *awaited;
    unsigned times;
};

void client_open(struct client *client, const char *path);
void client_close(struct client *client);
/* Must find room in the kernel. */
void client_send(struct client *client, const char *text);
/* Reads what is there. */
void client_read(struct client *client);
/* For test_loop_until: whether what is awaited has come, or the connection has ended. */
bool client_has_come(void *context);
bool client_has_ended(void *context);

/* How often the piece stands in the text. */
unsigned client_count_text(const char *text, const char *piece);
void client_assert_has(const struct client *client, const char *text);

#endif
