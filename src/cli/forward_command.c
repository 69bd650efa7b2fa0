#include "cli/forward_command.h"

#include "agent/forward_json.h"
#include "base/error.h"
#include "base/exit_code.h"
#include "base/str.h"
#include "base/utf8.h"
#include "cli/api_client.h"
#include "cli/subcommands.h"

#include <inttypes.h>
#include <string.h>

enum { PLACE_SIZE = 512 };

/* ---- words ---- */

static bool is_utf8(const char *text)
{
    size_t size = strlen(text);
    for (size_t step; size > 0; text += step, size -= step) {
        step = utf8_character_size((const uint8_t *)text, size);
        if (step == 0)
            return false;
    }
    return true;
}

static int take_rule(void *settings, const char *value, char *why)
{
    struct forward_command *command = settings;
    if (command->has_rule)
        return options_reject(why, "only one RULE is possible");
    if (!is_utf8(value))
        return options_reject(why, "it is not UTF-8, in which an API speaks");
    command->has_rule = true;
    return rule_parse(value, &command->rule, why, OPTIONS_WHY_SIZE);
}

static int take_id(void *settings, const char *value, char *why)
{
    struct forward_command *command = settings;
    if (command->id != 0)
        return options_reject(why, "only one ID is possible");
    if (str_parse_number(text_of(value), INT64_MAX, &command->id) != 0 || command->id == 0)
        return options_reject(why, "an ID is a number, as `culvert forward list` shows it");
    return 0;
}

static int take_api(void *settings, const char *value, char *why)
{
    struct forward_command *command = settings;
    if (value[0] == '\0')
        return options_reject(why, "the URL is empty");
    command->api = value;
    return 0;
}

static int take_token_file(void *settings, const char *value, char *why)
{
    struct forward_command *command = settings;
    return options_take_path(&command->token_file, value, why);
}

static int take_json(void *settings, const char *value, char *why)
{
    struct forward_command *command = settings;
    (void)value;
    (void)why;
    command->as_json = true;
    return 0;
}

/* ---- output ---- */

/* What stands in the answer, without what a terminal would obey. */
static const char *word_of(const json_t *forward, const char *name, char word[static PLACE_SIZE])
{
    const char *text = json_string_value(json_object_get(forward, name));
    snprintf(word, PLACE_SIZE, "%s", text != NULL ? text : "?");
    for (char *c = word; *c != '\0'; c++) {
        if ((unsigned char)*c <= ' ' || (unsigned char)*c >= 0x7f)
            *c = '?';
    }
    return word;
}

static json_int_t number_of(const json_t *forward, const char *name)
{
    return json_integer_value(json_object_get(forward, name));
}

/* HOST:PORT of two fields, with brackets where needed. */
static void describe_place(const json_t *forward, const char *host_name, const char *port_name,
                           char place[static PLACE_SIZE + 32])
{
    char host[PLACE_SIZE];
    bool needs_brackets = strchr(word_of(forward, host_name, host), ':') != NULL;
    snprintf(place, PLACE_SIZE + 32, "%s%s%s:%" JSON_INTEGER_FORMAT, needs_brackets ? "[" : "",
             host, needs_brackets ? "]" : "", number_of(forward, port_name));
}

static void describe_target(const json_t *forward, char target[static 2 * PLACE_SIZE + 64])
{
    char agent[PLACE_SIZE];
    char place[PLACE_SIZE + 32];
    describe_place(forward, "ip", "remote", place);
    snprintf(target, 2 * PLACE_SIZE + 64, "%s:%s", word_of(forward, "gateway", agent), place);
}

static void print_row(const json_t *forward, FILE *out)
{
    char local[PLACE_SIZE + 32];
    char target[2 * PLACE_SIZE + 64];
    char source[PLACE_SIZE];
    describe_place(forward, "bind", "local", local);
    describe_target(forward, target);
    fprintf(out,
            "%-4" JSON_INTEGER_FORMAT " %-22s %-32s %-6s %6" JSON_INTEGER_FORMAT
            " %8" JSON_INTEGER_FORMAT " %12" JSON_INTEGER_FORMAT " %12" JSON_INTEGER_FORMAT "%s\n",
            number_of(forward, "id"), local, target, word_of(forward, "source", source),
            number_of(forward, "open"), number_of(forward, "total"), number_of(forward, "sent"),
            number_of(forward, "received"),
            json_is_false(json_object_get(forward, "listening")) ? "  (the port is in use)" : "");
}

void forward_command_print(const json_t *answer, FILE *out)
{
    const json_t *forwards = json_object_get(answer, "forwards");
    fprintf(out, "%-4s %-22s %-32s %-6s %6s %8s %12s %12s\n", "ID", "LOCAL", "TARGET", "SOURCE",
            "OPEN", "TOTAL", "SENT", "RECEIVED");
    for (size_t i = 0; i < json_array_size(forwards); i++)
        print_row(json_array_get(forwards, i), out);
}

static int finish_output(void)
{
    return ferror(stdout) == 0 && fflush(stdout) == 0 ? EXIT_CODE_OK : EXIT_CODE_FAILURE;
}

static int print_json(const json_t *answer)
{
    json_dumpf(answer, stdout, JSON_INDENT(2));
    putchar('\n');
    return finish_output();
}

/* ---- calls ---- */

