#include "cli/agent_command.h"

#include "agent/api_place.h"
#include "base/error.h"
#include "base/exit_code.h"
#include "base/key_source.h"
#include "base/memory.h"
#include "base/str.h"
#include "net/local_address.h"
#include "net/proxy_login_file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* One of the words, whose index goes into *chosen. */
static int take_word(const char *const *words, size_t count, const char *value, const char *kind,
                     size_t *chosen, char *why)
{
    size_t size = (size_t)snprintf(why, OPTIONS_WHY_SIZE, "\"%.100s\" is not %s: ", value, kind);
    for (size_t i = 0; i < count; i++) {
        if (strcmp(value, words[i]) == 0) {
            *chosen = i;
            return 0;
        }
        const char *before = i == 0 ? "" : i + 1 < count ? ", " : " or ";
        size += (size_t)snprintf(why + size, OPTIONS_WHY_SIZE - size, "%s%s", before, words[i]);
    }
    return CULVERT_ERROR_INVALID;
}

static int take_url(void *settings, const char *value, char *why)
{
    struct agent_command *command = settings;
    return agent_command_add_url(command, value, why);
}

int agent_command_add_url(struct agent_command *command, const char *value, char *why)
{
    size_t count = command->config.url_count;
    if (count == GATEWAYS_MAX) {
        snprintf(why, OPTIONS_WHY_SIZE, "there are more than %d URLs", GATEWAYS_MAX);
        return CULVERT_ERROR_INVALID;
    }
    int error = url_parse(value, &command->urls[count], why, OPTIONS_WHY_SIZE);
    if (error == 0)
        command->config.url_count++;
    return error;
}

static int take_url_order(void *settings, const char *value, char *why)
{
    static const char *const names[] = {"given", "random"};
    struct agent_command *command = settings;
    size_t chosen = 0;
    int error = take_word(names, sizeof names / sizeof *names, value, "an order", &chosen, why);
    command->config.url_random = chosen == 1;
    return error;
}

static int take_transport(void *settings, const char *value, char *why)
{
    static const char *const names[] = {[AGENT_TRANSPORT_AUTO] = "auto",
                                        [AGENT_TRANSPORT_WEBSOCKET] = "websocket",
                                        [AGENT_TRANSPORT_POLL] = "poll"};
    struct agent_command *command = settings;
    size_t chosen = 0;
    int error = take_word(names, sizeof names / sizeof *names, value, "a transport", &chosen, why);
    command->config.transport = (enum agent_transport)chosen;
    return error;
}

static int take_retry_preferred(void *settings, const char *value, char *why)
{
    struct agent_command *command = settings;
    uint64_t seconds = 0;
    if (str_parse_duration(value, &seconds) != 0 || seconds == 0 ||
        seconds > AGENT_COMMAND_RETRY_MAX) {
        snprintf(why, OPTIONS_WHY_SIZE, "\"%.100s\" is not a time from 1s to 24h", value);
        return CULVERT_ERROR_INVALID;
    }
    command->config.retry_preferred = (unsigned)seconds;
    return 0;
}

static int take_name(void *settings, const char *value, char *why)
{
    struct agent_command *command = settings;
    if (!str_is_agent_name(text_of(value))) {
        snprintf(why, OPTIONS_WHY_SIZE,
                 "\"%.150s\" cannot be a name: 1 to 128 of A-Z a-z 0-9 . _ -, and not \"gateway\"",
                 value);
        return CULVERT_ERROR_INVALID;
    }
    command->config.name = value;
    return 0;
}

static int take_key(void *settings, const char *value, char *why)
{
    struct agent_command *command = settings;
    (void)why;
    command->key_option = value;
    return 0;
}

static int take_key_file(void *settings, const char *value, char *why)
{
    struct agent_command *command = settings;
    (void)why;
    command->config.key_file = value;
    return 0;
}

static int take_ca(void *settings, const char *value, char *why)
{
    struct agent_command *command = settings;
    return options_take_path(&command->config.ca, value, why);
}

static int take_insecure(void *settings, const char *value, char *why)
{
    struct agent_command *command = settings;
    (void)value;
    (void)why;
    command->config.insecure = true;
    return 0;
}

