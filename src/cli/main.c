#include "base/error.h"
#include "base/exit_code.h"
#include "base/log.h"
#include "base/output.h"
#include "cli/acl_command.h"
#include "cli/agent_command.h"
#include "cli/forward_command.h"
#include "cli/gateway_command.h"
#include "cli/hubble_command.h"
#include "cli/key_command.h"
#include "cli/lua_worker_command.h"
#include "cli/nearest.h"
#include "cli/options.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

static int run_version(char *const *words);
static int run_help(char *const *words);

static const struct {
    const char *word;
    const char *summary; /* NULL: not for users, not told */
    int (*run)(char *const *words);
} COMMANDS[] = {
    {"gateway", "the public end, where agents register and sessions are joined",
     gateway_command_run},
    {"agent", "registers at a gateway, forwards ports, dials targets", agent_command_run},
    {"forward", "the forwards of an agent that runs with --api", forward_command_run},
    {"key", "the keys by which agents register", key_command_run},
    {"acl", "checks and asks a file of rules: who may reach what", acl_command_run},
    {"hubble-proxy", "a gateway with the options of Hubble 0.1's proxy", hubble_proxy_run},
    {"hubble-agent", "an agent with the options of Hubble 0.1's agent", hubble_agent_run},
    {"lua-worker", NULL, lua_worker_command_run},
    {"version", "prints the version", run_version},
    {"help", "prints this, or the help of a command", run_help},
};

enum { COMMAND_COUNT = sizeof COMMANDS / sizeof *COMMANDS, HELP_WORDS = 8 };

static const struct command VERSION = {
    .name = "version", .synopsis = "", .summary = "prints the version"};

static int run_version(char *const *words)
{
    char why[OPTIONS_WHY_SIZE];
    int result = options_parse(&VERSION, words, NULL, why);
    if (result != 0)
        return options_end(&VERSION, result, why);
    printf("culvert %s\n", CULVERT_VERSION);
    return fflush(stdout) == 0 ? EXIT_CODE_OK : EXIT_CODE_FAILURE;
}

static void print_usage(FILE *out)
{
    fprintf(out, "culvert carries TCP between walled networks through a public gateway.\n"
                 "\n"
                 "Usage: culvert COMMAND [OPTION]... [ARGUMENT]...\n"
                 "\n"
                 "Commands:\n");
    for (size_t i = 0; i < COMMAND_COUNT; i++) {
        if (COMMANDS[i].summary != NULL)
            fprintf(out, "  %-12s %s\n", COMMANDS[i].word, COMMANDS[i].summary);
    }
    fprintf(out, "\n`culvert help COMMAND` tells a command's options.\n");
}

static int run_command(const char *word, char *const *words)
{
    struct nearest nearest;
    nearest_init(&nearest, word, strlen(word));
    for (size_t i = 0; i < COMMAND_COUNT; i++) {
        if (strcmp(word, COMMANDS[i].word) == 0)
            return COMMANDS[i].run(words);
        if (COMMANDS[i].summary != NULL)
            nearest_offer(&nearest, COMMANDS[i].word);
    }
    const char *best = nearest_word(&nearest);
    if (best != NULL)
        fprintf(stderr, "culvert: unknown command %.100s; did you mean %s?\n", word, best);
    else
        fprintf(stderr, "culvert: unknown command %.100s; `culvert help` lists all\n", word);
    return EXIT_CODE_USAGE;
}

static bool is_help(const char *word)
{
    return strcmp(word, "--help") == 0 || strcmp(word, "-help") == 0 || strcmp(word, "-h") == 0;
}

/* `help key add` is `key add --help`. */
static int run_help(char *const *words)
{
    static char option[] = "--help";
    char *asked[HELP_WORDS + 2];
    size_t count = 0;
    while (count < HELP_WORDS && words[count] != NULL && !is_help(words[count])) {
        asked[count] = words[count];
        count++;
    }
    if (count == 0) {
        print_usage(stdout);
        return fflush(stdout) == 0 ? EXIT_CODE_OK : EXIT_CODE_FAILURE;
    }
    asked[count] = option;
    asked[count + 1] = NULL;
    return run_command(asked[0], asked + 1);
}

/* Each session costs a descriptor or two, and the usual soft limit of 1024 is soon reached. */
static void raise_descriptor_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= limit.rlim_max)
        return;
    limit.rlim_cur = limit.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0)
        log_warning("the limit of open files stays as it is");
}

/* Memory holds keys and what sessions carry. A limit of 1 byte is below the least that is written
 * to a file, and it alone keeps a kernel from starting a program that takes the dump, such as a
 * crash reporter, which a limit of 0 does not (core(5), "Piping core dumps to a program"). Where
 * the limit cannot be raised to 1 it is 0. */
static void forbid_core_dumps(void)
{
    const char *allowed = getenv("CULVERT_CORE_DUMPS");
    const struct rlimit least = {.rlim_cur = 1, .rlim_max = 1};
    const struct rlimit none = {.rlim_cur = 0, .rlim_max = 0};
    if (allowed != NULL && strcmp(allowed, "1") == 0)
        return;
    if (setrlimit(RLIMIT_CORE, &least) != 0 && setrlimit(RLIMIT_CORE, &none) != 0)
        log_warning("a crash may leave a core dump with keys in it");
}

int main(int argc, char **argv)
{
    output_open();
    log_init(LOG_INFO, LOG_TEXT, "culvert");
    signal(SIGPIPE, SIG_IGN);
    forbid_core_dumps();
    raise_descriptor_limit();
    /* A link of an older program's name stands for that program. */
    const char *slash = argc > 0 ? strrchr(argv[0], '/') : NULL;
    const char *called = slash != NULL ? slash + 1 : argc > 0 ? argv[0] : "";
    if (strcmp(called, "hubble-proxy") == 0 || strcmp(called, "hubble-agent") == 0)
        return run_command(called, argv + 1);
    if (argc < 2) {
        print_usage(stderr);
        return EXIT_CODE_USAGE;
    }
    if (is_help(argv[1]))
        return run_help(argv + 2);
    if (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "-version") == 0)
        return run_version(argv + 2);
    return run_command(argv[1], argv + 2);
}
