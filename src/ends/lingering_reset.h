/*
 * The end of a connection that is to be reset behind what was written to it. SO_LINGER with 0 makes
 * the kernel throw its send queue away, so the reset waits until the peer has acknowledged all of
 * it, or until it has taken nothing for loop->reset_patience.
 */
#ifndef ENDS_LINGERING_RESET_H
#define ENDS_LINGERING_RESET_H

#include "net/conn.h"

#include <stdbool.h>

/* Takes the connection. `finish`: our direction is half-closed first. At most loop->max_resets
 * wait; one more resets the oldest at once. Without memory it is reset at once. */
void lingering_reset(struct conn *conn, bool finish);

#endif