static int take_proxy(void *settings, const char *value, char *why)
{
    struct agent_command *command = settings;
    command->proxies.is_given = true;
    return proxy_parse(value, &command->proxies.given, why, OPTIONS_WHY_SIZE);
}

static int take_proxy_user(void *settings, const char *value, char *why)
{
    struct agent_command *command = settings;
    if (command->proxies.login.is_given)
        return options_reject(why, "--proxy-user and --proxy-user-file exclude each other");
    return proxy_parse_login(value, &command->proxies.login, why, OPTIONS_WHY_SIZE);
}

static int take_proxy_user_file(void *settings, const char *value, char *why)
{
    struct agent_command *command = settings;
    if (command->proxies.login.is_given)
        return options_reject(why, "--proxy-user and --proxy-user-file exclude each other");
    int error = options_take_path(&command->config.proxy_user_file, value, why);
    if (error != 0)
        return error;
    error = proxy_login_file_read(value, &command->proxies.login, why, OPTIONS_WHY_SIZE);
    return error != 0 ? OPTIONS_BAD_FILE : 0;
}

static int take_proxy_ca(void *settings, const char *value, char *why)
{
    struct agent_command *command = settings;
    return options_take_path(&command->proxies.ca, value, why);
}

static int take_allow(void *settings, const char *value, char *why)
{
    struct agent_command *command = settings;
    char wrong[OPTIONS_WHY_SIZE / 2] = "";
    command->has_allow = true;
    int error = whitelist_add(&command->config.whitelist, value, wrong, sizeof wrong);
    if (error == CULVERT_ERROR_INVALID)
        snprintf(why, OPTIONS_WHY_SIZE, "\"%.*s\": %s", OPTIONS_WHY_SIZE / 4, value, wrong);
    return error;
}

/* A number from 1 to `max`. */
static int take_count(const char *value, unsigned max, unsigned *count, char *why)
{
    uint64_t number = 0;
    if (str_parse_number(text_of(value), max, &number) != 0 || number == 0) {
        snprintf(why, OPTIONS_WHY_SIZE, "\"%.100s\" is not a number from 1 to %u", value, max);
        return CULVERT_ERROR_INVALID;
    }
    *count = (unsigned)number;
    return 0;
}

static int take_dial_timeout(void *settings, const char *value, char *why)
{
    struct agent_command *command = settings;
    uint64_t seconds = 0;
    if (str_parse_duration(value, &seconds) != 0 || seconds == 0 ||
        seconds > AGENT_COMMAND_DIAL_TIMEOUT_MAX) {
        snprintf(why, OPTIONS_WHY_SIZE, "\"%.100s\" is not a time from 1s to 5m", value);
        return CULVERT_ERROR_INVALID;
    }
    command->config.dial_timeout = (unsigned)seconds;
    return 0;
}

static int take_max_dials(void *settings, const char *value, char *why)
{
    struct agent_command *command = settings;
    return take_count(value, AGENT_COMMAND_DIALS_MAX, &command->config.dial_limits.dials, why);
}

static int take_max_dials_per_agent(void *settings, const char *value, char *why)
{
    struct agent_command *command = settings;
    return take_count(value, AGENT_COMMAND_DIALS_MAX, &command->config.dial_limits.dials_per_asker,
                      why);
}

static int take_max_lookups(void *settings, const char *value, char *why)
{
    struct agent_command *command = settings;
    return take_count(value, AGENT_COMMAND_LOOKUPS_MAX, &command->config.dial_limits.lookups, why);
}

static int take_max_lookups_per_agent(void *settings, const char *value, char *why)
{
    struct agent_command *command = settings;
    return take_count(value, AGENT_COMMAND_LOOKUPS_MAX,
                      &command->config.dial_limits.lookups_per_asker, why);
}

static int take_rule(void *settings, const char *value, char *why)
{
    struct rule rule;
    int error = rule_parse(value, &rule, why, OPTIONS_WHY_SIZE);
    return error != 0 ? error : agent_command_add_rule(settings, &rule, why);
}

