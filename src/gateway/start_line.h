/* The line with which a gateway starts its log: what runs, where, and by which rules. */
#ifndef GATEWAY_START_LINE_H
#define GATEWAY_START_LINE_H

#include "gateway/worker.h"

/* Logs version, listeners, TLS, policy, and the store with its number of keys. */
void start_line_log(const struct gateway *gateway);

#endif
