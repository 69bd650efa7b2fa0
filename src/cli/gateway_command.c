#include "cli/gateway_command.h"

#include "base/error.h"
#include "base/exit_code.h"
#include "base/key_source.h"
#include "base/output.h"
#include "base/str.h"
#include "gateway/gateway_listen.h"
#include "lua/lua_pool.h"
#include "net/machine.h"

#include <stdio.h>
#include <string.h>

static int take_listen(void *settings, const char *value, char *why)
{
    struct gateway_command *command = settings;
    size_t count = command->config.listen_count;
    if (count == GATEWAY_COMMAND_LISTENS)
        return options_reject(why, "at most 64 are possible");
    int error = gateway_listen_parse(value, &command->listens[count], why, OPTIONS_WHY_SIZE);
    if (error == 0)
        command->config.listen_count++;
    return error;
}

static int take_port(void *settings, const char *value, char *why)
{
    uint16_t port;
    if (str_parse_port(text_of(value), &port) == 0)
        return take_listen(settings, value, why);
    snprintf(why, OPTIONS_WHY_SIZE, "\"%.100s\" is not a port (0 to 65535)", value);
    return CULVERT_ERROR_INVALID;
}

static int take_count(unsigned *count, const char *value, unsigned max, char *why)
{
    uint64_t number;
    if (str_parse_number(text_of(value), max, &number) != 0 || number == 0) {
        snprintf(why, OPTIONS_WHY_SIZE, "\"%.100s\" is not a number from 1 to %u", value, max);
        return CULVERT_ERROR_INVALID;
    }
    *count = (unsigned)number;
    return 0;
}

static int take_tls_certificate(void *settings, const char *value, char *why)
{
    struct gateway_command *command = settings;
    return options_take_path(&command->config.tls_certificate, value, why);
}

static int take_tls_key(void *settings, const char *value, char *why)
{
    struct gateway_command *command = settings;
    return options_take_path(&command->config.tls_key, value, why);
}

static int take_trusted_proxy(void *settings, const char *value, char *why)
{
    struct gateway_command *command = settings;
    struct network_parts parts;
    size_t count = command->config.trusted_count;
    if (count == GATEWAY_COMMAND_TRUSTED_PROXIES)
        return options_reject(why, "at most 64 are possible");
    network_split(text_of(value), &parts);
    int error = network_parse(&parts, &command->trusted[count], why, OPTIONS_WHY_SIZE);
    if (error == 0)
        command->config.trusted_count++;
    return error;
}

static int take_data(void *settings, const char *value, char *why)
{
    struct gateway_command *command = settings;
    return options_take_path(&command->config.data, value, why);
}

static int take_grant(void *settings, const char *value, char *why)
{
    struct gateway_command *command = settings;
    (void)value;
    (void)why;
    command->config.grant = true;
    return 0;
}

static int take_deny(void *settings, const char *value, char *why)
{
    struct gateway_command *command = settings;
    (void)value;
    (void)why;
    command->config.deny = true;
    return 0;
}

static int take_acl(void *settings, const char *value, char *why)
{
    struct gateway_command *command = settings;
    return options_take_path(&command->config.acl, value, why);
}

static int take_script(void *settings, const char *value, char *why)
{
    struct gateway_command *command = settings;
    return options_take_path(&command->config.script, value, why);
}

static int take_lua_workers(void *settings, const char *value, char *why)
{
    struct gateway_command *command = settings;
    command->has_script_options = true;
    return take_count(&command->config.lua_workers, value, GATEWAY_COMMAND_LUA_WORKERS, why);
}

static int take_lua_user(void *settings, const char *value, char *why)
{
    struct gateway_command *command = settings;
    command->has_script_options = true;
    return options_take_path(&command->config.lua_user, value, why);
}

static int take_auth_timeout(void *settings, const char *value, char *why)
{
    struct gateway_command *command = settings;
    uint64_t seconds = 0;
    if (str_parse_duration(value, &seconds) != 0 || seconds == 0 ||
        seconds > GATEWAY_COMMAND_AUTH_TIMEOUT) {
        snprintf(why, OPTIONS_WHY_SIZE, "\"%.100s\" is not a time from 1s to %ds", value,
                 GATEWAY_COMMAND_AUTH_TIMEOUT);
        return CULVERT_ERROR_INVALID;
    }
    command->config.auth_timeout = (unsigned)seconds * 1000;
    command->has_script_options = true;
    return 0;
}

static int take_limit_loopback(void *settings, const char *value, char *why)
{
    struct gateway_command *command = settings;
    (void)value;
    (void)why;
    command->config.limit_loopback = true;
    return 0;
}

static int take_handshakes(void *settings, const char *value, char *why)
{
    struct gateway_command *command = settings;
    uint64_t number = 0;
    if (str_parse_number(text_of(value), GATEWAY_COMMAND_HANDSHAKES, &number) != 0) {
        snprintf(why, OPTIONS_WHY_SIZE, "\"%.100s\" is not a number from 0 to %d", value,
                 GATEWAY_COMMAND_HANDSHAKES);
        return CULVERT_ERROR_INVALID;
    }
    command->config.handshakes = (unsigned)number;
    return 0;
}

