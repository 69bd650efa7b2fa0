#include "base/error.h"
#include "base/map.h"
#include "base/memory.h"
#include "base/str.h"
#include "policy/acl_inner.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum {
    WORDS_MAX = 9, /* one more than a rule has, to see that there are too many */
    REASON_SIZE = 256,
    HOST_SIZE = 253, /* RFC 1035 §2.3.4, as text */
};

/* Which word of a rule is what. */
enum word_place { VERB, FROM, ARROW, TO, HOST, PORTS, KEY_WORD, KEY };

#define RULE_FORM  "allow|deny FROM -> TO HOST PORTS [key KEY]"
#define GROUP_FORM "@GROUP = NAME, ..."

struct parser {
    struct acl *acl;
    const char *name;
    struct map groups; /* name -> index + 1 */
    unsigned line;
    char *why;
    size_t why_size;
    const struct acl_complaints *complaints; /* of every wrong line; NULL: the first one ends it */
    int complaint_count;
};

/* The words of a line, terminated, in the list's text. */
struct words {
    char *word[WORDS_MAX];
    size_t count;
};

static int complain(const struct parser *parser, const char *what, ...)
    __attribute__((format(printf, 2, 3)));

static int complain(const struct parser *parser, const char *what, ...)
{
    va_list arguments;
    char sentence[2 * REASON_SIZE];
    va_start(arguments, what);
    vsnprintf(sentence, sizeof sentence, what, arguments);
    va_end(arguments);
    snprintf(parser->why, parser->why_size, "%s:%u: %s", parser->name, parser->line, sentence);
    return CULVERT_ERROR_INVALID;
}

static int complain_of_memory(const struct parser *parser)
{
    snprintf(parser->why, parser->why_size, "%s: no memory for its rules", parser->name);
    return CULVERT_ERROR_NO_MEMORY;
}

static uint32_t place_of(const struct parser *parser, const char *word)
{
    return (uint32_t)(word - parser->acl->text);
}

/* Makes room for one more behind `count` items; the array doubles whenever it is full, that is when
 * `count` is a power of two. Returns whether there is room. */
static bool make_room(void **items, size_t count, size_t size)
{
    if (count != 0 && (count & (count - 1)) != 0)
        return true;
    void *grown = memory_grow(*items, (count == 0 ? 1 : 2 * count) * size);
    if (grown == NULL)
        return false;
    *items = grown;
    return true;
}

/* ---- words ---- */

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

static char *skip_blanks(char *text)
{
    while (is_blank(*text))
        text++;
    return text;
}

static bool is_name_character(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '.' ||
           c == '_' || c == '-';
}

static size_t count_name_characters(const char *text)
{
    size_t size = 0;
    while (is_name_character(text[size]))
        size++;
    return size;
}

/* Cuts a line into words; what is behind the last that fits stays as it is. Words that are not
 * there are empty. */
static void split(char *line, struct words *words)
{
    char *end = line + strlen(line);
    for (size_t i = 0; i < WORDS_MAX; i++)
        words->word[i] = end;
    words->count = 0;
    while (words->count < WORDS_MAX) {
        line = skip_blanks(line);
        if (*line == '\0')
            return;
        words->word[words->count++] = line;
        line += strcspn(line, " \t");
        if (*line != '\0')
            *line++ = '\0';
    }
}

/* Ends the line where a comment begins, and before blanks at its end. */
static void strip_comment(char *line)
{
    size_t size = strlen(line);
    for (size_t i = 0; i < size; i++) {
        if (line[i] == '#' && (i == 0 || is_blank(line[i - 1])))
            size = i;
    }
    while (size > 0 && is_blank(line[size - 1]))
        size--;
    line[size] = '\0';
}

/* Whether a word is, or seems to be meant as, the one that a key stands behind. */
static bool announces_key(const char *word)
{
    return strncasecmp(word, "key", 3) == 0 &&
           (word[3] == '\0' || word[3] == '=' || word[3] == ':');
}

/* ---- names and groups ---- */

/* A pattern of agents' names, which in Hubble's dialect may be of any characters; one with a blank
 * or a comma can only be written with a wildcard in its place. `what` begins the complaint. */
