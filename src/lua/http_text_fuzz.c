#include "lua/http_text.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What is taken out lies within what was given, and says what it claims. */
static void check_fields(char *copy, size_t size)
{
    struct text block = {copy, size};
    struct text name;
    struct text value;
    while (http_text_take_field(&block, &name, &value)) {
        struct text cookie;
        struct text content;
        if (!http_text_is_token(name) || value.data < name.data + name.size ||
            value.data + value.size > copy + size)
            abort();
        http_text_spell_name((char *)name.data, name.size);
        if (http_text_parse_cookie(value, &cookie, &content) &&
            (!http_text_is_token(cookie) || !http_text_is_value(content)))
            abort();
    }
}

static void check_cookie(const uint8_t *data, size_t size)
{
    char *out = malloc(size + 3);
    if (out == NULL)
        return;
    http_text_write_cookie((struct text){(const char *)data, size}, out);
    if (strlen(out) > size + 2 || strchr(out, ';') != NULL || !http_text_is_value(text_of(out)))
        abort();
    free(out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint32_t milliseconds;
    char *copy = malloc(size + 1);
    if (copy == NULL)
        return 0;
    memcpy(copy, data, size);
    copy[size] = '\0';
    if (http_text_parse_duration((struct text){copy, size}, &milliseconds) == 0 &&
        milliseconds > HTTP_DURATION_MAX)
        abort();
    if (http_text_is_url((struct text){copy, size}) && memchr(copy, '\n', size) != NULL)
        abort();
    check_fields(copy, size);
    http_text_strip_login(copy);
    if (strlen(copy) > size)
        abort();
    check_cookie(data, size);
    free(copy);
    return 0;
}
