#include "lua/answer.h"

#include "base/error.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>

static void copy_text(const json_t *from, char *to, size_t size)
{
    snprintf(to, size, "%s", json_string_value(from));
}

static int decode_loaded(const json_t *object, struct answer *answer)
{
    answer->kind = ANSWER_LOADED;
    answer->has_connect = json_is_true(json_object_get(object, "connect"));
    answer->has_register = json_is_true(json_object_get(object, "register"));
    answer->has_on_event = json_is_true(json_object_get(object, "on_event"));
    return 0;
}

static int decode_verdict(const json_t *object, const char *verdict, struct answer *answer)
{
    const json_t *reason = json_object_get(object, "reason");
    if (!json_is_string(reason))
        return CULVERT_ERROR_PROTOCOL;
    answer->kind = ANSWER_VERDICT;
    answer->is_last = json_is_true(json_object_get(object, "last"));
    answer->verdict.allowed = strcmp(verdict, "allow") == 0;
    answer->verdict.failed = strcmp(verdict, "fail") == 0;
    copy_text(reason, answer->verdict.reason, sizeof answer->verdict.reason);
    bool is_known =
        answer->verdict.allowed || answer->verdict.failed || strcmp(verdict, "refuse") == 0;
    return is_known ? 0 : CULVERT_ERROR_PROTOCOL;
}

static int decode(const json_t *object, struct answer *answer)
{
    const json_t *broken = json_object_get(object, "broken");
    const json_t *log = json_object_get(object, "log");
    const json_t *verdict = json_object_get(object, "verdict");
    *answer = (struct answer){0};
    if (json_is_string(verdict))
        return decode_verdict(object, json_string_value(verdict), answer);
    if (json_is_string(log) || json_is_string(broken)) {
        answer->kind = json_is_string(log) ? ANSWER_LOG : ANSWER_BROKEN;
        copy_text(json_is_string(log) ? log : broken, answer->text, sizeof answer->text);
        return 0;
    }
    if (json_is_true(json_object_get(object, "loaded")))
        return decode_loaded(object, answer);
    return CULVERT_ERROR_PROTOCOL;
}

int answer_decode(const char *json, size_t size, struct answer *answer)
{
    json_t *object = json_loadb(json, size, 0, NULL);
    if (object == NULL)
        return CULVERT_ERROR_PROTOCOL;
    int error = decode(object, answer);
    json_decref(object);
    return error;
}
