#include "cli/key_command.h"

#include "base/error.h"
#include "base/exit_code.h"
#include "base/private_file.h"
#include "base/str.h"
#include "cli/subcommands.h"
#include "store/store.h"

#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { DEFAULT_GRACE = 24 * 60 * 60, MOST_GRACE = 10 * 365 * 24 * 60 * 60, TIME_TEXT_SIZE = 32 };

/* ---- words ---- */

static int take_name(void *settings, const char *value, char *why)
{
    struct key_command *command = settings;
    if (command->name != NULL)
        return options_reject(why, "only one NAME is possible");
    if (!str_is_agent_name(text_of(value)))
        return options_reject(why, "an agent's name is 1 to 128 of A-Z a-z 0-9 . _ -, and not "
                                   "\"gateway\"");
    command->name = value;
    return 0;
}

static int take_user(void *settings, const char *value, char *why)
{
    struct key_command *command = settings;
    if (strlen(value) >= STORE_NAME_SIZE)
        return options_reject(why, "a user has at most 128 bytes");
    for (const char *c = value; *c != '\0'; c++) {
        if ((unsigned char)*c <= ' ' || *c == 0x7f)
            return options_reject(why, "a user is one word, without control characters");
    }
    command->user = value;
    return 0;
}

static int take_data(void *settings, const char *value, char *why)
{
    struct key_command *command = settings;
    return options_take_path(&command->data, value, why);
}

static int take_out(void *settings, const char *value, char *why)
{
    struct key_command *command = settings;
    return options_take_path(&command->out, value, why);
}

static int take_grace(void *settings, const char *value, char *why)
{
    struct key_command *command = settings;
    uint64_t seconds;
    if (str_parse_duration(value, &seconds) != 0 || seconds > MOST_GRACE) {
        snprintf(why, OPTIONS_WHY_SIZE,
                 "\"%.100s\" is not a duration such as 90s, 15m, 24h or 7d, up to 3650d", value);
        return CULVERT_ERROR_INVALID;
    }
    command->grace = (int64_t)seconds;
    return 0;
}

/* ---- the store ---- */

static int run_add(const struct key_command *command, int64_t now);

static void print_error(const char *name, const char *sentence)
{
    fprintf(stderr, "culvert key %s: %s\n", name, sentence);
}

/* The directory of the store, in `path`; NULL, with a complaint, if there is none. */
static const char *find_directory(const struct key_command *command, const char *name,
                                  char path[static PATH_MAX])
{
    if (command->data != NULL)
        return command->data;
    if (store_default_directory(path, PATH_MAX) == 0)
        return path;
    print_error(name, "there is no home directory to keep the store in; give --data DIR");
    return NULL;
}

/* Opens a store; only `key add` makes one. */
static int open_store(const struct key_command *command, const char *name, struct store **store)
{
    char path[PATH_MAX];
    char why[2 * PATH_MAX];
    const char *directory = find_directory(command, name, path);
    if (directory == NULL)
        return CULVERT_ERROR_NOT_FOUND;
    bool is_new = !store_exists(directory);
    if (is_new && command->run != run_add) {
        fprintf(stderr,
                "culvert key %s: there is no store in %s; `culvert key add` and the gateway make "
                "one, --data DIR names another\n",
                name, directory);
        return CULVERT_ERROR_NOT_FOUND;
    }
    int error = store_open(directory, store, why, sizeof why);
    if (error != 0)
        print_error(name, why);
    else if (is_new)
        fprintf(stderr, "Made a new store in %s.\n", directory);
    return error;
}

/* ---- where a key goes ---- */

/* Before a key is made: whether its file can be a new one. */
static int check_out(const struct key_command *command, const char *name)
{
    if (command->out == NULL || access(command->out, F_OK) != 0)
        return 0;
    fprintf(stderr,
            "culvert key %s: %s is there already and is not overwritten; name another file\n", name,
            command->out);
    return CULVERT_ERROR_EXISTS;
}

/* To the file of --out, or to standard output, alone, so that it can be piped. */
static int give_key(const struct key_command *command, const char *name, const char *key)
{
    char line[STORE_KEY_TEXT_SIZE + 1];
    if (command->out == NULL) {
        if (printf("%s\n", key) >= 0 && fflush(stdout) == 0)
            return 0;
        print_error(name, "the key could not be printed");
        return -EIO;
    }
    int size = snprintf(line, sizeof line, "%s\n", key);
    int error = private_file_make(command->out, line, (size_t)size);
    explicit_bzero(line, sizeof line);
    if (error != 0)
        fprintf(stderr, "culvert key %s: cannot write the key to %s: %s\n", name, command->out,
                error_text(error));
    return error;
}

