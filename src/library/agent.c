#include "agent/agent.h"

#include "base/error.h"
#include "base/exit_code.h"
#include "base/memory.h"
#include "base/str.h"
#include "library/events.h"
#include "library/options.h"
#include "library/result.h"
#include "library/runner.h"
#include "library/texts.h"
#include "net/local_address.h"
#include "net/machine.h"

#include <culvert/agent.h>
#include <stdlib.h>
#include <string.h>

enum { WHY_SIZE = 1536 };

struct culvert_agent {
    struct runner runner;
    struct texts texts;
    struct agent_config config;
    struct url urls[GATEWAYS_MAX];
    struct proxy_settings proxies;
    struct events events;
    struct agent *agent;
};

/* ---- options ---- */

static int take_allow(struct culvert_agent *handle, const struct culvert_agent_options *options,
                      char *why, size_t why_size)
{
    if (options->allow_count == 0)
        handle->config.whitelist.origin = WHITELIST_DEFAULT_NOTHING;
    for (size_t i = 0; i < options->allow_count; i++) {
        char wrong[WHY_SIZE] = "";
        int error =
            whitelist_add(&handle->config.whitelist, options->allow[i], wrong, sizeof(wrong));
        if (error != 0)
            return options_complain(result_of_error(error), why, why_size, "allow[%zu]: %s", i,
                                    wrong[0] != '\0' ? wrong : error_text(error));
    }
    return CULVERT_OK;
}

static int take_urls(struct culvert_agent *handle, const struct culvert_agent_options *options,
                     char *why, size_t why_size)
{
    char wrong[WHY_SIZE] = "";
    if (options->more_url_count >= GATEWAYS_MAX)
        return options_complain(CULVERT_INVALID, why, why_size, "more_urls: at most %d",
                                GATEWAYS_MAX - 1);
    if (url_parse(options->url, &handle->urls[0], wrong, sizeof(wrong)) != 0)
        return options_complain(CULVERT_INVALID, why, why_size, "url: %s", wrong);
    for (size_t i = 0; i < options->more_url_count; i++)
        if (url_parse(options->more_urls[i], &handle->urls[i + 1], wrong, sizeof(wrong)) != 0)
            return options_complain(CULVERT_INVALID, why, why_size, "more_urls[%zu]: %s", i, wrong);
    handle->config.urls = handle->urls;
    handle->config.url_count = options->more_url_count + 1;
    handle->config.url_random = options->url_random;
    return CULVERT_OK;
}

/* Whether each gateway's proxy can be told. */
static int check_proxies(const struct culvert_agent *handle, char *why, size_t why_size)
{
    char wrong[WHY_SIZE] = "";
    int error = 0;
    for (size_t i = 0; i < handle->config.url_count && error == 0; i++) {
        const struct url *url = &handle->urls[i];
        struct proxy proxy;
        error = proxy_choose(&handle->proxies, url->host, url->port, url->is_secure, &proxy, wrong,
                             sizeof(wrong));
        proxy_wipe(&proxy);
    }
    if (error != 0)
        return options_complain(CULVERT_INVALID, why, why_size, "proxy: %s", wrong);
    return CULVERT_OK;
}

static int take_proxy(struct culvert_agent *handle, const struct culvert_agent_options *options,
                      char *why, size_t why_size)
{
    struct proxy_settings *proxies = &handle->proxies;
    struct texts *texts = &handle->texts;
    char wrong[WHY_SIZE] = "";
    proxies->is_given = options->proxy != NULL;
    if (proxies->is_given &&
        proxy_parse(options->proxy, &proxies->given, wrong, sizeof(wrong)) != 0)
        return options_complain(CULVERT_INVALID, why, why_size, "proxy: %s", wrong);
    if (options->proxy_user != NULL &&
        proxy_parse_login(options->proxy_user, &proxies->login, wrong, sizeof(wrong)) != 0)
        return options_complain(CULVERT_INVALID, why, why_size, "proxy_user: %s", wrong);
    proxies->given.source = "proxy";
    proxies->ca = texts_keep(texts, options->proxy_ca);
    handle->config.proxies = proxies;
    if (!options->proxy_environment)
        return CULVERT_OK;
    proxy_read_environment(proxies, getenv);
    proxies->plain.value = texts_keep(texts, proxies->plain.value);
    proxies->secure.value = texts_keep(texts, proxies->secure.value);
    proxies->no_proxy = texts_keep(texts, proxies->no_proxy);
    return CULVERT_OK;
}

