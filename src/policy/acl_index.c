#include "policy/acl_index.h"

#include "base/error.h"
#include "base/hash.h"
#include "base/memory.h"
#include "policy/network.h"

#include <string.h>

enum { FIRST_CAPACITY = 16 };

/* ---- the table ---- */

static struct acl_bucket *locate(const struct acl_index *index, uint64_t hash)
{
    size_t mask = index->capacity - 1;
    size_t place = (size_t)hash & mask;
    while (index->buckets[place].hash != 0 && index->buckets[place].hash != hash)
        place = (place + 1) & mask;
    return &index->buckets[place];
}

static int grow(struct acl_index *index)
{
    struct acl_index larger = *index;
    larger.capacity = index->capacity == 0 ? FIRST_CAPACITY : 2 * index->capacity;
    larger.buckets = memory_allocate_zero(larger.capacity * sizeof *larger.buckets);
    if (larger.buckets == NULL)
        return CULVERT_ERROR_NO_MEMORY;
    for (size_t i = 0; i < index->capacity; i++) {
        if (index->buckets[i].hash != 0)
            *locate(&larger, index->buckets[i].hash) = index->buckets[i];
    }
    memory_free(index->buckets);
    *index = larger;
    return 0;
}

/* Counts one more item under the key. */
static int count_item(struct acl_index *index, uint64_t hash)
{
    if (index->bucket_count >= index->capacity / 4 * 3) {
        int error = grow(index);
        if (error != 0)
            return error;
    }
    struct acl_bucket *bucket = locate(index, hash);
    if (bucket->hash == 0) {
        bucket->hash = hash;
        index->bucket_count++;
    }
    bucket->count++;
    return 0;
}

static void clear_table(struct acl_index *index)
{
    memory_free(index->buckets);
    index->buckets = NULL;
    index->capacity = 0;
    index->bucket_count = 0;
}

static struct acl_run find(const struct acl_index *index, uint64_t hash)
{
    if (index->bucket_count == 0)
        return (struct acl_run){NULL, 0};
    const struct acl_bucket *bucket = locate(index, hash);
    return (struct acl_run){index->items + bucket->first, bucket->hash == 0 ? 0 : bucket->count};
}

/* ---- keys ---- */

/* Never 0. Two keys with the same hash share a bucket, which costs only time. */
static uint64_t key_hash(const struct acl_index *index, enum acl_field field,
                         enum acl_key_kind kind, const void *data, size_t size)
{
    uint64_t hash = hash_bytes(index->seeds[field][kind], data, size);
    return hash != 0 ? hash : 1;
}

static uint64_t network_hash(const struct acl_index *index, const uint8_t *address, unsigned prefix)
{
    uint8_t bytes[HOST_ADDRESS_SIZE + 1];
    memcpy(bytes, address, HOST_ADDRESS_SIZE);
    bytes[HOST_ADDRESS_SIZE] = (uint8_t)prefix;
    return key_hash(index, ACL_HOST, ACL_KEY_NETWORK, bytes, sizeof bytes);
}

static void add_key(struct acl_keys *keys, enum acl_field field, enum acl_key_kind kind,
                    struct text text)
{
    if (keys->count == ACL_KEYS || text.size >= ACL_KEY_LENGTHS)
        return;
    keys->key[keys->count++] = (struct acl_key){
        field, kind, (unsigned)text.size, key_hash(keys->index, field, kind, text.data, text.size)};
}

static void add_piece(struct acl_keys *keys, enum acl_field field, struct text piece)
{
    if (piece.size <= ACL_PIECE_SIZE) {
        add_key(keys, field, ACL_KEY_PIECE, piece);
        return;
    }
    add_key(keys, field, ACL_KEY_PIECE, (struct text){piece.data, ACL_PIECE_SIZE});
    add_key(keys, field, ACL_KEY_PIECE,
            (struct text){piece.data + piece.size - ACL_PIECE_SIZE, ACL_PIECE_SIZE});
}