/* Says where the key is, and what to do with it. */
static void tell_place(const struct key_command *command, const char *what)
{
    if (command->out != NULL)
        fprintf(stderr,
                "%s of %s is in %s (mode 0600) and is not shown again. Start the agent with "
                "--key-file %s.\n",
                what, command->name, command->out, command->out);
    else
        fprintf(stderr,
                "This is the %s of %s; it is not shown again. Keep it in a file with mode 0600 "
                "(--out FILE makes one) and start the agent with --key-file FILE.\n",
                strcmp(what, "The key") == 0 ? "key" : "new key", command->name);
}

static int run_add(const struct key_command *command, int64_t now)
{
    struct store *store;
    char key[STORE_KEY_TEXT_SIZE];
    if (check_out(command, "add") != 0 || open_store(command, "add", &store) != 0)
        return EXIT_CODE_FAILURE;
    int error = store_add(store, command->name, command->user, now, key);
    if (error == CULVERT_ERROR_EXISTS) {
        fprintf(stderr,
                "culvert key add: %s has a key; `culvert key rotate %s` gives it a new one\n",
                command->name, command->name);
    } else if (error != 0) {
        print_error("add", store_message(store));
    } else {
        error = give_key(command, "add", key);
        if (error == 0)
            tell_place(command, "The key");
        else
            (void)store_revoke(store, command->name); /* nobody has it */
    }
    explicit_bzero(key, sizeof key);
    store_close(store);
    return error == 0 ? EXIT_CODE_OK : EXIT_CODE_FAILURE;
}

static int run_rotate(const struct key_command *command, int64_t now)
{
    struct store *store;
    char key[STORE_KEY_TEXT_SIZE];
    char grace[STR_DURATION_SIZE];
    if (check_out(command, "rotate") != 0 || open_store(command, "rotate", &store) != 0)
        return EXIT_CODE_FAILURE;
    int error = store_rotate(store, command->name, now, command->grace, key);
    if (error == CULVERT_ERROR_NOT_FOUND) {
        fprintf(stderr, "culvert key rotate: %s has no key; `culvert key add %s` gives it one\n",
                command->name, command->name);
    } else if (error != 0) {
        print_error("rotate", store_message(store));
    } else {
        error = give_key(command, "rotate", key);
        if (error == 0) {
            tell_place(command, "The new key");
            fprintf(stderr, "The old key works for %s more.\n",
                    str_duration_text((uint64_t)command->grace, grace));
        }
    }
    explicit_bzero(key, sizeof key);
    store_close(store);
    return error == 0 ? EXIT_CODE_OK : EXIT_CODE_FAILURE;
}

static int run_revoke(const struct key_command *command, int64_t now)
{
    struct store *store;
    (void)now;
    if (open_store(command, "revoke", &store) != 0)
        return EXIT_CODE_FAILURE;
    int error = store_revoke(store, command->name);
    if (error == 0)
        fprintf(stderr, "The keys of %s are revoked.\n", command->name);
    else if (error == CULVERT_ERROR_NOT_FOUND)
        fprintf(stderr, "culvert key revoke: %s has no key\n", command->name);
    else
        print_error("revoke", store_message(store));
    store_close(store);
    return error == 0 ? EXIT_CODE_OK : EXIT_CODE_FAILURE;
}

/* RFC 3339. */
static const char *time_text(int64_t seconds, char text[static TIME_TEXT_SIZE])
{
    struct tm parts;
    time_t time = (time_t)seconds;
    if (gmtime_r(&time, &parts) == NULL ||
        strftime(text, TIME_TEXT_SIZE, "%Y-%m-%dT%H:%M:%SZ", &parts) == 0)
        return "?";
    return text;
}

static void print_row(void *context, const struct store_key *key)
{
    char created[TIME_TEXT_SIZE];
    char expires[TIME_TEXT_SIZE];
    (void)context;
    printf("%-24s %-16s %-20s %s\n", key->name, key->user[0] != '\0' ? key->user : "-",
           time_text(key->created, created),
           key->expires == 0 ? "never" : time_text(key->expires, expires));
}

