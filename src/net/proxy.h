/*
 * Which proxy, if any, leads to a host: the one that was given, else what the environment says,
 * read as libcurl reads it (curl(1), "ENVIRONMENT"), with wss in the place of https and ws of http.
 */
#ifndef NET_PROXY_H
#define NET_PROXY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    PROXY_HOST_SIZE = 256,
    PROXY_WORD_SIZE = 256,  /* of a user or a password: what SOCKS5 can carry (RFC 1929 §2) */
    PROXY_TEXT_SIZE = 300,  /* of proxy_text */
    PROXY_LABEL_SIZE = 400, /* of proxy_label */
};

enum proxy_kind {
    PROXY_NONE, /* directly */
    PROXY_HTTP,
    PROXY_HTTPS, /* HTTP over TLS to the proxy */
    PROXY_SOCKS5,
    PROXY_SOCKS5H, /* SOCKS5, where the proxy resolves the name */
};

/* `:` alone is a login too: whoever the process is logged in as (Kerberos). */
struct proxy_login {
    bool is_given;
    char user[PROXY_WORD_SIZE];
    char password[PROXY_WORD_SIZE];
};

struct proxy {
    enum proxy_kind kind;
    uint16_t port;
    char host[PROXY_HOST_SIZE]; /* an IPv6 address without its brackets */
    struct proxy_login login;
    const char *ca;     /* a PEM file for PROXY_HTTPS; NULL: the system's. Borrowed */
    const char *source; /* where it was named, "--proxy" or "$https_proxy"; NULL: unknown. Static */
};

struct proxy_variable {
    const char *name; /* "$https_proxy" */
    const char *value;
};

/* What a user has said about proxies; texts are borrowed. All zero: no proxy. */
struct proxy_settings {
    bool is_given; /* `given` holds (PROXY_NONE too) and the environment does not */
    struct proxy given;
    struct proxy_login login; /* goes before the one in a URL */
    const char *ca;
    struct proxy_variable plain;  /* for ws and http */
    struct proxy_variable secure; /* for wss and https */
    const char *no_proxy;         /* may be NULL; for what the environment names only */
};

/* [SCHEME://][USER[:PASSWORD]@]HOST[:PORT][/], user and password percent-encoded; without a scheme
 * http. Without a port 443 for https and 1080 for the others, as libcurl has it. "" and "none" are
 * PROXY_NONE. Returns 0, or CULVERT_ERROR_INVALID with a sentence in `why` that does not hold the
 * password. */
int proxy_parse(const char *text, struct proxy *proxy, char *why, size_t why_size);

/* USER[:PASSWORD], as they are. Returns as proxy_parse does. */
int proxy_parse_login(const char *text, struct proxy_login *login, char *why, size_t why_size);

/* Fills in what the environment says; `get` is getenv or like it. */
void proxy_read_environment(struct proxy_settings *settings, char *(*get)(const char *name));

/* Whether `list`, as in $no_proxy, names the host: names with what is below them, addresses and
 * networks (CIDR), each with a port if wanted, and `*`; between commas or spaces. */
bool proxy_is_exempt(const char *list, const char *host, uint16_t port);

/* The proxy that leads to a host, PROXY_NONE if none; `settings` may be NULL. Returns 0, or
 * CULVERT_ERROR_INVALID with a sentence in `why` if the environment's cannot be read. */
int proxy_choose(const struct proxy_settings *settings, const char *host, uint16_t port,
                 bool is_secure, struct proxy *proxy, char *why, size_t why_size);

/* "http://HOST:PORT", without user and password. */
void proxy_text(const struct proxy *proxy, char out[static PROXY_TEXT_SIZE]);
/* The same for people: "the proxy http://HOST:PORT ($https_proxy)". */
void proxy_label(const struct proxy *proxy, char out[static PROXY_LABEL_SIZE]);

/* Whether it runs on this machine. */
bool proxy_is_loopback(const struct proxy *proxy);

/* Take the logins out of memory. */
void proxy_wipe(struct proxy *proxy);
void proxy_settings_wipe(struct proxy_settings *settings);

#endif