static int check_pattern(const struct parser *parser, const char *what, const char *pattern)
{
    struct text text = text_of(pattern);
    if (!str_is_printable(text))
        return complain(parser, "%s: a name is UTF-8 without control characters", what);
    if (!str_is_legacy_name(text))
        return complain(parser, "%s: no agent can be called \"%.100s\"%s", what, pattern,
                        text.size > 100 ? "..., it is too long" : "");
    return 0;
}

/* The index of the group with this name, which is entered if it is new. */
static int find_group(struct parser *parser, const char *name, uint32_t *index)
{
    struct acl *acl = parser->acl;
    uintptr_t found = (uintptr_t)map_find_text(&parser->groups, name);
    if (found != 0) {
        *index = (uint32_t)(found - 1);
        return 0;
    }
    if (!make_room((void **)&acl->groups, acl->group_count, sizeof *acl->groups) ||
        map_insert_text(&parser->groups, name, (void *)(uintptr_t)(acl->group_count + 1)) != 0)
        return complain_of_memory(parser);
    acl->groups[acl->group_count] =
        (struct acl_group){.name = place_of(parser, name), .mentioned = parser->line};
    *index = (uint32_t)acl->group_count++;
    return 0;
}

/* Takes a member, which ends with a zero, without the blanks around it. */
static int add_member(struct parser *parser, uint32_t index, char *member)
{
    struct acl *acl = parser->acl;
    const char *group = acl->text + acl->groups[index].name;
    char what[REASON_SIZE];
    member = skip_blanks(member);
    char *end = member + strcspn(member, " \t");
    if (*skip_blanks(end) != '\0')
        return complain(parser, "the members of @%.100s are separated by commas", group);
    *end = '\0';
    if (*member == '\0')
        return complain(parser, "@%.100s has an empty member", group);
    if (*member == '@')
        return complain(parser, "@%.100s holds names, no other group", group);
    snprintf(what, sizeof what, "in @%.100s", group);
    int error = check_pattern(parser, what, member);
    if (error != 0)
        return error;
    if (!make_room((void **)&acl->members, acl->member_count, sizeof *acl->members))
        return complain_of_memory(parser);
    acl->members[acl->member_count++] = (struct acl_member){place_of(parser, member), index};
    return 0;
}

static int parse_group(struct parser *parser, char *line)
{
    struct acl *acl = parser->acl;
    uint32_t index = 0;
    char *name = line + 1;
    char *end = name + count_name_characters(name);
    char *equals = skip_blanks(end);
    if (end == name || *equals != '=')
        return complain(parser,
                        "a group is defined as " GROUP_FORM ", with a name of A-Z a-z 0-9 . _ -");
    *end = '\0';
    int error = find_group(parser, name, &index);
    if (error != 0)
        return error;
    if (acl->groups[index].line != 0)
        return complain(parser, "@%.100s is defined in line %u already", name,
                        acl->groups[index].line);
    acl->groups[index].line = parser->line;
    for (char *member = equals + 1; error == 0 && member != NULL;) {
        char *comma = strchr(member, ',');
        if (comma != NULL)
            *comma++ = '\0';
        error = add_member(parser, index, member);
        member = comma;
    }
    return error;
}

/* After a wrong line: returns 0 to go on with the next one. */
static int pass_on(struct parser *parser, int error)
{
    if (error != CULVERT_ERROR_INVALID || parser->complaints == NULL)
        return error;
    parser->complaints->each(parser->complaints->context, parser->why);
    parser->complaint_count++;
    return 0;
}

static int check_groups(struct parser *parser)
{
    const struct acl *acl = parser->acl;
    int error = 0;
    for (size_t i = 0; error == 0 && i < acl->group_count; i++) {
        if (acl->groups[i].line != 0)
            continue;
        parser->line = acl->groups[i].mentioned;
        error = pass_on(parser, complain(parser, "the group @%.100s is defined nowhere",
                                         acl->text + acl->groups[i].name));
    }
    return error;
}

/* ---- rules ---- */

static int parse_name(struct parser *parser, const char *what, const char *word,
                      uint32_t *reference)
{
    if (*word != '@') {
        if (strchr(word, ',') != NULL)
            return complain(parser, "%s is one name; make several a group: " GROUP_FORM, what);
        *reference = place_of(parser, word);
        return check_pattern(parser, what, word);
    }
    size_t size = count_name_characters(word + 1);
    if (size == 0 || word[size + 1] != '\0')
        return complain(parser, "%s: a group's name is of A-Z a-z 0-9 . _ -", what);
    int error = find_group(parser, word + 1, reference);
    *reference |= ACL_IS_GROUP;
    return error;
}

