/* The orderly end of a connection whose session is over: what is left is still sent, then our
 * direction is closed, what the peer goes on sending is dropped, and when it has ended too, or
 * after a while, the connection is closed. */
#ifndef ENDS_FAREWELL_H
#define ENDS_FAREWELL_H

#include "base/slice.h"
#include "net/conn.h"

enum { FAREWELL_TIME = 10 * 1000 /* milliseconds without progress */ };

/* Takes the connection and all of the queue. Without memory the connection is aborted. */
void farewell(struct conn *conn, struct slice_queue *left);

#endif
