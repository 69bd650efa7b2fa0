#include "agent/rule.h"

#include "base/error.h"
#include "base/str.h"
#include "policy/host.h"

#include <stdio.h>
#include <string.h>

#define RULE_FORM "a rule is [BIND:]LPORT:[KEY@]AGENT:HOST:PORT"

/* The piece of the user's rule that is complained about, short enough for a sentence. */
#define PIECE(text) (int)((text).size < 100 ? (text).size : 100), (text).data

static bool is_all_digits(struct text text)
{
    for (size_t i = 0; i < text.size; i++) {
        if (text.data[i] < '0' || text.data[i] > '9')
            return false;
    }
    return text.size > 0;
}

/* `to` has room for HOST_NAME_SIZE bytes. */
static int parse_host(struct text host, const char *part, char *to, char *why, size_t why_size)
{
    bool has_brackets = host_strip_brackets(&host);
    enum host_kind kind = host_parse(host, NULL);
    if (has_brackets && kind != HOST_IPV6) {
        snprintf(why, why_size, "%s [%.*s] is not an IPv6 address; " RULE_FORM, part, PIECE(host));
        return CULVERT_ERROR_INVALID;
    }
    if (host.size == 0) {
        snprintf(why, why_size, "%s is empty; " RULE_FORM, part);
        return CULVERT_ERROR_INVALID;
    }
    if (kind == HOST_INVALID || text_copy(host, to, HOST_NAME_SIZE) != 0) {
        snprintf(why, why_size, "%s \"%.*s\" is neither a host name nor an IP address; " RULE_FORM,
                 part, PIECE(host));
        return CULVERT_ERROR_INVALID;
    }
    return 0;
}

/* [BIND:]LPORT: off the front of `rest`. No host name consists of digits alone, so the first part
 * tells whether it is BIND or LPORT, whatever colons the key behind it has. */
static int parse_local(struct text *rest, struct rule *rule, char *why, size_t why_size)
{
    struct text part;
    bool has_more = host_take_part(rest, &part);
    if (has_more && !is_all_digits(part)) {
        int error = 0;
        if (part.size == 0) {
            snprintf(why, why_size,
                     "the address before LPORT is empty (* stands for all); " RULE_FORM);
            return CULVERT_ERROR_INVALID;
        }
        if (text_equals(part, "*"))
            strcpy(rule->bind, "*");
        else
            error = parse_host(part, "BIND", rule->bind, why, why_size);
        if (error != 0)
            return error;
        has_more = host_take_part(rest, &part);
    }
    if (!has_more) {
        snprintf(why, why_size, "there are too few parts; " RULE_FORM);
        return CULVERT_ERROR_INVALID;
    }
    if (str_parse_port(part, &rule->local_port) != 0) {
        snprintf(why, why_size, "LPORT \"%.*s\" is not a port (0 to 65535); " RULE_FORM,
                 PIECE(part));
        return CULVERT_ERROR_INVALID;
    }
    return 0;
}

/* KEY, up to the last `@`, if there is one; keys are not shown. */
static int parse_key(struct text key, struct rule *rule, char *why, size_t why_size)
{
    if (key.size == 0) {
        snprintf(why, why_size, "the key before @ is empty; " RULE_FORM);
        return CULVERT_ERROR_INVALID;
    }
    for (size_t i = 0; i < key.size; i++) {
        if ((unsigned char)key.data[i] <= ' ' || key.data[i] == 0x7f) {
            snprintf(why, why_size, "the key before @ has a space or control character");
            return CULVERT_ERROR_INVALID;
        }
    }
    if (text_copy(key, rule->key, sizeof rule->key) != 0) {
        snprintf(why, why_size, "the key before @ is longer than %zu bytes", sizeof rule->key - 1);
        return CULVERT_ERROR_INVALID;
    }
    return 0;
}