static int call(const struct forward_command *command, const char *method, const char *path,
                const json_t *body, json_t **answer)
{
    struct api_client client;
    char why[OPTIONS_WHY_SIZE];
    *answer = NULL;
    int error = api_client_open(&client, command->api, command->token_file, why);
    if (error == 0) {
        error = api_client_call(&client, method, path, body, answer, why);
        api_client_close(&client);
    }
    if (error != 0)
        fprintf(stderr, "culvert %s: %s\n", command->command->name, why);
    return error;
}

static int run_add(const struct forward_command *command)
{
    json_t *answer = NULL;
    int result = EXIT_CODE_FAILURE;
    json_t *body = forward_json_encode(&command->rule, command->rule.local_port);
    if (body == NULL) {
        fprintf(stderr, "culvert forward add: %s\n", error_text(CULVERT_ERROR_NO_MEMORY));
        return result;
    }
    int error = call(command, "POST", "/v1/forwards", body, &answer);
    json_decref(body);
    if (error != 0)
        return result;
    if (command->as_json) {
        result = print_json(answer);
    } else {
        char local[PLACE_SIZE + 32];
        char target[2 * PLACE_SIZE + 64];
        describe_place(answer, "bind", "local", local);
        describe_target(answer, target);
        printf("forward %" JSON_INTEGER_FORMAT ": %s -> %s\n", number_of(answer, "id"), local,
               target);
        result = finish_output();
    }
    json_decref(answer);
    return result;
}

static int run_list(const struct forward_command *command)
{
    json_t *answer = NULL;
    int result = EXIT_CODE_FAILURE;
    if (call(command, "GET", "/v1/forwards", NULL, &answer) != 0)
        return result;
    if (command->as_json) {
        result = print_json(answer);
    } else {
        forward_command_print(answer, stdout);
        result = finish_output();
    }
    json_decref(answer);
    return result;
}

static int run_remove(const struct forward_command *command)
{
    json_t *answer = NULL;
    char path[64];
    snprintf(path, sizeof path, "/v1/forwards/%" PRIu64, command->id);
    int error = call(command, "DELETE", path, NULL, &answer);
    json_decref(answer);
    return error == 0 ? EXIT_CODE_OK : EXIT_CODE_FAILURE;
}

/* ---- the tables ---- */

#define API_OPTIONS                                                             \
    {"api", "URL",                                                              \
     "where the agent's API is: http://HOST:PORT or unix:PATH\n"                \
     "(default: $CULVERT_API, else what a running agent of yours\n"             \
     "has left in the state directory)",                                        \
     take_api, false},                                                          \
    {                                                                           \
        "token-file", "FILE",                                                   \
            "its token (mode 0600; default: $CULVERT_TOKEN, else that of\nthe " \
            "state directory)",                                                 \
            take_token_file, false                                              \
    }

#define JSON_OPTION                                                  \
    {                                                                \
        "json", NULL, "print the API's own answer", take_json, false \
    }

static const struct option PRINT_OPTIONS[] = {API_OPTIONS, JSON_OPTION};
static const struct option REMOVE_OPTIONS[] = {API_OPTIONS};

#define COUNT(array) (sizeof(array) / sizeof *(array))

static const struct command COMMANDS[] = {
    {"forward add", "RULE [OPTION]...", "lets a running agent forward one more port",
     "A RULE is [BIND:]LPORT:[KEY@]AGENT:HOST:PORT, as for `culvert agent`. LPORT 0\n"
     "picks a free port, which is printed.",
     PRINT_OPTIONS, COUNT(PRINT_OPTIONS), take_rule},
    {"forward list", "[OPTION]...", "lists a running agent's forwards", NULL, PRINT_OPTIONS,
     COUNT(PRINT_OPTIONS), NULL},
    {"forward remove", "ID [OPTION]...", "removes a forward; its open sessions go on", NULL,
     REMOVE_OPTIONS, COUNT(REMOVE_OPTIONS), take_id},
};

static int (*const RUNS[])(const struct forward_command *command) = {run_add, run_list, run_remove};

static const struct subcommands SUBCOMMANDS = {
    .all =
        {
            .name = "forward",
            .synopsis = "add|list|remove ...",
            .summary = "the forwards of an agent that runs with --api",
            .details =
                "  culvert forward add RULE     lets the agent forward one more port\n"
                "  culvert forward list         lists its forwards, with sessions and bytes\n"
                "  culvert forward remove ID    removes one; its open sessions go on\n"
                "\n"
                "All take --api URL and --token-file FILE, add and list also --json.",
        },
    .commands = COMMANDS,
    .count = COUNT(COMMANDS),
};

static int check(const struct forward_command *command, char *why)
{
    if (command->run == run_add && !command->has_rule)
        return options_reject(why, "the RULE is missing: [BIND:]LPORT:[KEY@]AGENT:HOST:PORT");
    if (command->run == run_remove && command->id == 0)
        return options_reject(why,
                              "the ID of the forward is missing; `culvert forward list` shows it");
    return 0;
}

int forward_command_parse(char *const *words, struct forward_command *command,
                          char why[static OPTIONS_WHY_SIZE])
{
    *command = (struct forward_command){0};
    int result = subcommands_parse(&SUBCOMMANDS, words, command, &command->command, why);
    if (result != 0)
        return result;
    command->run = RUNS[command->command - COMMANDS];
    return check(command, why);
}

int forward_command_run(char *const *words)
{
    struct forward_command command;
    char why[OPTIONS_WHY_SIZE];
    int result = forward_command_parse(words, &command, why);
    if (result != 0)
        result = options_end(command.command, result, why);
    else
        result = command.run(&command);
    explicit_bzero(command.rule.key, sizeof command.rule.key);
    return result;
}
