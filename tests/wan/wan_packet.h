/*
 * IPv4 packets as they pass: their addresses, the TCP segment within, a reset that answers it.
 * Addresses are in network order, all other numbers in the host's.
 */
#ifndef WAN_PACKET_H
#define WAN_PACKET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    WAN_RESET_SIZE = 40,
    WAN_FIN = 0x01,
    WAN_SYN = 0x02,
    WAN_RST = 0x04,
    WAN_ACK = 0x10,
};

struct wan_segment {
    uint32_t source;
    uint32_t target;
    uint16_t source_port;
    uint16_t target_port;
    uint32_t sequence;
    uint32_t length; /* what it takes of the sequence: payload, SYN and FIN */
    uint32_t acknowledged;
    uint8_t flags;
};

/* Whether it is IPv4 with a whole header; all below asks for that. */
bool wan_packet_is_whole(const uint8_t *data, size_t size);
uint32_t wan_packet_source(const uint8_t *data);
uint32_t wan_packet_target(const uint8_t *data);
/* These keep the checksums of IPv4, TCP and UDP right. */
void wan_packet_set_source(uint8_t *data, size_t size, uint32_t address);
void wan_packet_set_target(uint8_t *data, size_t size, uint32_t address);

/* False if it is no TCP, or not a segment's beginning. */
bool wan_packet_read_segment(const uint8_t *data, size_t size, struct wan_segment *segment);
/* A segment without payload, for a reset. */
void wan_packet_write_segment(uint8_t data[WAN_RESET_SIZE], const struct wan_segment *segment);

#endif
