#include "net/tls_hello.h"

enum {
    CHANGE_CIPHER_SPEC = 20, /* RFC 8446 §5.1 */
    ALERT = 21,
    HANDSHAKE = 22,
    CLIENT_HELLO = 1, /* RFC 8446 §4 */
    MESSAGE_HEAD = 4,
};

/* Acts on a record's complete head. A change_cipher_spec between two ClientHellos does not start
 * encryption; any other does (RFC 8446 §D.4, RFC 5246 §7.1). */
static void begin_record(struct tls_hello *hello)
{
    uint8_t type = hello->head[0];
    bool stays_clear = type == HANDSHAKE || type == ALERT ||
                       (type == CHANGE_CIPHER_SPEC && hello->type == CLIENT_HELLO);
    hello->record = (uint32_t)hello->head[3] << 8 | hello->head[4];
    hello->head_size = 0;
    hello->is_over = !stays_clear;
}

/* Takes a byte of a message's header. */
static bool take_message_head(struct tls_hello *hello, uint8_t byte)
{
    if (hello->message_head == 0)
        hello->type = byte;
    else
        hello->message = hello->message << 8 | byte;
    hello->message_head = (uint8_t)((hello->message_head + 1) % MESSAGE_HEAD);
    return hello->message_head != 0 || hello->type != CLIENT_HELLO ||
           hello->message <= TLS_HELLO_MAX;
}

/* Skips bytes of a record up to the next message header. Returns how many, at most `size`. */
static size_t skip(struct tls_hello *hello, size_t size)
{
    bool is_handshake = hello->head[0] == HANDSHAKE;
    size_t count = size < hello->record ? size : hello->record;
    if (is_handshake && hello->message_head > 0)
        return 0;
    if (is_handshake && count > hello->message)
        count = hello->message;
    if (is_handshake)
        hello->message -= (uint32_t)count;
    hello->record -= (uint32_t)count;
    return count;
}

bool tls_hello_take(struct tls_hello *hello, const uint8_t *data, size_t size)
{
    for (size_t i = 0; i < size && !hello->is_over;) {
        if (hello->record == 0) {
            hello->head[hello->head_size++] = data[i++];
            if (hello->head_size == sizeof(hello->head))
                begin_record(hello);
            continue;
        }
        size_t skipped = skip(hello, size - i);
        i += skipped;
        if (skipped > 0)
            continue;
        hello->record--;
        if (!take_message_head(hello, data[i++]))
            return false;
    }
    return true;
}