int agent_command_add_rule(struct agent_command *command, const struct rule *rule, char *why)
{
    size_t count = command->config.rule_count;
    if (count == AGENT_COMMAND_RULES)
        return options_reject(why, "there are more than 1024 rules");
    struct rule *rules = memory_grow(command->rules, (count + 1) * sizeof *rules);
    if (rules == NULL)
        return CULVERT_ERROR_NO_MEMORY;
    rules[count] = *rule;
    command->rules = rules;
    command->config.rules = rules;
    command->config.rule_count++;
    return 0;
}

static int take_forwards(void *settings, const char *value, char *why)
{
    struct agent_command *command = settings;
    return options_take_path(&command->config.forwards_file, value, why);
}

static int take_state(void *settings, const char *value, char *why)
{
    struct agent_command *command = settings;
    return options_take_path(&command->config.state_file, value, why);
}

static int take_api(void *settings, const char *value, char *why)
{
    struct agent_command *command = settings;
    struct api_address address;
    command->config.api = value;
    return api_address_parse(value, &address, why, OPTIONS_WHY_SIZE);
}

static int take_api_token_file(void *settings, const char *value, char *why)
{
    struct agent_command *command = settings;
    return options_take_path(&command->config.api_token_file, value, why);
}

static int take_dialect(void *settings, const char *value, char *why)
{
    static const char *const names[] = {[AGENT_DIALECT_AUTO] = "auto",
                                        [AGENT_DIALECT_NATIVE] = "native",
                                        [AGENT_DIALECT_HUBBLE] = "hubble"};
    struct agent_command *command = settings;
    size_t chosen = 0;
    int error = take_word(names, sizeof names / sizeof *names, value, "a dialect", &chosen, why);
    command->config.dialect = (enum agent_dialect)chosen;
    return error;
}

static const struct option OPTIONS[] = {
    {"url", "URL",
     "the gateway: ws://HOST[:PORT] or wss://HOST[:PORT]; with\npoll+http:// or poll+https:// by "
     "long poll only. Repeated:\nthe first that answers, the next when it is lost",
     take_url, true},
    {"url-order", "ORDER", "of several URLs: given (default) or random", take_url_order, false},
    {"transport", "NAME",
     "websocket, poll (long poll), or auto (default):\n"
     "WebSocket, and long poll where that does not pass",
     take_transport, false},
    {"retry-preferred", "TIME",
     "how soon to try WebSocket again after long poll, or an\n"
     "earlier URL (default: 60s); it doubles after each failure,\n"
     "up to half an hour",
     take_retry_preferred, false},
    {"name", "NAME", "this agent's name", take_name, false},
    {"key", "KEY",
     "this agent's key (others on this machine may see it in\nthe list of processes; better is "
     "--key-file)",
     take_key, false},
    {"key-file", "FILE", "a file with the key (mode 0600)", take_key_file, false},
    {"ca", "FILE", "trust these CAs (PEM), not the system's", take_ca, false},
    {"insecure", NULL,
     "do not verify the gateway's certificate; let a key cross\na plain ws:// or poll+http:// in "
     "clear",
     take_insecure, false},
    {"proxy", "URL",
     "reach the gateway through this proxy, http, https, socks5\nor socks5h://[USER:PASSWORD@]HOST"
     "[:PORT], or through none\n(default: $https_proxy, $http_proxy, $all_proxy, $no_proxy)",
     take_proxy, false},
    {"proxy-user", "USER:PASSWORD",
     "for the proxy (others may see it in the list of processes;\nbetter is --proxy-user-file)",
     take_proxy_user, false},
    {"proxy-user-file", "FILE", "a file with USER:PASSWORD (mode 0600)", take_proxy_user_file,
     false},
    {"proxy-ca", "FILE", "trust these CAs (PEM) for an https proxy, not the system's",
     take_proxy_ca, false},
    {"allow", "TARGET",
     "what other agents may reach through this one; may be\n"
     "repeated: HOST:PORT, HOST:LO-HI, HOST:*, the same with\n"
     "CIDR for HOST, or * for everything",
     take_allow, true},
    {"dial-timeout", "TIME",
     "how long dialling a target for others may take, its\nname's look-up included (default: 10s)",
     take_dial_timeout, false},
    {"max-dials", "N", "how many targets may be dialled at a time (default: 2048)", take_max_dials,
     false},
    {"max-dials-per-agent", "N", "and how many for one agent (default: 512)",
     take_max_dials_per_agent, false},
    {"max-lookups", "N", "how many names of targets may be looked up at a time\n(default: 16)",
     take_max_lookups, false},
    {"max-lookups-per-agent", "N", "and how many for one agent (default: 4)",
     take_max_lookups_per_agent, false},
    {"forwards", "FILE", "a JSON list of forwards, read again on SIGHUP", take_forwards, false},
    {"api", "ADDRESS", "serve the REST API on HOST:PORT or unix:PATH", take_api, false},
    {"api-token-file", "FILE",
     "its token (mode 0600; default: one is made in the\nstate directory)", take_api_token_file,
     false},
    {"state", "FILE", "keep the forwards that the API has made, across restarts", take_state,
     false},
    {"dialect", "NAME",
     "what to speak with the gateway: native, hubble (0.1), or\nauto (default): native, and hubble "
     "if the server knows no\nother and there is no key to give away",
     take_dialect, false},
    COMMON_OPTIONS,
};

