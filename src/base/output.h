/*
 * Standard output and standard error as a loop may use them: a line that nobody takes is dropped,
 * and never waited for. Both belong to whoever started the program, so their flags stay as they
 * are. Safe from any thread.
 */
#ifndef BASE_OUTPUT_H
#define BASE_OUTPUT_H

#include <stdbool.h>
#include <stddef.h>

/* Opens those of the descriptors 0 to 2 that are closed on /dev/null, so that no file or socket of
 * ours gets their numbers, and prepares to write without waiting. Before any other descriptor is
 * opened. Repeatable. */
void output_open(void);

/* Writes a line, with its end, of up to OUTPUT_LINE bytes to STDOUT_FILENO or STDERR_FILENO.
 * Returns whether it was taken; if not, nothing of it was written. */
enum { OUTPUT_LINE = 8192 };
bool output_write(int descriptor, const char *line, size_t size);

/* Writes a line on standard output; adds the end of the line. A line that is not taken is counted,
 * and the log says so. For lines of up to OUTPUT_LINE - 1 bytes. */
void output_print(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
