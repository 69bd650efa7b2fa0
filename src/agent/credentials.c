#include "agent/credentials.h"

#include "base/key_source.h"
#include "base/log.h"
#include "net/proxy_login_file.h"

#include <stdio.h>
#include <string.h>

enum { WHY_SIZE = 1024 };

/* ---- one file ---- */

/* Whether a file is to be read; NULL: there is none. */
static bool is_due(struct file_version *version, const char *path, bool is_forced)
{
    return path != NULL && (file_version_update(version, path) || is_forced);
}

static void tell(int error, const char *option, const char *path, const char *why)
{
    if (error != 0)
        log_warning("%s: %s; the agent keeps what the file held before", option, why);
    else
        log_info("%s: read %s again", option, path);
}

static void refresh_key(struct credentials *credentials)
{
    const char *path = credentials->config->key_file;
    char why[WHY_SIZE] = "";
    char before[AGENT_KEY_SIZE];
    memcpy(before, credentials->key, sizeof(before));
    int error = key_source_file(path, credentials->key, sizeof(credentials->key), why, sizeof(why));
    tell(error, "--key-file", path, why);
    if (strcmp(before, credentials->key) != 0)
        credentials->key_version++;
    explicit_bzero(before, sizeof(before));
}

static void refresh_login(struct credentials *credentials)
{
    const char *path = credentials->config->proxy_user_file;
    char why[WHY_SIZE] = "";
    int error = proxy_login_file_read(path, &credentials->proxies.login, why, sizeof(why));
    tell(error, "--proxy-user-file", path, why);
}

static void refresh_authorities(struct credentials *credentials)
{
    const struct agent_config *config = credentials->config;
    struct tls_context *tls = NULL;
    char why[WHY_SIZE] = "";
    int error = tls_client_context(config->ca, config->insecure, &tls, why, sizeof(why));
    tell(error, "--ca", config->ca, why);
    if (error != 0)
        return;
    tls_context_unref(credentials->tls);
    credentials->tls = tls;
}

/* ---- all ---- */

static bool has_secure_url(const struct agent_config *config)
{
    for (size_t i = 0; i < config->url_count; i++) {
        if (config->urls[i].is_secure)
            return true;
    }
    return false;
}

int credentials_init(struct credentials *credentials, struct agent_config *config, char *why,
                     size_t why_size)
{
    *credentials = (struct credentials){.config = config, .has_tls = has_secure_url(config)};
    snprintf(credentials->key, sizeof(credentials->key), "%s", config->key);
    config->key = credentials->key;
    if (config->proxies != NULL) {
        credentials->proxies = *config->proxies;
        config->proxies = &credentials->proxies;
    }
    (void)is_due(&credentials->key_file, config->key_file, false);
    (void)is_due(&credentials->login_file, config->proxy_user_file, false);
    (void)is_due(&credentials->authorities, config->ca, false);
    return credentials->has_tls
               ? tls_client_context(config->ca, config->insecure, &credentials->tls, why, why_size)
               : 0;
}

void credentials_refresh(struct credentials *credentials, bool is_forced)
{
    const struct agent_config *config = credentials->config;
    if (is_due(&credentials->key_file, config->key_file, is_forced))
        refresh_key(credentials);
    if (config->proxies != NULL &&
        is_due(&credentials->login_file, config->proxy_user_file, is_forced))
        refresh_login(credentials);
    if (credentials->has_tls && is_due(&credentials->authorities, config->ca, is_forced))
        refresh_authorities(credentials);
}

void credentials_deinit(struct credentials *credentials)
{
    explicit_bzero(credentials->key, sizeof(credentials->key));
    proxy_settings_wipe(&credentials->proxies);
    tls_context_unref(credentials->tls);
    credentials->tls = NULL;
}
