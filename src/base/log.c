#include "base/log.h"

#include "base/error.h"
#include "base/output.h"
#include "base/utf8.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum {
    MESSAGE_SIZE = 1024,
    ESCAPE_SIZE = 6, /* the longest one: \u001f */
    ENTRY_SIZE = MESSAGE_SIZE * ESCAPE_SIZE + 256,
};

static struct {
    _Atomic int level;
    enum log_format format;
    const char *component;
    _Atomic(log_receiver *) receiver;
    _Atomic uint64_t dropped; /* lines since the last that was taken */
} logger = {.level = LOG_INFO, .format = LOG_TEXT, .component = "culvert"};

/* One line in the making. All that goes in fits, by the sizes above. */
struct entry {
    char data[ENTRY_SIZE];
    size_t size;
};

void log_init(enum log_level level, enum log_format format, const char *component)
{
    logger.format = format;
    logger.component = component;
    atomic_store_explicit(&logger.level, (int)level, memory_order_release);
}

void log_set_level(enum log_level level)
{
    atomic_store_explicit(&logger.level, (int)level, memory_order_release);
}

void log_set_receiver(log_receiver *receiver)
{
    atomic_store(&logger.receiver, receiver);
}

int log_parse_level(const char *text, enum log_level *level)
{
    static const struct {
        const char *name;
        enum log_level level;
    } names[] = {{"debug", LOG_DEBUG},
                 {"info", LOG_INFO},
                 {"warning", LOG_WARNING},
                 {"warn", LOG_WARNING},
                 {"error", LOG_ERROR}};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (strcmp(text, names[i].name) == 0) {
            *level = names[i].level;
            return 0;
        }
    }
    return CULVERT_ERROR_INVALID;
}

int log_parse_format(const char *text, enum log_format *format)
{
    if (strcmp(text, "text") == 0)
        *format = LOG_TEXT;
    else if (strcmp(text, "json") == 0)
        *format = LOG_JSON;
    else
        return CULVERT_ERROR_INVALID;
    return 0;
}

bool log_is_on(enum log_level level)
{
    return (int)level >= atomic_load_explicit(&logger.level, memory_order_acquire);
}

__attribute__((format(printf, 2, 3))) static void add(struct entry *entry, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    int size = vsnprintf(entry->data + entry->size, ENTRY_SIZE - entry->size, format, arguments);
    va_end(arguments);
    if (size > 0 && (size_t)size < ENTRY_SIZE - entry->size)
        entry->size += (size_t)size;
}

static void add_time(struct entry *entry)
{
    struct timespec now;
    struct tm utc;
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &utc);
    add(entry, "%04d-%02d-%02dT%02d:%02d:%02d.%03ldZ", utc.tm_year + 1900, utc.tm_mon + 1,
        utc.tm_mday, utc.tm_hour, utc.tm_min, utc.tm_sec, now.tv_nsec / 1000000);
}

/* For a well-formed character. */
static uint32_t code_point(const uint8_t *text, size_t length)
{
    uint32_t code = length == 1 ? text[0] : text[0] & (0x7fU >> length);
    for (size_t i = 1; i < length; i++)
        code = code << 6 | (text[i] & 0x3fU);
    return code;
}

/* What ends a line, changes how a terminal shows the rest of it, or does something to the terminal:
 * C0, DEL, C1 (U+009B starts a control sequence), line and paragraph separators, and the
 * characters that direct bidirectional text (UAX #9 §2). */
static bool is_control(uint32_t code)
{
    return code < 0x20 || (code >= 0x7f && code < 0xa0) || code == 0x61c ||
           (code >= 0x200e && code <= 0x200f) || (code >= 0x2028 && code <= 0x202e) ||
           (code >= 0x2066 && code <= 0x2069);
}

static void add_control(struct entry *entry, uint32_t code, bool json)
{
    if (code == '\n')
        add(entry, "\\n");
    else if (code == '\t')
        add(entry, "\\t");
    else
        add(entry, json || code > 0xff ? "\\u%04x" : "\\x%02x", (unsigned)code);
}

static void add_escaped(struct entry *entry, const uint8_t *text, size_t size, bool json)
{
    for (size_t length; size > 0; text += length, size -= length) {
        length = utf8_character_size(text, size);
        if (length == 0) {
            length = 1;
            if (json)
                add(entry, "\\ufffd");
            else
                add(entry, "\\x%02x", (unsigned)text[0]);
        } else if (is_control(code_point(text, length))) {
            add_control(entry, code_point(text, length), json);
        } else {
            if (json && (text[0] == '"' || text[0] == '\\'))
                add(entry, "\\");
            add(entry, "%.*s", (int)length, (const char *)text);
        }
    }
}

static void add_line(struct entry *entry, enum log_level level, const char *message, size_t size)
{
    static const char *const upper[] = {"DEBUG", "INFO", "WARNING", "ERROR"};
    static const char *const lower[] = {"debug", "info", "warning", "error"};
    bool json = logger.format == LOG_JSON;
    if (json)
        add(entry, "{\"time\":\"");
    add_time(entry);
    if (json)
        add(entry, "\",\"level\":\"%s\",\"component\":\"%s\",\"message\":\"", lower[level],
            logger.component);
    else
        add(entry, " %s %s: ", upper[level], logger.component);
    add_escaped(entry, (const uint8_t *)message, size, json);
    add(entry, json ? "\"}\n" : "\n");
}

static bool receiver_takes(enum log_level level, const char *message, size_t size)
{
    log_receiver *receiver = atomic_load(&logger.receiver);
    struct entry entry;
    if (receiver == NULL)
        return false;
    entry.size = 0;
    entry.data[0] = '\0';
    add_escaped(&entry, (const uint8_t *)message, size, false);
    return receiver(level, entry.data);
}

/* One write, so that entries of several threads and processes do not mix. */
static bool write_line(enum log_level level, const char *message, size_t size)
{
    struct entry entry;
    entry.size = 0;
    add_line(&entry, level, message, size);
    return output_write(STDERR_FILENO, entry.data, entry.size);
}

static void write_entry(enum log_level level, const char *message, size_t size)
{
    char text[128];
    uint64_t dropped = atomic_exchange(&logger.dropped, 0);
    if (dropped > 0) {
        int length = snprintf(text, sizeof(text),
                              "%" PRIu64 " line%s of the log %s dropped since "
                              "nobody read standard error",
                              dropped, dropped == 1 ? "" : "s", dropped == 1 ? "was" : "were");
        if (!write_line(LOG_WARNING, text, (size_t)length)) {
            atomic_fetch_add(&logger.dropped, dropped + 1);
            return;
        }
    }
    if (!write_line(level, message, size))
        atomic_fetch_add(&logger.dropped, 1);
}

void log_write(enum log_level level, const char *format, ...)
{
    int saved = errno;
    char message[MESSAGE_SIZE];
    va_list arguments;
    va_start(arguments, format);
    int size = vsnprintf(message, sizeof(message), format, arguments);
    va_end(arguments);
    if (size >= 0) {
        size_t kept = (size_t)size < sizeof(message) ? (size_t)size : sizeof(message) - 1;
        if (!receiver_takes(level, message, kept))
            write_entry(level, message, kept);
    }
    errno = saved;
}