/* A time up to a day. */
static int take_time(unsigned *taken, const char *value, char *why)
{
    uint64_t seconds = 0;
    if (str_parse_duration(value, &seconds) != 0 || seconds > GATEWAY_COMMAND_DAY) {
        snprintf(why, OPTIONS_WHY_SIZE, "\"%.100s\" is not a time from 0s to 24h", value);
        return CULVERT_ERROR_INVALID;
    }
    *taken = (unsigned)seconds;
    return 0;
}

static int take_resume_window(void *settings, const char *value, char *why)
{
    struct gateway_command *command = settings;
    return take_time(&command->config.resume_window, value, why);
}

static int take_drain(void *settings, const char *value, char *why)
{
    struct gateway_command *command = settings;
    return take_time(&command->config.drain, value, why);
}

static int take_legacy(void *settings, const char *value, char *why)
{
    struct gateway_command *command = settings;
    if (strcmp(value, "hubble") != 0) {
        snprintf(why, OPTIONS_WHY_SIZE, "unknown system \"%.100s\"; the only value is \"hubble\"",
                 value);
        return CULVERT_ERROR_INVALID;
    }
    command->config.legacy_hubble = true;
    return 0;
}

static int take_events(void *settings, const char *value, char *why)
{
    struct gateway_command *command = settings;
    return options_take_path(&command->journal.file, value, why);
}

static int take_events_webhook(void *settings, const char *value, char *why)
{
    struct gateway_command *command = settings;
    return options_take_path(&command->journal.webhook, value, why);
}

static int take_events_webhook_secret(void *settings, const char *value, char *why)
{
    struct gateway_command *command = settings;
    char reason[OPTIONS_WHY_SIZE] = "";
    int error = secret_source_file(value, command->webhook_secret, sizeof command->webhook_secret,
                                   reason, sizeof reason);
    if (error != 0)
        snprintf(why, OPTIONS_WHY_SIZE, "%.900s", reason);
    command->journal.webhook_secret = command->webhook_secret;
    command->journal.webhook_secret_file = value;
    return error != 0 ? OPTIONS_BAD_FILE : 0;
}

static int take_open(void *settings, const char *value, char *why)
{
    struct gateway_command *command = settings;
    (void)value;
    (void)why;
    command->config.open = true;
    return 0;
}

static int take_threads(void *settings, const char *value, char *why)
{
    struct gateway_command *command = settings;
    return take_count(&command->config.threads, value, MACHINE_CORES_MAX, why);
}

static const struct option OPTIONS[] = {
    {"listen", "[HOST:]PORT",
     "where to listen; may be repeated, port 0 picks a free\none (default: :8080)", take_listen,
     true},
    {"port", "N", "the same as --listen :N", take_port, true},
    {"tls-cert", "FILE", "serve TLS with this certificate chain (PEM), read again on\nSIGHUP",
     take_tls_certificate, false},
    {"tls-key", "FILE", "its private key (PEM, mode 0600)", take_tls_key, false},
    {"trusted-proxy", "CIDR",
     "believe the proxies in this network, by X-Forwarded-For and\nthe PROXY protocol, whose "
     "connection they pass on;\nmay be repeated (default: nobody)",
     take_trusted_proxy, true},
    {"auth-grant", NULL, "policy: grant every session", take_grant, false},
    {"authgrant", NULL, NULL, take_grant, false},
    {"auth-deny", NULL, "policy: deny every session", take_deny, false},
    {"authdeny", NULL, NULL, take_deny, false},
    {"acl", "FILE", "policy: the rules in this file, read again when it changes", take_acl, false},
    {"auth-lua", "FILE", "policy: ask this Lua script", take_script, false},
    {"authlua", "FILE", NULL, take_script, false},
    {"lua-workers", "N", "processes that run the script, 1 to 64 (default: 4)", take_lua_workers,
     false},
    {"lua-user", "NAME",
     "the user that runs the script if root starts the gateway\n"
     "(default: culvert-lua if it exists, otherwise nobody)",
     take_lua_user, false},
    {"auth-timeout", "TIME", "what the script may take for an answer (default: 5s)",
     take_auth_timeout, false},
    {"events", "FILE", "append what happens to this file, as JSON lines", take_events, false},
    {"events-webhook", "URL", "POST what happens to this URL, as JSON", take_events_webhook, false},
    {"events-webhook-secret-file", "FILE",
     "sign what is posted with the secret in this file\n(mode 0600)", take_events_webhook_secret,
     false},
    {"legacy", "SYSTEM", "serve agents of an older system as well: hubble (0.1)", take_legacy,
     true},
    {"open", NULL, "agents need no key: anybody may register any name", take_open, false},
    {"data", "DIR",
     "directory of the store of keys (default:\n$XDG_STATE_HOME/culvert or ~/.local/state/culvert, "
     "for\nroot /var/lib/culvert)",
     take_data, false},
    {"handshakes-per-second", "N",
     "how many agents may log in a second; the others are told\nwhen to come back (default: 1000; "
     "0: no limit)",
     take_handshakes, false},
    {"limit-loopback", NULL,
     "limit connections that have not logged in by address also\nwhere they come from loopback",
     take_limit_loopback, false},
    {"resume-window", "TIME",
     "how long the sessions of an agent wait for it when its\nconnection is lost (default: 60s; "
     "0: not at all)",
     take_resume_window, false},
    {"drain", "TIME",
     "how long open sessions may go on after SIGTERM, and agents\nmay take to register elsewhere "
     "(default: 5s)",
     take_drain, false},
    {"threads", "N", "event loops, 1 to 256 (default: one a core)", take_threads, false},
    COMMON_OPTIONS,
};