static const struct command COMMAND = {
    .name = "agent",
    .synopsis = "--url URL... --name NAME [OPTION]... [RULE]...",
    .summary = "registers at a gateway, forwards ports, dials targets",
    .details =
        "A RULE is [BIND:]LPORT:[KEY@]AGENT:HOST:PORT: connections to the local port LPORT\n"
        "go to HOST:PORT as AGENT sees it. LPORT 0 picks a free port; without BIND the port\n"
        "is open on loopback only, BIND * opens it on all addresses; IPv6 in brackets.\n"
        "\n"
        "Without --allow an agent with rules or --forwards dials nothing for others, and\n"
        "one without dials loopback targets only. The key may also stand in $CULVERT_KEY.\n"
        "\n"
        "Exit codes: 0 ended by a signal, 1 failure, 2 wrong usage, 3 refused by the\n"
        "gateway at start, 4 no port could be opened.",
    .options = OPTIONS,
    .option_count = sizeof OPTIONS / sizeof *OPTIONS,
    .argument = take_rule,
};

static int find_key(struct agent_command *command, const char *environment_key, char *why)
{
    char reason[OPTIONS_WHY_SIZE] = "";
    const char *source = "--key";
    int error = 0;
    if (command->key_option != NULL && command->config.key_file != NULL)
        return options_reject(why, "--key and --key-file exclude each other");
    if (command->config.key_file != NULL) {
        source = "--key-file";
        error = key_source_file(command->config.key_file, command->key, sizeof command->key, reason,
                                sizeof reason);
    } else if (command->key_option != NULL) {
        error = key_source_text(command->key_option, command->key, sizeof command->key, reason,
                                sizeof reason);
    } else if (environment_key != NULL && environment_key[0] != '\0') {
        source = "$CULVERT_KEY";
        error = key_source_text(environment_key, command->key, sizeof command->key, reason,
                                sizeof reason);
    }
    if (error != 0)
        snprintf(why, OPTIONS_WHY_SIZE, "%s: %.900s", source,
                 reason[0] != '\0' ? reason : error_text(error));
    command->config.key = command->key;
    return error != 0 && command->config.key_file != NULL ? OPTIONS_BAD_FILE : error;
}

static int find_proxy(struct agent_command *command, char *(*environment)(const char *name),
                      char *why)
{
    int error = 0;
    if (command->proxies.is_given)
        command->proxies.given.source = "--proxy";
    proxy_read_environment(&command->proxies, environment);
    command->config.proxies = &command->proxies;
    for (size_t i = 0; i < command->config.url_count && error == 0; i++) {
        const struct url *url = &command->urls[i];
        struct proxy proxy;
        error = proxy_choose(&command->proxies, url->host, url->port, url->is_secure, &proxy, why,
                             OPTIONS_WHY_SIZE);
        proxy_wipe(&proxy);
    }
    return error;
}

static int check_secrecy(const struct agent_command *command, char *why)
{
    const struct agent_config *config = &command->config;
    const struct url *url = agent_exposes_key(config);
    if (url == NULL)
        return 0;
    snprintf(why, OPTIONS_WHY_SIZE,
             "the key would cross the network to %s in clear; use a %s:// URL, or --insecure if "
             "that is meant",
             url->host, url->is_poll ? "poll+https" : "wss");
    return CULVERT_ERROR_INVALID;
}