static int check(const struct culvert_agent_options *options, char *why, size_t why_size)
{
    if (options->url == NULL || options->name == NULL)
        return options_complain(CULVERT_INVALID, why, why_size, "an agent needs a url and a name");
    if (!str_is_agent_name(text_of(options->name)))
        return options_complain(CULVERT_INVALID, why, why_size,
                                "name: 1 to 128 of A-Z a-z 0-9 . _ -, and not \"gateway\"");
    if (options->dialect > CULVERT_DIALECT_HUBBLE)
        return options_complain(CULVERT_UNSUPPORTED, why, why_size,
                                "dialect: culvert %s does not have it", culvert_version());
    if (options->transport > CULVERT_TRANSPORT_POLL)
        return options_complain(CULVERT_UNSUPPORTED, why, why_size,
                                "transport: culvert %s does not have it", culvert_version());
    return CULVERT_OK;
}

static void link_changed(void *context, bool is_up)
{
    struct culvert_agent *handle = context;
    runner_set_registered(&handle->runner, is_up);
}

static enum agent_dialect dialect_of(enum culvert_dialect dialect)
{
    switch (dialect) {
    case CULVERT_DIALECT_NATIVE:
        return AGENT_DIALECT_NATIVE;
    case CULVERT_DIALECT_HUBBLE:
        return AGENT_DIALECT_HUBBLE;
    case CULVERT_DIALECT_AUTO:
        break;
    }
    return AGENT_DIALECT_AUTO;
}

static enum agent_transport transport_of(enum culvert_transport transport)
{
    switch (transport) {
    case CULVERT_TRANSPORT_WEBSOCKET:
        return AGENT_TRANSPORT_WEBSOCKET;
    case CULVERT_TRANSPORT_POLL:
        return AGENT_TRANSPORT_POLL;
    case CULVERT_TRANSPORT_AUTO:
        break;
    }
    return AGENT_TRANSPORT_AUTO;
}

/* The way to the gateways. */
static int take_ways(struct culvert_agent *handle, const struct culvert_agent_options *options,
                     char *why, size_t why_size)
{
    struct agent_config *config = &handle->config;
    char wrong[WHY_SIZE] = "";
    int code = take_urls(handle, options, why, why_size);
    if (code == CULVERT_OK)
        code = take_proxy(handle, options, why, why_size);
    if (code != CULVERT_OK)
        return code;
    config->ca = texts_keep(&handle->texts, options->ca);
    config->insecure = options->insecure;
    config->dialect = dialect_of(options->dialect);
    config->transport = transport_of(options->transport);
    config->retry_preferred = options->retry_preferred;
    if (agent_check_transport(config, wrong, sizeof(wrong)) != 0)
        return options_complain(CULVERT_INVALID, why, why_size, "%s", wrong);
    return CULVERT_OK;
}

static int take_options(struct culvert_agent *handle, const struct culvert_agent_options *options,
                        char *why, size_t why_size)
{
    struct texts *texts = &handle->texts;
    struct agent_config *config = &handle->config;
    int code = check(options, why, why_size);
    if (code == CULVERT_OK)
        code = take_ways(handle, options, why, why_size);
    if (code != CULVERT_OK)
        return code;
    config->name = texts_keep(texts, options->name);
    config->key = texts_keep(texts, options->key != NULL ? options->key : "");
    config->max_memory = options->max_memory > 0 ? options->max_memory : machine_half_memory();
    config->dial_timeout = options->dial_timeout;
    config->dial_limits = (struct asker_limits){
        .dials = options->max_dials,
        .dials_per_asker = options->max_dials_per_agent,
        .lookups = options->max_lookups,
        .lookups_per_asker = options->max_lookups_per_agent,
    };
    config->api = texts_keep(texts, options->api);
    config->api_token_file = texts_keep(texts, options->api_token_file);
    config->state_file = texts_keep(texts, options->state_file);
    config->link_changed = link_changed;
    config->link_context = handle;
    handle->events.callback = options->on_event;
    handle->events.context = options->event_context;
    handle->events.config.log = options->events_log;
    handle->events.config.file = texts_keep(texts, options->events_file);
    handle->events.config.webhook = texts_keep(texts, options->events_webhook);
    handle->events.config.webhook_secret = texts_keep(texts, options->events_webhook_secret);
    if (texts->has_failed)
        return options_complain(CULVERT_NO_MEMORY, why, why_size, "out of memory");
    const struct url *exposed = agent_exposes_key(config);
    if (exposed != NULL)
        return options_complain(CULVERT_INVALID, why, why_size,
                                "the key would cross the network to %s in clear; use a %s:// URL",
                                exposed->host, exposed->is_poll ? "poll+https" : "wss");
    code = check_proxies(handle, why, why_size);
    if (code != CULVERT_OK)
        return code;
    return take_allow(handle, options, why, why_size);
}

