#include "net/pem_file.h"

#include "base/error.h"
#include "base/private_file.h"

#include <stdbool.h>
#include <stdio.h>

enum { FILE_MAX_SIZE = 16 * 1024 * 1024, WHO_SIZE = 256 };

static int read_file(struct pem_file *file, const char *path, bool is_secret, char *why,
                     size_t why_size)
{
    char who[WHO_SIZE] = "";
    bool is_shared = false;
    *file = (struct pem_file){0};
    int error = private_file_read(path, FILE_MAX_SIZE, &file->text, &file->size, &is_shared, who,
                                  sizeof who);
    if (error == CULVERT_ERROR_INVALID) {
        snprintf(why, why_size, "cannot read %s: %s", path, who);
    } else if (error != 0) {
        snprintf(why, why_size, "cannot read %s: %s", path, error_text(error));
    } else if (is_shared && is_secret) {
        pem_file_deinit(file);
        snprintf(why, why_size, "%s: %s", path, who);
        error = CULVERT_ERROR_PERMISSION;
    }
    return error;
}

int pem_file_read(struct pem_file *file, const char *path, char *why, size_t why_size)
{
    return read_file(file, path, false, why, why_size);
}

int pem_file_read_secret(struct pem_file *file, const char *path, char *why, size_t why_size)
{
    return read_file(file, path, true, why, why_size);
}

void pem_file_deinit(struct pem_file *file)
{
    private_file_free(file->text, file->size);
    *file = (struct pem_file){0};
}
