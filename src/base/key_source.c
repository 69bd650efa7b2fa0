#include "base/key_source.h"

#include "base/error.h"
#include "base/private_file.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

enum { FILE_MAX_SIZE = 4096, REASON_SIZE = 300 };

int key_source_text(const char *text, char *key, size_t size, char *why, size_t why_size)
{
    size_t length = strlen(text);
    if (length == 0 || length >= size) {
        snprintf(why, why_size, "a key has 1 to %zu characters", size - 1);
        return CULVERT_ERROR_INVALID;
    }
    for (const char *c = text; *c != '\0'; c++) {
        if ((unsigned char)*c <= ' ' || *c == 0x7f) {
            snprintf(why, why_size, "a key is one word, without control characters");
            return CULVERT_ERROR_INVALID;
        }
    }
    memcpy(key, text, length + 1);
    return 0;
}

static int take_line(char *text, size_t length, char *key, size_t size,
                     char reason[static REASON_SIZE])
{
    while (length > 0 && strchr(" \t\r\n", text[length - 1]) != NULL)
        length--;
    text[length] = '\0';
    /* A zero inside makes it no word. */
    return key_source_text(strlen(text) == length ? text : "\n", key, size, reason, REASON_SIZE);
}

int key_source_file(const char *path, char *key, size_t size, char *why, size_t why_size)
{
    char reason[REASON_SIZE] = "";
    char *text = NULL;
    size_t length = 0;
    bool is_shared = false;
    int error =
        private_file_read(path, FILE_MAX_SIZE, &text, &length, &is_shared, reason, sizeof reason);
    if (error != 0) {
        snprintf(why, why_size, "the key file %.500s: %s", path, reason);
    } else if (is_shared) {
        error = CULVERT_ERROR_PERMISSION;
        snprintf(why, why_size, "%.500s: %s", path, reason);
    } else {
        error = take_line(text, length, key, size, reason);
        if (error != 0)
            snprintf(why, why_size, "the key file %.500s holds no key: %s", path, reason);
    }
    private_file_free(text, length);
    return error;
}