/* A pattern of names that would only ever have been meant for addresses. */
static bool looks_like_address(const char *pattern)
{
    return strspn(pattern, "0123456789.*?") == strlen(pattern) &&
           strcspn(pattern, "0123456789") < strlen(pattern);
}

static bool is_host_pattern(const char *word)
{
    size_t size = strlen(word);
    for (const char *c = word; *c != '\0'; c++) {
        if (!is_name_character(*c) && *c != '*' && *c != '?')
            return false;
    }
    return size <= HOST_SIZE;
}

static int parse_host_name(const struct parser *parser, char *word, struct acl_rule *rule)
{
    bool is_pattern = strpbrk(word, "*?") != NULL;
    if (is_pattern && looks_like_address(word))
        return complain(parser,
                        "HOST \"%.100s\" would match names only; write addresses as a network, "
                        "such as 10.0.0.0/8",
                        word);
    if (is_pattern ? !is_host_pattern(word) : host_parse(text_of(word), NULL) != HOST_NAME)
        return complain(parser, "HOST \"%.100s\" is neither a host name nor an IP address", word);
    size_t size = strlen(word);
    if (size > 1 && word[size - 1] == '.')
        word[size - 1] = '\0';
    for (char *c = word; *c != '\0'; c++)
        *c = (char)(*c >= 'A' && *c <= 'Z' ? *c - 'A' + 'a' : *c);
    rule->host_kind = ACL_HOST_NAME;
    rule->host = place_of(parser, word);
    return 0;
}

static int parse_host(struct parser *parser, char *word, struct acl_rule *rule)
{
    struct acl *acl = parser->acl;
    struct network_parts parts;
    struct network network;
    char why[REASON_SIZE];
    if (strcmp(word, "*") == 0) {
        rule->host_kind = ACL_HOST_ANY;
        return 0;
    }
    /* What cannot be a host is not shown: it may be a key that went astray. */
    for (const char *c = word; *c != '\0'; c++) {
        if (!is_name_character(*c) && strchr("*?:/[]", *c) == NULL)
            return complain(parser, "HOST is a name, with * and ? or without, an address, "
                                    "ADDRESS/BITS or *");
    }
    network_split(text_of(word), &parts);
    enum host_kind kind = host_parse(parts.host, NULL);
    if (parts.has_brackets && kind != HOST_IPV6)
        return complain(parser, "HOST \"%.100s\" is not an IPv6 address", word);
    if (!parts.has_bits && kind != HOST_IPV4 && kind != HOST_IPV6)
        return parse_host_name(parser, word, rule);
    if (network_parse(&parts, &network, why, sizeof why) != 0)
        return complain(parser, "HOST: %s", why);
    if (!make_room((void **)&acl->networks, acl->network_count, sizeof *acl->networks))
        return complain_of_memory(parser);
    /* One address; it is compared as what it reaches. */
    if (network.prefix == 8 * HOST_ADDRESS_SIZE)
        host_canonical(network.address);
    rule->host_kind = ACL_HOST_NETWORK;
    rule->host = (uint32_t)acl->network_count;
    acl->networks[acl->network_count++] = network;
    return 0;
}

static int compare_ranges(const void *a, const void *b)
{
    return (int)((const struct port_range *)a)->low - (int)((const struct port_range *)b)->low;
}

/* Sorts the rule's ranges and joins those that touch. */
static void join_ranges(struct acl *acl, struct acl_rule *rule)
{
    struct port_range *ranges = acl->ranges + rule->ports;
    uint32_t last = 0;
    qsort(ranges, rule->port_count, sizeof *ranges, compare_ranges);
    for (uint32_t i = 1; i < rule->port_count; i++) {
        if (ranges[i].low > (uint32_t)ranges[last].high + 1)
            ranges[++last] = ranges[i];
        else if (ranges[i].high > ranges[last].high)
            ranges[last].high = ranges[i].high;
    }
    rule->port_count = last + 1;
    acl->range_count = rule->ports + rule->port_count;
}