void acl_keys_add_pattern(struct acl_keys *keys, enum acl_field field, const char *pattern)
{
    size_t most = keys->count + ACL_PIECES;
    size_t at = 0;
    while (pattern[at] != '\0') {
        struct text piece = {pattern + at, strcspn(pattern + at, "*?")};
        bool is_first = at == 0;
        at += piece.size;
        bool is_last = pattern[at] == '\0';
        at += strspn(pattern + at, "*?");
        if (piece.size == 0)
            continue;
        if (is_first || is_last)
            add_key(keys, field,
                    !is_first  ? ACL_KEY_END
                    : !is_last ? ACL_KEY_BEGINNING
                               : ACL_KEY_WHOLE,
                    piece);
        else if (keys->count + 2 <= most)
            add_piece(keys, field, piece);
    }
}

void acl_keys_add_group(struct acl_keys *keys, enum acl_field field, uint32_t group)
{
    add_key(keys, field, ACL_KEY_GROUP, (struct text){(const char *)&group, sizeof group});
}

void acl_keys_add_network(struct acl_keys *keys, const uint8_t *address, unsigned prefix)
{
    if (keys->count < ACL_KEYS)
        keys->key[keys->count++] = (struct acl_key){ACL_HOST, ACL_KEY_NETWORK, prefix,
                                                    network_hash(keys->index, address, prefix)};
}

/* ---- building ---- */

struct builder {
    struct acl_index *index;
    uint32_t count;
    acl_add_keys *add;
    const void *context;
    uint64_t *chosen; /* the hash of each item's key; 0: it is in the rest */
};

static void collect_keys(const struct builder *builder, uint32_t item, struct acl_keys *keys)
{
    keys->index = builder->index;
    keys->count = 0;
    builder->add(builder->context, item, keys);
}

static int count_all_keys(const struct builder *builder)
{
    struct acl_keys keys;
    int error = 0;
    for (uint32_t item = 0; error == 0 && item < builder->count; item++) {
        collect_keys(builder, item, &keys);
        for (size_t i = 0; error == 0 && i < keys.count; i++)
            error = count_item(builder->index, keys.key[i].hash);
    }
    return error;
}

/* The cost of finding an item by the key: a look-up compares all items under the key. A piece is
 * looked up at each position of a text, and is the key that an attacker can most easily put into
 * one. */
static size_t cost_of(const struct acl_index *index, const struct acl_key *key)
{
    size_t count = locate(index, key->hash)->count;
    return key->kind == ACL_KEY_PIECE ? 4 * count + 8 : count;
}

static bool is_better(const struct acl_index *index, const struct acl_key *a,
                      const struct acl_key *b)
{
    size_t cost = cost_of(index, a);
    size_t other = cost_of(index, b);
    return cost < other || (cost == other && a->length > b->length);
}

static void choose_key(const struct builder *builder, uint32_t item)
{
    struct acl_index *index = builder->index;
    struct acl_keys keys;
    const struct acl_key *best = NULL;
    collect_keys(builder, item, &keys);
    for (size_t i = 0; i < keys.count; i++) {
        if (best == NULL || is_better(index, &keys.key[i], best))
            best = &keys.key[i];
    }
    builder->chosen[item] = best != NULL ? best->hash : 0;
    if (best != NULL)
        index->lengths[best->field][best->kind].bits[best->length / 64] |= UINT64_C(1)
                                                                           << best->length % 64;
}

static int enter_chosen(const struct builder *builder)
{
    struct acl_index *index = builder->index;
    int error = 0;
    for (uint32_t item = 0; error == 0 && item < builder->count; item++) {
        if (builder->chosen[item] == 0)
            index->items[index->rest_count++] = item;
        else
            error = count_item(index, builder->chosen[item]);
    }
    if (error != 0)
        return error;
    uint32_t first = (uint32_t)index->rest_count;
    for (size_t i = 0; i < index->capacity; i++) {
        index->buckets[i].first = first;
        first += index->buckets[i].count;
        index->buckets[i].count = 0;
    }
    for (uint32_t item = 0; item < builder->count; item++) {
        if (builder->chosen[item] == 0)
            continue;
        struct acl_bucket *bucket = locate(index, builder->chosen[item]);
        index->items[bucket->first + bucket->count++] = item;
    }
    return 0;
}

static int build(const struct builder *builder)
{
    int error = count_all_keys(builder);
    if (error != 0)
        return error;
    for (uint32_t item = 0; item < builder->count; item++)
        choose_key(builder, item);
    clear_table(builder->index);
    return enter_chosen(builder);
}

