#include "cli/key_source.h"

#include "base/error.h"
#include "net/tls.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

enum { FILE_MAX_SIZE = 4096 };

int key_source_text(const char *text, char *key, size_t size, char why[static OPTIONS_WHY_SIZE])
{
    size_t length = strlen(text);
    if (length == 0 || length >= size) {
        snprintf(why, OPTIONS_WHY_SIZE, "a key has 1 to %zu characters", size - 1);
        return CULVERT_ERROR_INVALID;
    }
    for (const char *c = text; *c != '\0'; c++) {
        if ((unsigned char)*c <= ' ' || *c == 0x7f) {
            snprintf(why, OPTIONS_WHY_SIZE, "a key is one word, without control characters");
            return CULVERT_ERROR_INVALID;
        }
    }
    memcpy(key, text, length + 1);
    return 0;
}

int key_source_file(const char *path, char *key, size_t size, char why[static OPTIONS_WHY_SIZE])
{
    char text[FILE_MAX_SIZE + 1];
    char reason[OPTIONS_WHY_SIZE];
    int error = tls_check_secret_file(path, why, OPTIONS_WHY_SIZE);
    if (error != 0)
        return error;
    errno = 0;
    FILE *file = fopen(path, "re");
    size_t length = file == NULL ? 0 : fread(text, 1, FILE_MAX_SIZE, file);
    if (file == NULL || ferror(file)) {
        error = errno != 0 ? -errno : -EIO;
        snprintf(why, OPTIONS_WHY_SIZE, "cannot read the key file %.500s: %s", path,
                 error_text(error));
        goto out;
    }
    while (length > 0 && strchr(" \t\r\n", text[length - 1]) != NULL)
        length--;
    text[length] = '\0';
    error = strlen(text) == length ? key_source_text(text, key, size, reason)
                                   : key_source_text("\n", key, size, reason);
    if (error != 0)
        snprintf(why, OPTIONS_WHY_SIZE, "the key file %.500s holds no key: %.300s", path, reason);
out:
    if (file != NULL)
        fclose(file);
    explicit_bzero(text, sizeof text);
    return error;
}
