/* Any head that a server sends is read, and what is told of it is printable and terminated. */
#include "carrier/poll_reply.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const struct poll_reply *reply)
{
    size_t length = strnlen(reply->why, sizeof(reply->why));
    if (length == 0 || length == sizeof(reply->why))
        abort();
    for (size_t i = 0; i < length; i++) {
        if (reply->why[i] < ' ' || reply->why[i] > '~')
            abort();
    }
    if (reply->is_open && (reply->kind != POLL_REPLY_OK || strlen(reply->id) != 32))
        abort();
    if ((reply->kind == POLL_REPLY_BUSY) != (reply->retry_after > 0))
        abort();
    if (reply->down > POLL_MAX_NUMBER)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct poll_reply reply;
    uint8_t *head = malloc(size > 0 ? size : 1); /* so that reading past the end is seen */
    if (head == NULL)
        return 0;
    memcpy(head, data, size);
    poll_reply_read(head, size, NULL, &reply);
    check(&reply);
    poll_reply_read(head, size, "the proxy http://127.0.0.1:3128 (--proxy)", &reply);
    check(&reply);
    free(head);
    return 0;
}