/* ---- life ---- */

static int open_agent(void *object)
{
    struct culvert_agent *handle = object;
    if (events_open(&handle->events) != 0)
        return EXIT_CODE_FAILURE;
    handle->config.journal = handle->events.journal;
    int code = agent_open(&handle->config, &handle->agent);
    whitelist_init(&handle->config.whitelist); /* the agent has taken what was in it */
    return code;
}

static int run_agent(void *object)
{
    struct culvert_agent *handle = object;
    return agent_run(handle->agent);
}

static const struct runner_job job = {open_agent, run_agent};

static void dispose(struct culvert_agent *handle)
{
    if (handle->agent != NULL)
        agent_free(handle->agent);
    events_close(&handle->events);
    whitelist_deinit(&handle->config.whitelist);
    proxy_settings_wipe(&handle->proxies);
    texts_deinit(&handle->texts);
    memory_free(handle);
}

int culvert_agent_start(const struct culvert_agent_options *given, struct culvert_agent **agent,
                        char *why, size_t why_size)
{
    struct culvert_agent_options options;
    int code = options_take(&options, sizeof(options), given, why, why_size);
    if (code != CULVERT_OK)
        return code;
    struct culvert_agent *handle = memory_allocate_zero(sizeof(*handle));
    if (handle == NULL)
        return options_complain(CULVERT_NO_MEMORY, why, why_size, "out of memory");
    whitelist_init(&handle->config.whitelist);
    handle->config.whitelist.is_local = local_address_is;
    code = take_options(handle, &options, why, why_size);
    if (code == CULVERT_OK)
        code = runner_start(&handle->runner, &job, handle, why, why_size);
    if (code != CULVERT_OK) {
        dispose(handle);
        return code;
    }
    *agent = handle;
    return CULVERT_OK;
}

void culvert_agent_free(struct culvert_agent *agent)
{
    if (agent == NULL)
        return;
    agent_stop(agent->agent, 0);
    runner_deinit(&agent->runner);
    dispose(agent);
}

int culvert_agent_wait_registered(struct culvert_agent *agent, int milliseconds, char *why,
                                  size_t why_size)
{
    return runner_wait_registered(&agent->runner, milliseconds, why, why_size);
}

bool culvert_agent_is_registered(struct culvert_agent *agent)
{
    return runner_is_registered(&agent->runner);
}

int culvert_agent_add_forward(struct culvert_agent *agent, const char *text, uint64_t *id,
                              uint16_t *port, char *why, size_t why_size)
{
    char wrong[WHY_SIZE] = "";
    struct rule rule;
    uint64_t new_id = 0;
    int error = rule_parse(text, &rule, wrong, sizeof(wrong));
    if (error == 0)
        error = agent_add_forward(agent->agent, &rule, &new_id, wrong, sizeof(wrong));
    explicit_bzero(rule.key, sizeof(rule.key));
    if (error != 0)
        return options_complain(result_of_error(error), why, why_size, "%s",
                                wrong[0] != '\0' ? wrong : error_text(error));
    if (id != NULL)
        *id = new_id;
    if (port != NULL)
        *port = rule.local_port;
    return CULVERT_OK;
}

int culvert_agent_remove_forward(struct culvert_agent *agent, uint64_t id)
{
    return result_of_error(agent_remove_forward(agent->agent, id));
}

void culvert_agent_stop(struct culvert_agent *agent, unsigned seconds)
{
    agent_stop(agent->agent, seconds);
}

int culvert_agent_wait(struct culvert_agent *agent, int milliseconds)
{
    return runner_wait_ended(&agent->runner, milliseconds);
}
