#include "library/texts.h"

#include "base/memory.h"

#include <string.h>

struct texts_entry {
    struct texts_entry *next;
    size_t size;
    char text[];
};

const char *texts_keep(struct texts *texts, const char *text)
{
    if (text == NULL)
        return NULL;
    size_t size = strlen(text) + 1;
    struct texts_entry *entry = memory_allocate(sizeof(*entry) + size);
    if (entry == NULL) {
        texts->has_failed = true;
        return NULL;
    }
    entry->next = texts->newest;
    entry->size = size;
    memcpy(entry->text, text, size);
    texts->newest = entry;
    return entry->text;
}

void texts_deinit(struct texts *texts)
{
    while (texts->newest != NULL) {
        struct texts_entry *entry = texts->newest;
        texts->newest = entry->next;
        explicit_bzero(entry->text, entry->size);
        memory_free(entry);
    }
    texts->has_failed = false;
}
