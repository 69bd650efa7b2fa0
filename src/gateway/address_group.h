/*
 * Which addresses count as one when strangers are limited: those of one IPv4 /24 or one IPv6 /56,
 * since whoever has one of them mostly has them all.
 */
#ifndef GATEWAY_ADDRESS_GROUP_H
#define GATEWAY_ADDRESS_GROUP_H

#include "policy/network.h"

#include <stdbool.h>
#include <stdint.h>

enum { ADDRESS_GROUP_NONE = 0 }; /* of who is not limited by address */

/* The group of an address, IPv4 as mapped; never ADDRESS_GROUP_NONE. */
uint64_t address_group(const uint8_t address[static HOST_ADDRESS_SIZE]);

/* 127.0.0.0/8 or ::1. */
bool address_group_is_loopback(const uint8_t address[static HOST_ADDRESS_SIZE]);

#endif
