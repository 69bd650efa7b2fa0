#include "base/key_source.h"

#include "base/error.h"
#include "base/private_file.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

enum { FILE_MAX_SIZE = 4096, REASON_SIZE = 300 };

/* What is read, by the word that messages call it, and where it goes. */
struct target {
    const char *word;
    char *text;
    size_t size;
};

static int take_word(const char *text, const struct target *target, char *why, size_t why_size)
{
    size_t length = strlen(text);
    if (length == 0 || length >= target->size) {
        snprintf(why, why_size, "a %s has 1 to %zu characters", target->word, target->size - 1);
        return CULVERT_ERROR_INVALID;
    }
    for (const char *c = text; *c != '\0'; c++) {
        if ((unsigned char)*c <= ' ' || *c == 0x7f) {
            snprintf(why, why_size, "a %s is one word, without control characters", target->word);
            return CULVERT_ERROR_INVALID;
        }
    }
    memcpy(target->text, text, length + 1);
    return 0;
}

static int take_line(char *text, size_t length, const struct target *target,
                     char reason[static REASON_SIZE])
{
    while (length > 0 && strchr(" \t\r\n", text[length - 1]) != NULL)
        length--;
    text[length] = '\0';
    /* A zero inside makes it no word. */
    return take_word(strlen(text) == length ? text : "\n", target, reason, REASON_SIZE);
}

static int read_file(const char *path, const struct target *target, char *why, size_t why_size)
{
    char reason[REASON_SIZE] = "";
    char *text = NULL;
    size_t length = 0;
    bool is_shared = false;
    int error =
        private_file_read(path, FILE_MAX_SIZE, &text, &length, &is_shared, reason, sizeof reason);
    if (error == 0 && is_shared)
        error = CULVERT_ERROR_PERMISSION;
    if (error != 0) {
        snprintf(why, why_size, "%.500s: %s", path, reason);
    } else {
        error = take_line(text, length, target, reason);
        if (error != 0)
            snprintf(why, why_size, "%.500s holds no %s: %s", path, target->word, reason);
    }
    private_file_free(text, length);
    return error;
}

int key_source_text(const char *text, char *key, size_t size, char *why, size_t why_size)
{
    const struct target target = {"key", key, size};
    return take_word(text, &target, why, why_size);
}

int key_source_file(const char *path, char *key, size_t size, char *why, size_t why_size)
{
    const struct target target = {"key", key, size};
    return read_file(path, &target, why, why_size);
}

int secret_source_file(const char *path, char *secret, size_t size, char *why, size_t why_size)
{
    const struct target target = {"secret", secret, size};
    return read_file(path, &target, why, why_size);
}
