/* Socket addresses as text and back. */
#ifndef NET_ADDRESS_H
#define NET_ADDRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

enum { ADDRESS_TEXT_SIZE = 64 };

/* A numeric IPv4 or IPv6 address (no brackets) and a port. Returns 0 or CULVERT_ERROR_INVALID. */
int address_parse(const char *host, uint16_t port, struct sockaddr_storage *address);
socklen_t address_size(const struct sockaddr_storage *address);
uint16_t address_port(const struct sockaddr_storage *address);
void address_set_port(struct sockaddr_storage *address, uint16_t port);
/* "127.0.0.1:80", "[::1]:80". */
void address_text(const struct sockaddr_storage *address, char out[static ADDRESS_TEXT_SIZE]);
/* Writes "CLIENT SERVER", the addresses of a TCP connection, the same at both ends of it:
 * IPv4-mapped ones as IPv4. `is_client`: the descriptor is that of the client. Returns `out`, or
 * NULL if it has no addresses or they do not fit. */
const char *address_pair_text(int fd, bool is_client, char *out, size_t size);
bool address_is_loopback(const struct sockaddr_storage *address);
/* Same address (an IPv4-mapped IPv6 address equals the IPv4 one), ports aside. */
bool address_equals_host(const struct sockaddr_storage *a, const struct sockaddr_storage *b);

#endif
