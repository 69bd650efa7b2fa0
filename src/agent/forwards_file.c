#include "agent/forwards_file.h"

#include "base/error.h"
#include "base/private_file.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

typedef int decode_list(const char *text, size_t size, struct forward_list *list, char *why,
                        size_t why_size);

static bool has_keys(const struct forward_list *list)
{
    for (size_t i = 0; i < list->count; i++) {
        if (list->items[i].rule.key[0] != '\0')
            return true;
    }
    return false;
}

/* A user who can write the file can open ports as the agent's user. */
static bool may_all_write(const char *path)
{
    struct stat status;
    return stat(path, &status) == 0 && (status.st_mode & S_IWOTH) != 0;
}

static int read_file(const char *path, decode_list *decode, struct forward_list *list, char *why,
                     size_t why_size)
{
    char *text = NULL;
    size_t size = 0;
    bool is_shared = false;
    char what[FORWARD_JSON_WHY_SIZE + 64] = "";
    char who[256] = "";
    int error =
        private_file_read(path, FORWARD_JSON_MAX_TEXT, &text, &size, &is_shared, who, sizeof who);
    if (error != 0)
        snprintf(what, sizeof what, "%s", who);
    else
        error = decode(text, size, list, what, sizeof what);
    private_file_free(text, size);
    if (error == 0 && is_shared && has_keys(list)) {
        forward_list_deinit(list);
        error = CULVERT_ERROR_PERMISSION;
        snprintf(what, sizeof what, "it holds connection keys, and %.250s", who);
    } else if (error == 0 && may_all_write(path)) {
        forward_list_deinit(list);
        error = CULVERT_ERROR_PERMISSION;
        snprintf(what, sizeof what,
                 "it is not used, as all users may write it: run chmod go-w on it");
    }
    if (error != 0)
        snprintf(why, why_size, "%.500s: %s", path, what);
    return error;
}

int forwards_file_read(const char *path, struct forward_list *list, char *why, size_t why_size)
{
    return read_file(path, forward_list_decode, list, why, why_size);
}

int state_file_read(const char *path, struct forward_list *list, char *why, size_t why_size)
{
    int error = read_file(path, forward_list_decode_state, list, why, why_size);
    if (error != -ENOENT)
        return error;
    *list = (struct forward_list){0};
    return 0;
}

/* ---- writing ---- */

/* A port of 0 is written as the one that was found, so that clients find it there again. */
static json_t *encode_one(const struct forward *forward)
{
    json_t *json = forward_json_encode(&forward->rule, forward_port(forward));
    if (json != NULL &&
        json_object_set_new(json, "id", json_integer((json_int_t)forward->id)) != 0) {
        json_decref(json);
        return NULL;
    }
    return json;
}

static char *encode(const struct forward_table *table)
{
    json_t *array = json_array();
    char *text = NULL;
    const struct forward *forward = forward_table_first(table);
    for (; forward != NULL; forward = forward_table_next(table, forward)) {
        if (forward->source == FORWARD_API &&
            json_array_append_new(array, encode_one(forward)) != 0) {
            json_decref(array);
            return NULL;
        }
    }
    json_t *state =
        json_pack("{s:I, s:o}", "last_id", (json_int_t)table->last_id, "forwards", array);
    if (state != NULL)
        text = json_dumps(state, JSON_INDENT(2));
    json_decref(state);
    return text;
}

int state_file_write(const char *path, const struct forward_table *table, char *why,
                     size_t why_size)
{
    char *text = encode(table);
    int error = CULVERT_ERROR_NO_MEMORY;
    if (text != NULL) {
        size_t size = strlen(text);
        error = private_file_replace(path, text, size);
        explicit_bzero(text, size);
        free(text);
    }
    if (error != 0)
        snprintf(why, why_size, "%.500s: cannot write it: %s", path, error_text(error));
    return error;
}