/* Without --allow: an agent that has come to forward dials nothing, one that has come to be reached
 * dials what runs beside it. */
static int apply_default_whitelist(struct agent_command *command, char *why)
{
    static const char *const loopback[] = {"localhost:*", "127.0.0.0/8:*", "[::1]:*"};
    int error = 0;
    if (command->has_allow)
        return 0;
    command->config.whitelist.origin = WHITELIST_DEFAULT_NOTHING;
    if (command->config.rule_count > 0 || command->config.forwards_file != NULL)
        return 0;
    command->config.whitelist.origin = WHITELIST_DEFAULT_LOOPBACK;
    for (size_t i = 0; i < sizeof loopback / sizeof *loopback && error == 0; i++)
        error = whitelist_add(&command->config.whitelist, loopback[i], why, OPTIONS_WHY_SIZE);
    return error;
}

void agent_command_init(struct agent_command *command)
{
    *command = (struct agent_command){0};
    common_settings_init(&command->common);
    whitelist_init(&command->config.whitelist);
    command->config.whitelist.is_local = local_address_is;
    command->config.key = command->key;
    command->config.urls = command->urls;
}

int agent_command_parse(char *const *words, char *(*environment)(const char *name),
                        struct agent_command *command, char why[static OPTIONS_WHY_SIZE])
{
    agent_command_init(command);
    snprintf(why, OPTIONS_WHY_SIZE, "%s", error_text(CULVERT_ERROR_NO_MEMORY));
    int result = options_parse(&COMMAND, words, command, why);
    if (result != 0)
        return result;
    if (command->config.url_count == 0)
        return options_reject(why,
                              "--url is missing: the gateway, such as --url wss://gateway.example");
    if (command->config.name == NULL)
        return options_reject(why, "--name is missing: the name that others reach this agent by");
    if (command->config.api_token_file != NULL && command->config.api == NULL)
        return options_reject(why, "--api-token-file is of no use without --api");
    command->config.max_memory = command->common.max_memory;
    result = agent_check_transport(&command->config, why, OPTIONS_WHY_SIZE);
    if (result == 0)
        result = find_key(command, environment("CULVERT_KEY"), why);
    if (result == 0)
        result = find_proxy(command, environment, why);
    if (result == 0)
        result = check_secrecy(command, why);
    return result != 0 ? result : apply_default_whitelist(command, why);
}

void agent_command_deinit(struct agent_command *command)
{
    for (size_t i = 0; i < command->config.rule_count; i++)
        explicit_bzero(command->rules[i].key, sizeof command->rules[i].key);
    explicit_bzero(command->key, sizeof command->key);
    proxy_settings_wipe(&command->proxies);
    whitelist_deinit(&command->config.whitelist);
    memory_free(command->rules);
    command->rules = NULL;
    command->config.rule_count = 0;
}

static void warn_of_insecurity(const struct agent_config *config)
{
    bool is_secure = true;
    for (size_t i = 0; i < config->url_count; i++)
        is_secure = is_secure && config->urls[i].is_secure;
    log_warning("INSECURE: %s",
                is_secure ? "the gateway's certificate is not verified, anybody on the way can "
                            "read and change everything"
                          : "everything, the key as well, crosses the network in clear");
}

int agent_command_serve(struct agent_command *command)
{
    struct agent *agent = NULL;
    log_init(command->common.log_level, command->common.log_format, "agent");
    if (command->config.insecure)
        warn_of_insecurity(&command->config);
    command->config.takes_signals = true;
    command->config.announces = true;
    int code = agent_open(&command->config, &agent);
    whitelist_init(&command->config.whitelist); /* the agent has taken what was in it */
    if (code != EXIT_CODE_OK)
        return code;
    code = agent_run(agent);
    agent_free(agent);
    return code;
}

int agent_command_run(char *const *words)
{
    struct agent_command command;
    char why[OPTIONS_WHY_SIZE];
    int result = agent_command_parse(words, getenv, &command, why);
    result = result != 0 ? options_end(&COMMAND, result, why) : agent_command_serve(&command);
    agent_command_deinit(&command);
    return result;
}