static const struct command COMMAND = {
    .name = "gateway",
    .synopsis = "--auth-grant|--auth-deny|--acl FILE|--auth-lua FILE [OPTION]...",
    .summary = "the public end, where agents register and sessions are joined",
    .details =
        "Agents need a key that `culvert key add NAME` has printed, unless --open is given.\n"
        "A policy has to be chosen; where several are given, all must allow a session.\n"
        "\n"
        "SIGHUP reads certificate, rules and script again, and opens the file of events anew.\n"
        "SIGTERM stops it; a second one ends it without waiting for open sessions.",
    .options = OPTIONS,
    .option_count = sizeof OPTIONS / sizeof *OPTIONS,
};

void gateway_command_init(struct gateway_command *command)
{
    *command = (struct gateway_command){
        .config = {.threads = machine_cores(),
                   .program = "/proc/self/exe",
                   .lua_workers = LUA_POOL_WORKERS,
                   .auth_timeout = LUA_POOL_TIMEOUT,
                   .handshakes = GATEWAY_HANDSHAKES,
                   .resume_window = GATEWAY_RESUME_WINDOW,
                   .drain = GATEWAY_COMMAND_DRAIN},
        .journal = {.log = true},
    };
    common_settings_init(&command->common);
}

int gateway_command_parse(char *const *words, struct gateway_command *command,
                          char why[static OPTIONS_WHY_SIZE])
{
    gateway_command_init(command);
    int result = options_parse(&COMMAND, words, command, why);
    if (result != 0)
        return result;
    struct gateway_config *config = &command->config;
    if (!config->grant && !config->deny && config->acl == NULL && config->script == NULL)
        return options_reject(
            why, "no policy is chosen: give --acl FILE with rules, --auth-lua FILE with "
                 "a script, --auth-grant to let every agent reach every other, or "
                 "--auth-deny to refuse every session");
    if (config->grant && config->deny)
        return options_reject(why, "--auth-grant and --auth-deny contradict each other; give one");
    if (command->has_script_options && config->script == NULL)
        return options_reject(why,
                              "--lua-workers, --lua-user and --auth-timeout need --auth-lua as "
                              "well");
    if (command->journal.webhook_secret != NULL && command->journal.webhook == NULL)
        return options_reject(why, "--events-webhook-secret-file needs --events-webhook as well");
    if ((config->tls_certificate == NULL) != (config->tls_key == NULL))
        return options_reject(why, config->tls_key == NULL ? "--tls-cert needs --tls-key as well"
                                                           : "--tls-key needs --tls-cert as well");
    if (config->listen_count == 0)
        result = take_listen(command, ":8080", why);
    config->listens = command->listens;
    config->trusted = command->trusted;
    config->max_memory = command->common.max_memory;
    return result;
}

static int run(const struct gateway_config *config)
{
    struct gateway *gateway = NULL;
    int code = gateway_open(config, &gateway);
    if (code != EXIT_CODE_OK)
        return code;
    for (size_t i = 0; i < config->listen_count; i++)
        output_print("listening on %s", gateway_address(gateway, i));
    code = gateway_run(gateway);
    gateway_free(gateway);
    return code;
}

int gateway_command_serve(struct gateway_command *command)
{
    char why[OPTIONS_WHY_SIZE];
    struct journal *journal = NULL;
    log_init(command->common.log_level, command->common.log_format, "gateway");
    int error = journal_start(&command->journal, &journal, why, sizeof why);
    explicit_bzero(command->webhook_secret, sizeof command->webhook_secret);
    if (error != 0) {
        log_error("cannot start the gateway: %s", why);
        return EXIT_CODE_FAILURE;
    }
    command->config.journal = journal;
    command->config.takes_signals = true;
    int code = run(&command->config);
    journal_stop(journal);
    return code;
}

int gateway_command_run(char *const *words)
{
    struct gateway_command command;
    char why[OPTIONS_WHY_SIZE];
    int result = gateway_command_parse(words, &command, why);
    if (result == 0)
        return gateway_command_serve(&command);
    explicit_bzero(command.webhook_secret, sizeof command.webhook_secret);
    return options_end(&COMMAND, result, why);
}