/* AGENT:HOST:PORT. Hubble 0.1 has no rule for names, and takes no host for the agent's own. */
static int parse_target(struct text rest, bool is_legacy, struct rule *rule, char *why,
                        size_t why_size)
{
    struct text agent;
    struct text host;
    struct text port;
    if (!host_take_part(&rest, &agent) || !host_take_part(&rest, &host)) {
        snprintf(why, why_size, "there are too few parts; " RULE_FORM);
        return CULVERT_ERROR_INVALID;
    }
    if (host_take_part(&rest, &port)) {
        snprintf(why, why_size,
                 "there are too many parts, or an IPv6 address lacks brackets; " RULE_FORM);
        return CULVERT_ERROR_INVALID;
    }
    bool is_name =
        is_legacy ? agent.size > 0 && str_is_legacy_name(agent) : str_is_agent_name(agent);
    if (!is_name || text_copy(agent, rule->agent, sizeof rule->agent) != 0) {
        snprintf(why, why_size,
                 "AGENT \"%.*s\" is not a name (1 to 128 of A-Z a-z 0-9 . _ -, not "
                 "\"gateway\"); " RULE_FORM,
                 PIECE(agent));
        return CULVERT_ERROR_INVALID;
    }
    if (is_legacy && host.size == 0)
        host = text_of("localhost");
    int error = parse_host(host, "HOST", rule->host, why, why_size);
    if (error != 0)
        return error;
    if (str_parse_port(port, &rule->port) != 0 || rule->port == 0) {
        snprintf(why, why_size, "PORT \"%.*s\" is not a port (1 to 65535); " RULE_FORM,
                 PIECE(port));
        return CULVERT_ERROR_INVALID;
    }
    return 0;
}

static int parse(const char *string, bool is_legacy, struct rule *rule, char *why, size_t why_size)
{
    struct rule parsed = {0};
    struct text rest = text_of(string);
    int error = parse_local(&rest, &parsed, why, why_size);
    if (error != 0)
        return error;
    const char *at = rest.size > 0 ? memrchr(rest.data, '@', rest.size) : NULL;
    if (at != NULL) {
        size_t key_size = (size_t)(at - rest.data);
        error = parse_key((struct text){rest.data, key_size}, &parsed, why, why_size);
        rest = (struct text){at + 1, rest.size - key_size - 1};
    }
    if (error == 0)
        error = parse_target(rest, is_legacy, &parsed, why, why_size);
    if (error == 0)
        *rule = parsed;
    return error;
}

int rule_parse(const char *string, struct rule *rule, char *why, size_t why_size)
{
    return parse(string, false, rule, why, why_size);
}

int rule_parse_legacy(const char *string, struct rule *rule, char *why, size_t why_size)
{
    int error = parse(string, true, rule, why, why_size);
    if (error == 0 && rule->bind[0] == '\0')
        snprintf(rule->bind, sizeof rule->bind, "*");
    return error;
}

static bool is_bind(const char *bind)
{
    enum host_kind kind = host_parse(text_of(bind), NULL);
    return bind[0] == '\0' || strcmp(bind, "*") == 0 || strcmp(bind, "localhost") == 0 ||
           kind == HOST_IPV4 || kind == HOST_IPV6;
}

static bool is_key(const char *key)
{
    for (const char *c = key; *c != '\0'; c++) {
        if ((unsigned char)*c <= ' ' || *c == 0x7f)
            return false;
    }
    return true;
}

int rule_check(const struct rule *rule, enum rule_part *part, char *why, size_t why_size)
{
    *part = RULE_NONE;
    if (!is_bind(rule->bind)) {
        *part = RULE_BIND;
        snprintf(
            why, why_size,
            "\"%.100s\" is neither an IP address nor localhost nor *, and no other name can be "
            "looked up while the agent runs",
            rule->bind);
    } else if (!is_key(rule->key)) {
        *part = RULE_KEY;
        snprintf(why, why_size, "the key has a space or control character");
    } else if (!str_is_agent_name(text_of(rule->agent))) {
        *part = RULE_AGENT;
        snprintf(
            why, why_size,
            "\"%.130s\" is not an agent's name: 1 to 128 of A-Z a-z 0-9 . _ -, not \"gateway\"",
            rule->agent);
    } else if (host_parse(text_of(rule->host), NULL) == HOST_INVALID) {
        *part = RULE_HOST;
        snprintf(why, why_size, "\"%.100s\" is neither a host name nor an IP address", rule->host);
    } else if (rule->port == 0) {
        *part = RULE_PORT;
        snprintf(why, why_size, "0 is not a port that can be reached (1 to 65535)");
    }
    return *part == RULE_NONE ? 0 : CULVERT_ERROR_INVALID;
}

bool rule_equals(const struct rule *a, const struct rule *b)
{
    return a->local_port == b->local_port && a->port == b->port && strcmp(a->bind, b->bind) == 0 &&
           strcmp(a->key, b->key) == 0 && strcmp(a->agent, b->agent) == 0 &&
           strcmp(a->host, b->host) == 0;
}

void rule_target_text(const struct rule *rule, char *out, size_t size)
{
    bool needs_brackets = strchr(rule->host, ':') != NULL;
    snprintf(out, size, "%s:%s%s%s:%u", rule->agent, needs_brackets ? "[" : "", rule->host,
             needs_brackets ? "]" : "", rule->port);
}