int acl_index_build(struct acl_index *index, uint32_t count, acl_add_keys *add, const void *context)
{
    *index = (struct acl_index){0};
    if (count == 0)
        return 0;
    /* No seed is needed against chosen keys: the author of the list chooses them, and a search
     * costs other agents no more than its steps. */
    for (unsigned i = 0; i < ACL_FIELDS * ACL_KEY_KINDS; i++)
        index->seeds[i / ACL_KEY_KINDS][i % ACL_KEY_KINDS] = hash_number(0, i);
    struct builder builder = {index, count, add, context,
                              memory_allocate(count * sizeof *builder.chosen)};
    index->items = memory_allocate(count * sizeof *index->items);
    int error =
        builder.chosen == NULL || index->items == NULL ? CULVERT_ERROR_NO_MEMORY : build(&builder);
    memory_free(builder.chosen);
    if (error != 0)
        acl_index_deinit(index);
    return error;
}

void acl_index_deinit(struct acl_index *index)
{
    memory_free(index->buckets);
    memory_free(index->items);
    *index = (struct acl_index){0};
}

/* ---- looking up ---- */

struct acl_run acl_index_rest(const struct acl_index *index)
{
    return (struct acl_run){index->items, index->rest_count};
}

struct acl_run acl_index_group(const struct acl_index *index, enum acl_field field, uint32_t group)
{
    return find(index, key_hash(index, field, ACL_KEY_GROUP, &group, sizeof group));
}

/* The least length in use from `from` to `most`; above `most`: none. */
static unsigned next_length(const struct acl_lengths *lengths, unsigned from, unsigned most)
{
    while (from <= most) {
        uint64_t bits = lengths->bits[from / 64] >> from % 64;
        if (bits != 0)
            return from + (unsigned)__builtin_ctzll(bits);
        from += 64 - from % 64;
    }
    return most + 1;
}

/* Moves to the next key of the text; returns false when there is none. */
static bool move(const struct acl_lengths *lengths, size_t size, struct acl_probe *probe)
{
    unsigned most = size < ACL_KEY_LENGTHS ? (unsigned)size : ACL_KEY_LENGTHS - 1;
    if (probe->kind == ACL_KEY_PIECE && probe->next != 0 &&
        probe->position + probe->length < size) {
        probe->position++;
        return true;
    }
    for (; probe->kind <= ACL_KEY_PIECE; probe->kind++, probe->next = 0) {
        if (probe->kind == ACL_KEY_WHOLE && size > most)
            continue;
        unsigned from = probe->kind == ACL_KEY_WHOLE && probe->next == 0 ? most : probe->next;
        unsigned length = next_length(&lengths[probe->kind], from, most);
        if (length > most)
            continue;
        probe->length = length;
        probe->next = length + 1;
        probe->position = probe->kind == ACL_KEY_END ? size - length : 0;
        return true;
    }
    return false;
}

bool acl_probe_text(const struct acl_index *index, enum acl_field field, struct text text,
                    struct acl_probe *probe, struct acl_run *run)
{
    if (!move(index->lengths[field], text.size, probe))
        return false;
    const char *key = text.data + probe->position;
    *run = find(index, key_hash(index, field, (enum acl_key_kind)probe->kind, key, probe->length));
    /* A key that the text contains several times counts once. */
    if (run->count > 0 && probe->position > 0 && probe->kind == ACL_KEY_PIECE &&
        memmem(text.data, text.size, key, probe->length) != key)
        run->count = 0;
    return true;
}

bool acl_probe_address(const struct acl_index *index, const uint8_t *address,
                       struct acl_probe *probe, struct acl_run *run)
{
    enum { MOST = 8 * HOST_ADDRESS_SIZE };
    uint8_t masked[HOST_ADDRESS_SIZE];
    probe->length =
        next_length(&index->lengths[ACL_HOST][ACL_KEY_NETWORK], probe->next, (unsigned)MOST);
    if (probe->length > MOST)
        return false;
    probe->next = probe->length + 1;
    memcpy(masked, address, sizeof masked);
    network_mask(masked, probe->length);
    *run = find(index, network_hash(index, masked, probe->length));
    return true;
}
