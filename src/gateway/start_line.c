#include "gateway/start_line.h"

#include "base/log.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

/* Text that grows up to its bound. */
struct line {
    char text[1024];
    size_t size;
};

__attribute__((format(printf, 2, 3))) static void line_add(struct line *line, const char *format,
                                                           ...)
{
    va_list arguments;
    va_start(arguments, format);
    int added =
        vsnprintf(line->text + line->size, sizeof(line->text) - line->size, format, arguments);
    va_end(arguments);
    line->size += added < 0 ? 0 : (size_t)added;
    if (line->size > sizeof(line->text) - 1)
        line->size = sizeof(line->text) - 1;
}

static void describe_policy(const struct gateway_config *config, struct line *line)
{
    if (config->deny)
        line_add(line, " --auth-deny");
    if (config->grant)
        line_add(line, " --auth-grant");
    if (config->acl != NULL)
        line_add(line, " --acl %s", config->acl);
    if (config->script != NULL)
        line_add(line, " --auth-lua %s", config->script);
}

static void describe_keys(const struct gateway *gateway, struct line *line)
{
    if (gateway->watch == NULL) {
        line_add(line, "none needed (--open)");
        return;
    }
    int64_t count = store_watch_count(gateway->watch);
    line_add(line, "%" PRId64 " in %s%s", count, store_watch_directory(gateway->watch),
             store_watch_is_new(gateway->watch) ? ", a new store" : "");
}

void start_line_log(const struct gateway *gateway)
{
    const struct gateway_config *config = gateway->config;
    struct line line = {.size = 0};
    line_add(&line, "culvert %s listens on", CULVERT_VERSION);
    for (size_t i = 0; i < config->listen_count; i++)
        line_add(&line, "%s %s", i > 0 ? "," : "", gateway->places[i].text);
    if (config->tls_certificate != NULL)
        line_add(&line, "; TLS: %s", config->tls_certificate);
    else
        line_add(&line, "; TLS: off");
    line_add(&line, "; policy:");
    describe_policy(config, &line);
    line_add(&line, "; keys: ");
    describe_keys(gateway, &line);
    log_info("%s", line.text);
}
