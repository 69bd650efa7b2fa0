/*
 * Finds the patterns of a long list that may match a text without comparing the others. The index
 * enters each item of the list (a rule, a member of a group) under one of its keys, the one that
 * the fewest items share: a whole name, a prefix, a suffix or a piece of a name, a group, a
 * network. Items without a key are in the rest. A look-up of all keys of a text finds every item
 * that may match; the caller checks whether it does.
 */
#ifndef POLICY_ACL_INDEX_H
#define POLICY_ACL_INDEX_H

#include "base/str.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum acl_field { ACL_FROM, ACL_TO, ACL_HOST, ACL_FIELDS };

/* The first four are keys of texts. */
enum acl_key_kind {
    ACL_KEY_WHOLE,
    ACL_KEY_BEGINNING,
    ACL_KEY_END,
    ACL_KEY_PIECE,
    ACL_KEY_GROUP,
    ACL_KEY_NETWORK,
    ACL_KEY_KINDS,
};

enum {
    ACL_PIECE_SIZE = 16, /* bytes; of a longer piece its first and its last bytes are keys */
    ACL_PIECES = 8,      /* of one pattern, at most */
    ACL_KEYS = ACL_FIELDS * (ACL_PIECES + 2),
    ACL_KEY_LENGTHS = 256,
};

struct acl_key {
    enum acl_field field;
    enum acl_key_kind kind;
    unsigned length; /* bytes of a text's key; prefix of a network */
    uint64_t hash;
};

/* The keys of one item. */
struct acl_keys {
    const struct acl_index *index;
    struct acl_key key[ACL_KEYS];
    size_t count;
};

/* Items with the same key, in their order. */
struct acl_run {
    const uint32_t *items;
    size_t count;
};

struct acl_bucket {
    uint64_t hash; /* 0: free */
    uint32_t first;
    uint32_t count;
};

/* The lengths of the keys in use. */
struct acl_lengths {
    uint64_t bits[ACL_KEY_LENGTHS / 64];
};

/* All zero: empty. */
struct acl_index {
    uint64_t seeds[ACL_FIELDS][ACL_KEY_KINDS];
    struct acl_bucket *buckets;
    size_t capacity; /* a power of two, or 0 */
    size_t bucket_count;
    uint32_t *items; /* the rest first */
    size_t rest_count;
    struct acl_lengths lengths[ACL_FIELDS][ACL_KEY_KINDS];
};

/* Adds the keys of an item, the same ones in the same order each time. */
typedef void acl_add_keys(const void *context, uint32_t item, struct acl_keys *keys);

/* Enters the items 0 to `count` - 1. Returns 0 or CULVERT_ERROR_NO_MEMORY; then the index is
 * empty. */
int acl_index_build(struct acl_index *index, uint32_t count, acl_add_keys *add,
                    const void *context);
void acl_index_deinit(struct acl_index *index);

/* For acl_add_keys. `pattern` is one for policy_matches; `address` is masked and has
 * HOST_ADDRESS_SIZE bytes. */
void acl_keys_add_pattern(struct acl_keys *keys, enum acl_field field, const char *pattern);
void acl_keys_add_group(struct acl_keys *keys, enum acl_field field, uint32_t group);
void acl_keys_add_network(struct acl_keys *keys, const uint8_t *address, unsigned prefix);

/* Return the items under one key, which may be none. */
struct acl_run acl_index_rest(const struct acl_index *index);
struct acl_run acl_index_group(const struct acl_index *index, enum acl_field field, uint32_t group);

/* How far the keys of a text or an address have been looked up. All zero at first. */
struct acl_probe {
    unsigned kind; /* enum acl_key_kind, of a text */
    unsigned next; /* the least length not looked up yet; 0: at the beginning */
    unsigned length;
    size_t position;
};

/* Looks up the next key of the text. Returns whether there was one, with its items in `run`. */
bool acl_probe_text(const struct acl_index *index, enum acl_field field, struct text text,
                    struct acl_probe *probe, struct acl_run *run);
/* The same for the networks that contain an address. */
bool acl_probe_address(const struct acl_index *index, const uint8_t *address,
                       struct acl_probe *probe, struct acl_run *run);

#endif
