#include "base/log_stranger.h"

#include "base/log.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

enum {
    SLOTS = 256,
    ADDRESS_SIZE = 64,
    TEXT_SIZE = 900, /* below what the log cuts */
};

/* Of the addresses that share a hash. */
struct slot {
    int64_t next; /* milliseconds; no line before */
    uint64_t left_out;
};

static struct {
    pthread_mutex_t mutex;
    struct slot slots[SLOTS];
} strangers = {.mutex = PTHREAD_MUTEX_INITIALIZER};

static int64_t milliseconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void take_address(const char *text, char out[static ADDRESS_SIZE])
{
    const char *colon = strrchr(text, ':');
    size_t size = colon != NULL ? (size_t)(colon - text) : strlen(text);
    if (size >= ADDRESS_SIZE)
        size = ADDRESS_SIZE - 1;
    memcpy(out, text, size);
    out[size] = '\0';
}

/* FNV-1a */
static size_t slot_of(const char *address)
{
    uint32_t hash = UINT32_C(2166136261);
    for (; *address != '\0'; address++)
        hash = (hash ^ (uint8_t)*address) * UINT32_C(16777619);
    return hash % SLOTS;
}

/* Whether a line may be written now; then `left_out` is how many were not since the last. */
static bool may_write(const char *text, uint64_t *left_out)
{
    char address[ADDRESS_SIZE];
    take_address(text, address);
    int64_t now = milliseconds();
    pthread_mutex_lock(&strangers.mutex);
    struct slot *slot = &strangers.slots[slot_of(address)];
    bool may = now >= slot->next;
    if (may) {
        *left_out = slot->left_out;
        slot->left_out = 0;
        slot->next = now + 1000;
    } else {
        slot->left_out++;
    }
    pthread_mutex_unlock(&strangers.mutex);
    return may;
}

void log_stranger(const char *address, const char *format, ...)
{
    char text[TEXT_SIZE];
    uint64_t left_out = 0;
    if (!log_is_on(LOG_WARNING) || !may_write(address, &left_out))
        return;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    if (left_out > 0)
        log_warning("%s (%" PRIu64 " more left out)", text, left_out);
    else
        log_warning("%s", text);
}
