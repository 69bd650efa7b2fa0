/*
 * The log: one line an entry on standard error, as text or as JSON. Entries below the level cost a
 * comparison. An entry that standard error does not take at once is dropped; the next one that it
 * takes follows a warning with the number of those. Safe from any thread. Never log a secret.
 */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include <stdbool.h>

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARNING, LOG_ERROR };
enum log_format { LOG_TEXT, LOG_JSON };

/* `component` is a static word such as "gateway"; stands in each entry. */
void log_init(enum log_level level, enum log_format format, const char *component);

/* The level alone; any thread, any time. */
void log_set_level(enum log_level level);

/* debug, info, warning (also warn), error. Returns 0 or CULVERT_ERROR_INVALID. */
int log_parse_level(const char *text, enum log_level *level);
int log_parse_format(const char *text, enum log_format *format);

bool log_is_on(enum log_level level);

/* Gets each entry that the level lets through, on the thread that logs, its control characters
 * escaped. Returns whether it took it; else it is written as ever. NULL: there is none. To be set
 * before other threads log. */
typedef bool log_receiver(enum log_level level, const char *message);
void log_set_receiver(log_receiver *receiver);

/* printf-like; an entry longer than 1 KiB is cut. Control characters, line separators and
 * the controls of bidirectional text are escaped. */
void log_write(enum log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));

#define log_debug(...)   (log_is_on(LOG_DEBUG) ? log_write(LOG_DEBUG, __VA_ARGS__) : (void)0)
#define log_info(...)    (log_is_on(LOG_INFO) ? log_write(LOG_INFO, __VA_ARGS__) : (void)0)
#define log_warning(...) (log_is_on(LOG_WARNING) ? log_write(LOG_WARNING, __VA_ARGS__) : (void)0)
#define log_error(...)   (log_is_on(LOG_ERROR) ? log_write(LOG_ERROR, __VA_ARGS__) : (void)0)

#endif