static int parse_ports(struct parser *parser, const char *word, struct acl_rule *rule)
{
    struct acl *acl = parser->acl;
    char why[REASON_SIZE];
    /* Not shown either. */
    if (strspn(word, "0123456789,-*") != strlen(word))
        return complain(parser, "PORTS is a list of ports and ranges such as 80,6000-6010, or *");
    rule->ports = (uint32_t)acl->range_count;
    for (const char *c = word; c != NULL;) {
        struct text part = {c, strcspn(c, ",")};
        struct port_range range;
        if (port_range_parse(part, &range, why, sizeof why) != 0)
            return complain(parser, "PORTS: %s", why);
        if (!make_room((void **)&acl->ranges, acl->range_count, sizeof *acl->ranges))
            return complain_of_memory(parser);
        acl->ranges[acl->range_count++] = range;
        rule->port_count++;
        c = c[part.size] == ',' ? c + part.size + 1 : NULL;
    }
    join_ranges(acl, rule);
    return 0;
}

/* Whether the words are as many as there must be and those that never change stand in their
 * places; so that no later complaint can be about a word behind `key`. */
static int check_form(const struct parser *parser, const struct words *words)
{
    static const char *const places[] = {"the rule", "FROM", "->", "TO", "HOST", "PORTS"};
    const char *verb = words->word[VERB];
    if (strcmp(verb, "allow") != 0 && strcmp(verb, "deny") != 0)
        return complain(parser, "a line is either " RULE_FORM " or " GROUP_FORM);
    for (size_t i = FROM; i <= PORTS && i < words->count; i++) {
        if (announces_key(words->word[i]))
            return complain(parser, "\"key\" stands in the place of %s; a rule is " RULE_FORM,
                            places[i]);
    }
    if (words->count > ARROW && strcmp(words->word[ARROW], "->") != 0)
        return complain(parser, "-> must stand between FROM and TO, with blanks around it");
    if (words->count <= PORTS)
        return complain(parser, "%s is missing; a rule is " RULE_FORM, places[words->count]);
    if (words->count > KEY_WORD && strcmp(words->word[KEY_WORD], "key") != 0)
        return complain(parser, "behind PORTS only \"key KEY\" may stand");
    if (words->count == KEY)
        return complain(parser, "the key is missing behind \"key\"");
    if (words->count > KEY + 1)
        return complain(parser, "behind the key nothing may stand; a key is one word");
    if (words->count == KEY + 1 && strlen(words->word[KEY]) > ACL_MAX_KEY)
        return complain(parser, "a key has at most %u bytes", (unsigned)ACL_MAX_KEY);
    return 0;
}

static int parse_rule(struct parser *parser, char *line)
{
    struct acl *acl = parser->acl;
    struct acl_rule rule = {.line = parser->line, .text = place_of(parser, line)};
    struct words words;
    split(line, &words);
    int error = check_form(parser, &words);
    if (error != 0)
        return error;
    rule.allows = strcmp(words.word[VERB], "allow") == 0;
    if (strcmp(words.word[FROM], POLICY_NOBODY) == 0)
        rule.from = place_of(parser, words.word[FROM]);
    else
        error = parse_name(parser, "FROM", words.word[FROM], &rule.from);
    if (error == 0)
        error = parse_name(parser, "TO", words.word[TO], &rule.to);
    if (error == 0)
        error = parse_host(parser, words.word[HOST], &rule);
    if (error == 0)
        error = parse_ports(parser, words.word[PORTS], &rule);
    if (error != 0)
        return error;
    if (words.count > KEY)
        rule.key = place_of(parser, words.word[KEY]);
    if (!make_room((void **)&acl->rules, acl->rule_count, sizeof *acl->rules))
        return complain_of_memory(parser);
    acl->rules[acl->rule_count++] = rule;
    return 0;
}

/* ---- lines ---- */

/* A line of `size` bytes, behind which a byte may be overwritten. */
static int parse_line(struct parser *parser, char *line, size_t size)
{
    if (size > 0 && line[size - 1] == '\r')
        size--;
    for (size_t i = 0; i < size; i++) {
        unsigned char c = (unsigned char)line[i];
        if ((c < ' ' && c != '\t') || c == 0x7f)
            return complain(parser, "the line holds a control character");
    }
    line[size] = '\0';
    strip_comment(line);
    line = skip_blanks(line);
    if (*line == '\0')
        return 0;
    return *line == '@' ? parse_group(parser, line) : parse_rule(parser, line);
}

