#include "journal/event_record.h"

#include "base/memory.h"
#include "journal/event_field.h"

#include <openssl/sha.h>
#include <stdio.h>
#include <string.h>

enum { HASH_TEXT_SIZE = 2 * SHA256_DIGEST_LENGTH + 1 };

/* Leaves the hash out if OpenSSL has no memory for it: the key itself must never take its place. */
static void hash_key(const char *key, char out[static HASH_TEXT_SIZE])
{
    unsigned char digest[SHA256_DIGEST_LENGTH];
    out[0] = '\0';
    if (SHA256((const unsigned char *)key, strlen(key), digest) == NULL)
        return;
    for (size_t i = 0; i < sizeof digest; i++)
        snprintf(out + 2 * i, 3, "%02x", digest[i]);
}

static const char **text_slot(struct event *event, const struct event_field *field)
{
    return (const char **)(void *)((char *)event + field->offset);
}

struct event_record *event_record_create(const struct event *event)
{
    char hash[HASH_TEXT_SIZE];
    struct event copy = *event;
    if (copy.key != NULL && copy.key[0] != '\0') {
        hash_key(copy.key, hash);
        copy.key = hash;
    }
    size_t size = sizeof(struct event_record);
    for (size_t i = 0; i < event_field_count; i++) {
        if (event_fields[i].kind == FIELD_TEXT && event_has_field(&copy, &event_fields[i]))
            size += strnlen(event_field_text(&copy, &event_fields[i]), EVENT_TEXT_SIZE) + 1;
    }
    struct event_record *record = memory_allocate_zero(size);
    if (record == NULL)
        return NULL;
    record->size = size;
    char *end = (char *)(record + 1);
    for (size_t i = 0; i < event_field_count; i++) {
        const struct event_field *field = &event_fields[i];
        if (field->kind != FIELD_TEXT)
            continue;
        const char **slot = text_slot(&copy, field);
        if (!event_has_field(&copy, field)) {
            *slot = NULL;
            continue;
        }
        size_t length = strnlen(*slot, EVENT_TEXT_SIZE);
        memcpy(end, *slot, length);
        *slot = end;
        end += length + 1;
    }
    record->event = copy;
    return record;
}

void event_text_deinit(struct event_text *text)
{
    memory_free(text->data);
    *text = EVENT_TEXT_NULL;
}
