#include "cli/acl_command.h"

#include "base/error.h"
#include "base/exit_code.h"
#include "base/key_source.h"
#include "base/str.h"
#include "cli/subcommands.h"
#include "gateway/acl_file.h"
#include "policy/host.h"

#include <stdio.h>
#include <string.h>

enum { RULE_TEXT_SIZE = 1024 };

/* ---- words ---- */

static int take_file(void *settings, const char *value, char *why)
{
    struct acl_command *command = settings;
    if (command->file != NULL)
        return options_reject(why, "only one FILE is possible");
    return options_take_path(&command->file, value, why);
}

static int take_name(const char **name, const char *value, const char *complaint, char *why)
{
    if (value[0] == '\0' || !str_is_legacy_name(text_of(value)))
        return options_reject(why, complaint);
    *name = value;
    return 0;
}

static int take_port(struct acl_command *command, const char *value, char *why)
{
    if (str_parse_port(text_of(value), &command->port) != 0 || command->port == 0)
        return options_reject(why, "a port is a number from 1 to 65535");
    return 0;
}

/* FILE FROM TO HOST PORT, in this order. */
static int take_question(void *settings, const char *value, char *why)
{
    struct acl_command *command = settings;
    if (command->file == NULL)
        return take_file(settings, value, why);
    if (command->from == NULL && strcmp(value, POLICY_NOBODY) == 0) {
        command->from = value;
        return 0;
    }
    if (command->from == NULL)
        return take_name(&command->from, value, "FROM is an agent's name, or - for nobody", why);
    if (command->to == NULL)
        return take_name(&command->to, value, "TO is an agent's name", why);
    if (command->host == NULL) {
        command->host = value;
        return 0;
    }
    if (command->port == 0)
        return take_port(command, value, why);
    return options_reject(why, "nothing may stand behind PORT; a key is given as --key KEY");
}

static int take_key(void *settings, const char *value, char *why)
{
    struct acl_command *command = settings;
    return key_source_text(value, command->key, sizeof command->key, why, OPTIONS_WHY_SIZE);
}

/* ---- the rules ---- */

/* Complaints begin with FILE:LINE:, as editors and scripts expect it. */
static struct acl *read_rules(const struct acl_command *command)
{
    struct acl *acl = NULL;
    char why[OPTIONS_WHY_SIZE];
    int error = acl_file_read(command->file, &acl, why, sizeof why);
    if (error == CULVERT_ERROR_INVALID)
        fprintf(stderr, "%s\n", why);
    else if (error != 0)
        fprintf(stderr, "culvert %s: %s\n", command->command->name, why);
    return acl;
}

static void print_complaint(void *context, const char *complaint)
{
    (void)context;
    fprintf(stderr, "%s\n", complaint);
}

static int run_check(const struct acl_command *command)
{
    static const struct acl_complaints complaints = {.each = print_complaint};
    char why[OPTIONS_WHY_SIZE];
    int wrong = acl_file_check(command->file, &complaints, why, sizeof why);
    if (wrong < 0)
        fprintf(stderr, "culvert acl check: %s\n", why);
    else if (wrong > 0)
        fprintf(stderr, "culvert acl check: %d line%s of %s %s wrong\n", wrong,
                wrong == 1 ? "" : "s", command->file, wrong == 1 ? "is" : "are");
    if (wrong != 0)
        return EXIT_CODE_FAILURE;
    struct acl *acl = read_rules(command);
    if (acl == NULL)
        return EXIT_CODE_FAILURE;
    printf("%zu rule%s\n", acl_count(acl), acl_count(acl) == 1 ? "" : "s");
    unsigned line = acl_network_denial(acl);
    if (line != 0)
        fprintf(stderr,
                "%s:%u: note: this denies addresses, not names that resolve to them; the dialling "
                "agent's --allow decides about those\n",
                command->file, line);
    acl_free(acl);
    return fflush(stdout) == 0 ? EXIT_CODE_OK : EXIT_CODE_FAILURE;
}

