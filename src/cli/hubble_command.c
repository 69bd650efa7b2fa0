#include "cli/hubble_command.h"

#include "base/error.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/str.h"
#include "gateway/gateway_listen.h"

#include <stdio.h>
#include <string.h>

/* ---- the proxy ---- */

static int take_listen(void *settings, const char *value, char *why)
{
    struct gateway_command *command = settings;
    command->config.listen_count = 1;
    return gateway_listen_parse(value, &command->listens[0], why, OPTIONS_WHY_SIZE);
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

static int take_script(void *settings, const char *value, char *why)
{
    struct gateway_command *command = settings;
    if (value[0] == '\0')
        return 0; /* as the original: no script */
    (void)why;
    command->config.script = value;
    return 0;
}

static const struct option PROXY_OPTIONS[] = {
    {"listen", "[HOST]:PORT", "where to listen (default: :8080)", take_listen, false},
    {"authgrant", NULL, "grant every session (default)", take_grant, false},
    {"authdeny", NULL, "deny every session", take_deny, false},
    {"authlua", "FILE", "ask this Lua script", take_script, false},
};

static const struct command PROXY = {
    .name = "hubble-proxy",
    .synopsis = "[OPTION]...",
    .summary = "a gateway with the options and defaults of the proxy of Hubble 0.1",
    .details = "Agents need no key, and without an option every session is granted, as it was.\n"
               "`culvert gateway --legacy hubble` serves the same agents with keys and rules.",
    .options = PROXY_OPTIONS,
    .option_count = sizeof PROXY_OPTIONS / sizeof *PROXY_OPTIONS,
};

int hubble_proxy_parse(char *const *words, struct gateway_command *command,
                       char why[static OPTIONS_WHY_SIZE])
{
    gateway_command_init(command);
    struct gateway_config *config = &command->config;
    config->listens = command->listens;
    config->max_memory = command->common.max_memory;
    config->open = true;
    config->legacy_hubble = true;
    config->is_original = true;
    int result = options_parse(&PROXY, words, command, why);
    if (result != 0)
        return result;
    if (config->listen_count == 0)
        result = take_listen(command, ":8080", why);
    /* Of several the original took one: deny, else the script, else grant. */
    config->grant = config->script == NULL && !config->deny;
    return result;
}

int hubble_proxy_run(char *const *words)
{
    struct gateway_command command;
    char why[OPTIONS_WHY_SIZE];
    int result = hubble_proxy_parse(words, &command, why);
    if (result != 0)
        return options_end(&PROXY, result, why);
    if (command.config.grant)
        log_warning("GRANT: every agent may reach every other; -authdeny or -authlua FILE, or "
                    "`culvert gateway --acl FILE`, say who may reach whom");
    return gateway_command_serve(&command);
}

/* ---- the agent ---- */

static int take_url(void *settings, const char *value, char *why)
{
    struct agent_command *command = settings;
    return agent_command_add_url(command, value, why);
}

static int take_name(void *settings, const char *value, char *why)
{
    struct agent_command *command = settings;
    if (!str_is_legacy_name(text_of(value)))
        return options_reject(why, "a name is at most 128 bytes of text, and not \"gateway\"");
    command->config.name = value;
    return 0;
}

static int take_key(void *settings, const char *value, char *why)
{
    struct agent_command *command = settings;
    if (strlen(value) >= sizeof command->key)
        return options_reject(why, "the key is too long");
    snprintf(command->key, sizeof command->key, "%s", value);
    return 0;
}

static int take_ca(void *settings, const char *value, char *why)
{
    struct agent_command *command = settings;
    (void)why;
    command->config.ca = value[0] != '\0' ? value : NULL;
    return 0;
}

static int take_rule(void *settings, const char *value, char *why)
{
    struct rule rule;
    int error = rule_parse_legacy(value, &rule, why, OPTIONS_WHY_SIZE);
    return error != 0 ? error : agent_command_add_rule(settings, &rule, why);
}

static const struct option AGENT_OPTIONS[] = {
    {"url", "URL", "the proxy: ws://HOST[:PORT][/PATH] or wss://...", take_url, false},
    {"name", "NAME", "this agent's name", take_name, false},
    {"key", "KEY", "this agent's key", take_key, false},
    {"ca", "FILE", "trust these CAs (PEM), not the system's", take_ca, false},
};

static const struct command AGENT = {
    .name = "hubble-agent",
    .synopsis = "-url URL -name NAME [OPTION]... [RULE]...",
    .summary = "an agent with the options and defaults of the agent of Hubble 0.1",
    .details =
        "A RULE is LPORT:[KEY@]AGENT:HOST:PORT: connections to the port LPORT of any address\n"
        "of this machine go to HOST:PORT as AGENT sees it. Everything that this machine can\n"
        "reach is dialled for others, as it was; `culvert agent --dialect hubble` is careful.",
    .options = AGENT_OPTIONS,
    .option_count = sizeof AGENT_OPTIONS / sizeof *AGENT_OPTIONS,
    .argument = take_rule,
};

int hubble_agent_parse(char *const *words, struct agent_command *command,
                       char why[static OPTIONS_WHY_SIZE])
{
    agent_command_init(command);
    command->config.dialect = AGENT_DIALECT_HUBBLE;
    command->config.max_memory = command->common.max_memory;
    int result = options_parse(&AGENT, words, command, why);
    if (result != 0)
        return result;
    if (command->config.url_count == 0)
        return options_reject(why,
                              "-url is missing: the proxy, such as -url ws://proxy.example:8080");
    if (command->config.name == NULL || command->config.name[0] == '\0')
        return options_reject(why, "-name is missing: the name that others reach this agent by");
    result = agent_check_transport(&command->config, why, OPTIONS_WHY_SIZE);
    if (result != 0)
        return result;
    return whitelist_add(&command->config.whitelist, "*", why, OPTIONS_WHY_SIZE);
}

int hubble_agent_run(char *const *words)
{
    struct agent_command command;
    char why[OPTIONS_WHY_SIZE];
    int result = hubble_agent_parse(words, &command, why);
    if (result != 0) {
        result = options_end(&AGENT, result, why);
    } else {
        log_warning("OPEN: everything that this machine can reach is dialled for others; "
                    "`culvert agent --dialect hubble --allow TARGET` dials what is named");
        result = agent_command_serve(&command);
    }
    agent_command_deinit(&command);
    return result;
}
