#include "net/proxy_login_file.h"

#include "base/error.h"
#include "base/private_file.h"

#include <stdio.h>
#include <string.h>

enum { FILE_MAX_SIZE = 4096 };

static int take_line(char *text, size_t size, struct proxy_login *login, char *why, size_t why_size)
{
    struct proxy_login taken = {0};
    while (size > 0 && (text[size - 1] == '\n' || text[size - 1] == '\r'))
        size--;
    text[size] = '\0';
    if (strlen(text) != size) {
        snprintf(why, why_size, "it is not a text file");
        return CULVERT_ERROR_INVALID;
    }
    int error = proxy_parse_login(text, &taken, why, why_size);
    if (error == 0)
        *login = taken;
    explicit_bzero(&taken, sizeof taken);
    return error;
}

int proxy_login_file_read(const char *path, struct proxy_login *login, char *why, size_t why_size)
{
    char wrong[512] = "";
    char *text = NULL;
    size_t size = 0;
    bool is_shared = false;
    int error =
        private_file_read(path, FILE_MAX_SIZE, &text, &size, &is_shared, wrong, sizeof wrong);
    if (error == 0 && is_shared)
        error = CULVERT_ERROR_PERMISSION;
    if (error == 0)
        error = take_line(text, size, login, wrong, sizeof wrong);
    private_file_free(text, size);
    if (error != 0)
        snprintf(why, why_size, "%.400s: %s", path, wrong[0] != '\0' ? wrong : error_text(error));
    return error;
}
