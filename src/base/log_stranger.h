/* Warnings about what somebody who is not logged in has done. */
#ifndef BASE_LOG_STRANGER_H
#define BASE_LOG_STRANGER_H

/* A warning, printf-like, of which each network address gets one a second; the next one says how
 * many were left out. `address` is ADDRESS:PORT or [ADDRESS]:PORT. All addresses together get 256 a
 * second. Safe from any thread. */
void log_stranger(const char *address, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

#endif