static int run_list(const struct key_command *command, int64_t now)
{
    struct store *store;
    if (open_store(command, "list", &store) != 0)
        return EXIT_CODE_FAILURE;
    printf("%-24s %-16s %-20s %s\n", "NAME", "USER", "CREATED", "EXPIRES");
    int error = store_list(store, now, print_row, NULL);
    if (error != 0)
        print_error("list", store_message(store));
    store_close(store);
    return error == 0 && fflush(stdout) == 0 ? EXIT_CODE_OK : EXIT_CODE_FAILURE;
}

/* ---- the tables ---- */

#define DATA_OPTION                                                         \
    {                                                                       \
        "data", "DIR",                                                      \
            "directory of the store (default: $XDG_STATE_HOME/culvert\nor " \
            "~/.local/state/culvert, for root /var/lib/culvert)",           \
            take_data, false                                                \
    }

#define OUT_OPTION                                                             \
    {                                                                          \
        "out", "FILE",                                                         \
            "write the key to this new file, with mode 0600; a file that\nis " \
            "there is not overwritten (default: standard output)",             \
            take_out, false                                                    \
    }

static const struct option ADD_OPTIONS[] = {
    OUT_OPTION,
    {"user", "USER", "whom the agent belongs to, for the list", take_user, false},
    DATA_OPTION,
};

static const struct option ROTATE_OPTIONS[] = {
    OUT_OPTION,
    {"grace", "TIME", "how long the old key still works, such as 90s, 15m or 7d\n(default: 24h)",
     take_grace, false},
    DATA_OPTION,
};

static const struct option DATA_OPTIONS[] = {DATA_OPTION};

#define COUNT(array) (sizeof(array) / sizeof *(array))

static const struct command COMMANDS[] = {
    {"key add", "NAME [OPTION]...", "makes a key for an agent and prints it, once", NULL,
     ADD_OPTIONS, COUNT(ADD_OPTIONS), take_name},
    {"key list", "[OPTION]...", "lists the keys that are valid, not the secrets", NULL,
     DATA_OPTIONS, COUNT(DATA_OPTIONS), NULL},
    {"key revoke", "NAME [OPTION]...", "removes all keys of an agent and cuts its link",
     "A running gateway cuts the agent within a second.", DATA_OPTIONS, COUNT(DATA_OPTIONS),
     take_name},
    {"key rotate", "NAME [OPTION]...", "makes a second key; the old one ends after a grace", NULL,
     ROTATE_OPTIONS, COUNT(ROTATE_OPTIONS), take_name},
};

static int (*const RUNS[])(const struct key_command *command,
                           int64_t now) = {run_add, run_list, run_revoke, run_rotate};

static const struct subcommands SUBCOMMANDS = {
    .all =
        {
            .name = "key",
            .synopsis = "add|list|revoke|rotate ...",
            .summary = "the keys by which agents register at a gateway",
            .details =
                "  culvert key add NAME [--user USER] [--out FILE]\n"
                "                                               makes a key and prints it, once\n"
                "  culvert key list                             lists the keys that are valid\n"
                "  culvert key revoke NAME                      removes all keys of an agent\n"
                "  culvert key rotate NAME [--grace TIME] [--out FILE]\n"
                "                                               makes a second key, the old one\n"
                "                                               ends after the grace period\n"
                "\n"
                "All take --data DIR, the directory of the store, as the gateway does.",
        },
    .commands = COMMANDS,
    .count = COUNT(COMMANDS),
};

int key_command_parse(char *const *words, struct key_command *command,
                      char why[static OPTIONS_WHY_SIZE])
{
    *command = (struct key_command){.user = "", .grace = DEFAULT_GRACE};
    int result = subcommands_parse(&SUBCOMMANDS, words, command, &command->command, why);
    if (result != 0)
        return result;
    command->run = RUNS[command->command - COMMANDS];
    if (command->run != run_list && command->name == NULL)
        return options_reject(why, "the agent's NAME is missing");
    return 0;
}

int key_command_run(char *const *words)
{
    struct key_command command;
    char why[OPTIONS_WHY_SIZE];
    int result = key_command_parse(words, &command, why);
    if (result != 0)
        return options_end(command.command, result, why);
    return command.run(&command, time(NULL));
}
