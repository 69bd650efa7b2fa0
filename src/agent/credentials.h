/*
 * What the agent proves itself with and whom it trusts: its key, its login at a proxy, and the
 * gateway's authorities. Those that are in files are read again when the files have changed, so
 * that a rotated key or a renewed certificate needs no restart.
 */
#ifndef AGENT_CREDENTIALS_H
#define AGENT_CREDENTIALS_H

#include "agent/agent.h"
#include "base/file_version.h"
#include "net/tls.h"

struct credentials {
    struct agent_config *config;
    struct tls_context *tls; /* NULL where no URL is secure */
    struct proxy_settings proxies;
    char key[AGENT_KEY_SIZE];
    unsigned key_version; /* changes when the key changes */
    bool has_tls;
    struct file_version key_file;
    struct file_version login_file;
    struct file_version authorities;
};

/* Sets up TLS where a URL needs it. The key and the proxy settings of `config`, which outlives the
 * credentials, are copied; `config` refers to the copies from then on. Returns 0, or an error with
 * a sentence in `why` (a CA file that cannot be read); deinit either way. */
int credentials_init(struct credentials *credentials, struct agent_config *config, char *why,
                     size_t why_size);

/* Reads the files that have changed since they were read last; with `is_forced` all of them. When
 * one is wrong, what it held before stays in use, and a warning is logged. */
void credentials_refresh(struct credentials *credentials, bool is_forced);

/* Wipes and frees. */
void credentials_deinit(struct credentials *credentials);

#endif