static int run_test(const struct acl_command *command)
{
    struct acl *acl = read_rules(command);
    struct policy_verdict verdict;
    char host[HOST_NAME_SIZE];
    char rule[RULE_TEXT_SIZE];
    if (acl == NULL)
        return EXIT_CODE_FAILURE;
    struct text bare = text_of(command->host);
    host_strip_brackets(&bare);
    if (text_copy(bare, host, sizeof host) != 0)
        host[0] = '\0'; /* which no host is either */
    struct policy_request request = {.source = command->from,
                                     .user = "",
                                     .address = "",
                                     .kind = "tcp",
                                     .agent = command->to,
                                     .host = host,
                                     .port = command->port,
                                     .key = command->key};
    unsigned line = acl_ask(acl, &request, &verdict);
    acl_rule_text(acl, line, rule, sizeof rule);
    if (line != 0)
        printf("%-6s %s:%u: %s\n", verdict.allowed ? "allow" : "deny", command->file, line, rule);
    else
        printf("%-6s %s\n", "deny", verdict.reason);
    acl_free(acl);
    if (fflush(stdout) != 0 || verdict.failed)
        return EXIT_CODE_FAILURE;
    return verdict.allowed ? EXIT_CODE_OK : EXIT_CODE_REFUSED;
}

/* ---- the tables ---- */

static const struct option TEST_OPTIONS[] = {
    {"key", "KEY", "the connection key that the session names", take_key, false},
};

#define COUNT(array) (sizeof(array) / sizeof *(array))

static const struct command COMMANDS[] = {
    {"acl check", "FILE", "says how many rules a file has, or which lines are wrong", NULL, NULL, 0,
     take_file},
    {"acl test", "FILE FROM TO HOST PORT [OPTION]...",
     "says what the rules say to a session, and which of them",
     "FROM is - for someone without a name. Ends with 0 if the session is allowed, with 3 if it\n"
     "is not.",
     TEST_OPTIONS, COUNT(TEST_OPTIONS), take_question},
};

static int (*const RUNS[])(const struct acl_command *command) = {run_check, run_test};

static const struct subcommands SUBCOMMANDS = {
    .all =
        {
            .name = "acl",
            .synopsis = "check|test ...",
            .summary = "checks and asks the files of rules that say who may reach what",
            .details =
                "  culvert acl check FILE                       says how many rules there are, or\n"
                "                                               which lines are wrong\n"
                "  culvert acl test FILE FROM TO HOST PORT [--key KEY]\n"
                "                                               says what the rules say to a\n"
                "                                               session, and which of them",
        },
    .commands = COMMANDS,
    .count = COUNT(COMMANDS),
};

static int check_complete(const struct acl_command *command, char *why)
{
    if (command->file == NULL)
        return options_reject(why, "the FILE is missing");
    if (command->run != run_test)
        return 0;
    const char *missing = command->from == NULL   ? "FROM, the asking agent,"
                          : command->to == NULL   ? "TO, the agent that is to dial,"
                          : command->host == NULL ? "the HOST"
                          : command->port == 0    ? "the PORT"
                                                  : NULL;
    if (missing == NULL)
        return 0;
    snprintf(why, OPTIONS_WHY_SIZE, "%s is missing", missing);
    return CULVERT_ERROR_INVALID;
}

int acl_command_parse(char *const *words, struct acl_command *command,
                      char why[static OPTIONS_WHY_SIZE])
{
    *command = (struct acl_command){0};
    int result = subcommands_parse(&SUBCOMMANDS, words, command, &command->command, why);
    if (result != 0)
        return result;
    command->run = RUNS[command->command - COMMANDS];
    return check_complete(command, why);
}

int acl_command_run(char *const *words)
{
    struct acl_command command;
    char why[OPTIONS_WHY_SIZE];
    int result = acl_command_parse(words, &command, why);
    result = result != 0 ? options_end(command.command, result, why) : command.run(&command);
    explicit_bzero(command.key, sizeof command.key);
    return result;
}
