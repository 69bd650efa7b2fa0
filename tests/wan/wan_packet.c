#include "wan_packet.h"

#include <netinet/in.h>
#include <string.h>

enum {
    IP_HEADER_SIZE = 20,
    IP_CHECKSUM_AT = 10,
    IP_SOURCE_AT = 12,
    IP_TARGET_AT = 16,
    TCP_HEADER_SIZE = 20,
    TCP_CHECKSUM_AT = 16,
    UDP_CHECKSUM_AT = 6,
    TIME_TO_LIVE = 64,
};

static uint16_t get16(const uint8_t *data)
{
    return (uint16_t)(data[0] << 8 | data[1]);
}

static uint32_t get32(const uint8_t *data)
{
    return (uint32_t)get16(data) << 16 | get16(data + 2);
}

static void put16(uint8_t *data, uint32_t value)
{
    data[0] = (uint8_t)(value >> 8);
    data[1] = (uint8_t)value;
}

static void put32(uint8_t *data, uint32_t value)
{
    put16(data, value >> 16);
    put16(data + 2, value);
}

static size_t header_size(const uint8_t *data)
{
    return (size_t)(data[0] & 0x0F) * 4;
}

bool wan_packet_is_whole(const uint8_t *data, size_t size)
{
    return size >= IP_HEADER_SIZE && data[0] >> 4 == 4 && header_size(data) >= IP_HEADER_SIZE &&
           header_size(data) <= size;
}

uint32_t wan_packet_source(const uint8_t *data)
{
    uint32_t address;
    memcpy(&address, data + IP_SOURCE_AT, sizeof address);
    return address;
}

uint32_t wan_packet_target(const uint8_t *data)
{
    uint32_t address;
    memcpy(&address, data + IP_TARGET_AT, sizeof address);
    return address;
}

static uint16_t fold(uint64_t sum)
{
    while (sum >> 16 != 0)
        sum = (sum & 0xFFFF) + (sum >> 16);
    return (uint16_t)sum;
}

/* RFC 1624, equation 3. */
static void adjust(uint8_t *checksum, const uint8_t *before, const uint8_t *after)
{
    uint64_t sum = (uint16_t)~get16(checksum);
    for (int i = 0; i < 4; i += 2)
        sum += (uint64_t)(uint16_t)~get16(before + i) + get16(after + i);
    put16(checksum, (uint16_t)~fold(sum));
}

/* The checksum above IP that covers the addresses too (RFC 9293 §3.1, RFC 768), or NULL. */
static uint8_t *upper_checksum(uint8_t *data, size_t size)
{
    bool is_first = (get16(data + 6) & 0x1FFF) == 0;
    size_t offset = 0;
    if (is_first && data[9] == IPPROTO_TCP)
        offset = header_size(data) + TCP_CHECKSUM_AT;
    else if (is_first && data[9] == IPPROTO_UDP)
        offset = header_size(data) + UDP_CHECKSUM_AT;
    if (offset == 0 || offset + 2 > size)
        return NULL;
    bool has_none = data[9] == IPPROTO_UDP && get16(data + offset) == 0;
    return has_none ? NULL : data + offset;
}

static void set_address(uint8_t *data, size_t size, size_t offset, uint32_t address)
{
    uint8_t before[4], after[4];
    memcpy(before, data + offset, 4);
    memcpy(after, &address, 4);
    adjust(data + IP_CHECKSUM_AT, before, after);
    uint8_t *upper = upper_checksum(data, size);
    if (upper != NULL)
        adjust(upper, before, after);
    memcpy(data + offset, after, 4);
}

void wan_packet_set_source(uint8_t *data, size_t size, uint32_t address)
{
    set_address(data, size, IP_SOURCE_AT, address);
}

void wan_packet_set_target(uint8_t *data, size_t size, uint32_t address)
{
    set_address(data, size, IP_TARGET_AT, address);
}

bool wan_packet_read_segment(const uint8_t *data, size_t size, struct wan_segment *segment)
{
    size_t offset = header_size(data);
    size_t total = get16(data + 2);
    if (data[9] != IPPROTO_TCP || (get16(data + 6) & 0x1FFF) != 0 || total > size ||
        offset + TCP_HEADER_SIZE > total)
        return false;
    const uint8_t *tcp = data + offset;
    size_t tcp_size = (size_t)(tcp[12] >> 4) * 4;
    if (tcp_size < TCP_HEADER_SIZE || offset + tcp_size > total)
        return false;
    uint8_t flags = tcp[13];
    *segment = (struct wan_segment){
        .source = wan_packet_source(data),
        .target = wan_packet_target(data),
        .source_port = get16(tcp),
        .target_port = get16(tcp + 2),
        .sequence = get32(tcp + 4),
        .length = (uint32_t)(total - offset - tcp_size) + ((flags & WAN_SYN) != 0) +
                  ((flags & WAN_FIN) != 0),
        .acknowledged = get32(tcp + 8),
        .flags = flags,
    };
    return true;
}

static uint64_t sum_of(const uint8_t *data, size_t size)
{
    uint64_t sum = 0;
    for (size_t i = 0; i + 1 < size; i += 2)
        sum += get16(data + i);
    return sum;
}

void wan_packet_write_segment(uint8_t data[WAN_RESET_SIZE], const struct wan_segment *segment)
{
    uint8_t *tcp = data + IP_HEADER_SIZE;
    memset(data, 0, WAN_RESET_SIZE);
    data[0] = 4 << 4 | IP_HEADER_SIZE / 4;
    put16(data + 2, WAN_RESET_SIZE);
    data[8] = TIME_TO_LIVE;
    data[9] = IPPROTO_TCP;
    memcpy(data + IP_SOURCE_AT, &segment->source, 4);
    memcpy(data + IP_TARGET_AT, &segment->target, 4);
    put16(data + IP_CHECKSUM_AT, (uint16_t)~fold(sum_of(data, IP_HEADER_SIZE)));
    put16(tcp, segment->source_port);
    put16(tcp + 2, segment->target_port);
    put32(tcp + 4, segment->sequence);
    put32(tcp + 8, segment->acknowledged);
    tcp[12] = TCP_HEADER_SIZE / 4 << 4;
    tcp[13] = segment->flags;
    /* RFC 9293 §3.1: the pseudo header has the addresses, the protocol and the length. */
    uint64_t sum = sum_of(data + IP_SOURCE_AT, 8) + IPPROTO_TCP + TCP_HEADER_SIZE;
    put16(tcp + TCP_CHECKSUM_AT, (uint16_t)~fold(sum + sum_of(tcp, TCP_HEADER_SIZE)));
}