static int parse_lines(struct parser *parser)
{
    static const char mark[] = "\xef\xbb\xbf"; /* what some editors begin UTF-8 with */
    char *end = parser->acl->text + parser->acl->text_size - 1;
    char *line = parser->acl->text;
    int error = 0;
    if (strncmp(line, mark, sizeof mark - 1) == 0)
        line += sizeof mark - 1;
    while (error == 0 && line < end) {
        char *next = memchr(line, '\n', (size_t)(end - line));
        size_t size = (size_t)((next != NULL ? next : end) - line);
        parser->line++;
        error = pass_on(parser, parse_line(parser, line, size));
        line += size + 1;
    }
    return error != 0 ? error : check_groups(parser);
}

static int copy_text(struct parser *parser, const char *text, size_t size)
{
    struct acl *acl = parser->acl;
    const char *slash = strrchr(parser->name, '/');
    acl->name = memory_copy_text(slash != NULL ? slash + 1 : parser->name);
    acl->text = memory_allocate(size + 1);
    if (acl->name == NULL || acl->text == NULL)
        return complain_of_memory(parser);
    acl->text_size = size + 1;
    memcpy(acl->text, text, size);
    acl->text[size] = '\0';
    return 0;
}

/* ---- the indexes ---- */

static void add_name_keys(struct acl_keys *keys, const struct acl *acl, enum acl_field field,
                          uint32_t reference)
{
    if ((reference & ACL_IS_GROUP) != 0)
        acl_keys_add_group(keys, field, reference & ~ACL_IS_GROUP);
    else
        acl_keys_add_pattern(keys, field, acl->text + reference);
}

static void add_rule_keys(const void *context, uint32_t item, struct acl_keys *keys)
{
    const struct acl *acl = context;
    const struct acl_rule *rule = &acl->rules[item];
    add_name_keys(keys, acl, ACL_FROM, rule->from);
    add_name_keys(keys, acl, ACL_TO, rule->to);
    if (rule->host_kind == ACL_HOST_NAME)
        acl_keys_add_pattern(keys, ACL_HOST, acl->text + rule->host);
    else if (rule->host_kind == ACL_HOST_NETWORK)
        acl_keys_add_network(keys, acl->networks[rule->host].address,
                             acl->networks[rule->host].prefix);
}

static void add_member_keys(const void *context, uint32_t item, struct acl_keys *keys)
{
    const struct acl *acl = context;
    acl_keys_add_pattern(keys, ACL_FROM, acl->text + acl->members[item].pattern);
}

static int build_indexes(const struct parser *parser)
{
    struct acl *acl = parser->acl;
    int error = acl_index_build(&acl->rule_index, (uint32_t)acl->rule_count, add_rule_keys, acl);
    if (error == 0)
        error =
            acl_index_build(&acl->member_index, (uint32_t)acl->member_count, add_member_keys, acl);
    return error == 0 ? 0 : complain_of_memory(parser);
}

/* Parses into the parser's list; on an error that is freed. */
static int parse_text(struct parser *parser, const char *text, size_t size)
{
    if (size > ACL_MAX_SIZE) {
        snprintf(parser->why, parser->why_size, "%s: it is larger than %u MiB", parser->name,
                 (unsigned)(ACL_MAX_SIZE / 1024 / 1024));
        return CULVERT_ERROR_TOO_LARGE;
    }
    parser->acl = memory_allocate_zero(sizeof *parser->acl);
    if (parser->acl == NULL)
        return complain_of_memory(parser);
    /* Whoever writes the file may as well make it long: no seed is needed against that. */
    map_init(&parser->groups, 0);
    int error = copy_text(parser, text, size);
    if (error == 0)
        error = parse_lines(parser);
    if (error == 0 && parser->complaints == NULL)
        error = build_indexes(parser);
    map_deinit(&parser->groups);
    if (error != 0)
        acl_free(parser->acl);
    return error;
}

int acl_parse(const char *name, const char *text, size_t size, struct acl **acl, char *why,
              size_t why_size)
{
    struct parser parser = {.name = name, .why = why, .why_size = why_size};
    int error = parse_text(&parser, text, size);
    if (error == 0)
        *acl = parser.acl;
    return error;
}

int acl_check(const char *name, const char *text, size_t size,
              const struct acl_complaints *complaints, char *why, size_t why_size)
{
    struct parser parser = {
        .name = name, .why = why, .why_size = why_size, .complaints = complaints};
    int error = parse_text(&parser, text, size);
    if (error != 0)
        return error;
    acl_free(parser.acl);
    return parser.complaint_count;
}
