#include "policy/acl.h"
#include "policy/test_acl_walk.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *const NAMES[] = {"a", "alice-1", "db-1", "gw", POLICY_NOBODY};
static const char *const HOSTS[] = {"10.1.2.3", "::1", "::ffff:10.0.0.1", "Web.Example.", "127.1"};
static const char *const KEYS[] = {"", "k", "s3cret"};

#define COUNT(array) (sizeof(array) / sizeof *(array))

/* Every verdict has a reason, and one that a rule gave has the rule's line; it is the rule that a
 * walk through all of them finds. */
static void check_answer(const struct acl *acl, const struct policy_request *request,
                         unsigned lines)
{
    struct policy_verdict verdict;
    char text[512];
    char again[512];
    memset(&verdict, 0xff, sizeof verdict);
    unsigned line = acl_ask(acl, request, &verdict);
    if (line > lines || verdict.failed || (line == 0 && verdict.allowed) ||
        memchr(verdict.reason, 0, sizeof verdict.reason) == NULL || verdict.reason[0] == '\0')
        abort();
    const struct acl_rule *rule = walk_rules(acl, request);
    if (line != (rule != NULL ? rule->line : 0) ||
        verdict.allowed != (rule != NULL && rule->allows))
        abort();
    acl_rule_text(acl, line, text, sizeof text);
    if ((line != 0) != (text[0] != '\0') ||
        (line != 0 && strncmp(text, verdict.allowed ? "allow " : "deny ", 5) != 0))
        abort();
    if (acl_ask(acl, request, &verdict) != line)
        abort();
    acl_rule_text(acl, line, again, sizeof again);
    if (strcmp(text, again) != 0)
        abort();
}

static void check_answers(const struct acl *acl, unsigned lines)
{
    struct policy_request request = {.user = "", .address = "192.0.2.1:1", .kind = "tcp"};
    for (size_t i = 0; i < COUNT(NAMES) * COUNT(HOSTS) * COUNT(KEYS); i++) {
        request.source = NAMES[i % COUNT(NAMES)];
        request.host = HOSTS[i / COUNT(NAMES) % COUNT(HOSTS)];
        request.key = KEYS[i / COUNT(NAMES) / COUNT(HOSTS)];
        request.agent = NAMES[i % (COUNT(NAMES) - 1)];
        request.port = (uint16_t)(i % 3 == 0 ? 80 : i * 887);
        check_answer(acl, &request, lines);
    }
}

/* What stands behind the word `key` is in no complaint. Only words with a `~` are looked for, which
 * no complaint has by itself, and only such as stand in the text once. */
static void check_secrecy(const char *text, const char *why)
{
    const char *word = text;
    bool is_key = false;
    while (*word != '\0') {
        size_t length = strcspn(word, " \t\r\n");
        char secret[64];
        if (is_key && length >= 4 && length < sizeof secret) {
            memcpy(secret, word, length);
            secret[length] = '\0';
            if (strchr(secret, '~') != NULL && strstr(why, secret) != NULL &&
                strstr(word + length, secret) == NULL && strstr(text, secret) == word)
                abort();
        }
        is_key = length == 3 && strncasecmp(word, "key", 3) == 0;
        word += length;
        word += strspn(word, " \t\r\n");
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct acl *acl = NULL;
    char why[512];
    unsigned lines = 1;
    char *text = malloc(size + 1);
    if (text == NULL)
        return 0;
    memcpy(text, data, size);
    text[size] = '\0';
    for (size_t i = 0; i < size; i++)
        lines += text[i] == '\n';
    memset(why, 0xff, sizeof why);
    if (acl_parse("folder/f.acl", text, size, &acl, why, sizeof why) == 0) {
        if (acl_count(acl) > lines)
            abort();
        check_answers(acl, lines);
        acl_free(acl);
    } else {
        if (memchr(why, 0, sizeof why) == NULL || strncmp(why, "folder/f.acl:", 13) != 0)
            abort();
        check_secrecy(text, why);
    }
    free(text);
    return 0;
}
