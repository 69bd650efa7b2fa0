/* Which addresses are this machine's own. */
#ifndef NET_LOCAL_ADDRESS_H
#define NET_LOCAL_ADDRESS_H

#include <stdbool.h>
#include <sys/socket.h>

/* Asked of the kernel each time, since addresses come and go while the process runs. True also when
 * the kernel cannot be asked (no descriptor is left). */
bool local_address_is(const struct sockaddr_storage *address);

#endif
