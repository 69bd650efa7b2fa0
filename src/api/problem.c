#include "api/problem.h"

#include "base/memory.h"
#include "base/utf8.h"

#include <string.h>

static const struct {
    int status;
    const char *title;
} TITLES[] = {
    {200, "OK"},
    {201, "Created"},
    {204, "No Content"},
    {400, "Bad Request"},
    {401, "Unauthorized"},
    {403, "Forbidden"},
    {404, "Not Found"},
    {405, "Method Not Allowed"},
    {408, "Request Timeout"},
    {409, "Conflict"},
    {411, "Length Required"},
    {413, "Content Too Large"},
    {415, "Unsupported Media Type"},
    {417, "Expectation Failed"},
    {431, "Request Header Fields Too Large"},
    {500, "Internal Server Error"},
    {503, "Service Unavailable"},
};

const char *problem_title(int status)
{
    for (size_t i = 0; i < sizeof TITLES / sizeof *TITLES; i++) {
        if (TITLES[i].status == status)
            return TITLES[i].title;
    }
    return "";
}

/* What a request or the system said may be in any encoding; JSON is in one. */
static json_t *text_new(const char *text)
{
    char *repaired = utf8_repair(text);
    json_t *string = repaired != NULL ? json_string(repaired) : NULL;
    memory_free(repaired);
    return string;
}

static int set_text(json_t *problem, const char *name, const char *text)
{
    return text[0] == '\0' ? 0 : json_object_set_new(problem, name, text_new(text));
}

json_t *problem_new(int status, const char *detail, const char *field)
{
    json_t *problem = json_object();
    const char *title = problem_title(status);
    if (problem == NULL || set_text(problem, "type", "about:blank") != 0 ||
        set_text(problem, "title", title) != 0 ||
        json_object_set_new(problem, "status", json_integer(status)) != 0 ||
        set_text(problem, "detail", detail) != 0 || set_text(problem, "field", field) != 0) {
        json_decref(problem);
        return NULL;
    }
    return problem;
}
