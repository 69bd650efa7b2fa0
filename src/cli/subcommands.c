#include "cli/subcommands.h"

#include "base/error.h"
#include "cli/nearest.h"

#include <stdio.h>
#include <string.h>

/* "add" of "key add" */
static const char *word_of(const struct command *command)
{
    const char *space = strchr(command->name, ' ');
    return space != NULL ? space + 1 : command->name;
}

/* "add, list and remove" */
static void list_words(const struct subcommands *subcommands, const char *last, char *out,
                       size_t size)
{
    size_t used = 0;
    out[0] = '\0';
    for (size_t i = 0; i < subcommands->count && used < size; i++) {
        const char *before = i == 0 ? "" : i == subcommands->count - 1 ? last : ", ";
        int written =
            snprintf(out + used, size - used, "%s%s", before, word_of(&subcommands->commands[i]));
        used += written > 0 ? (size_t)written : 0;
    }
}

static int ask_for_word(const struct subcommands *subcommands, char *why)
{
    char words[OPTIONS_WHY_SIZE / 2];
    list_words(subcommands, " or ", words, sizeof words);
    snprintf(why, OPTIONS_WHY_SIZE, "say what: %s", words);
    return CULVERT_ERROR_INVALID;
}

static int complain_unknown(const struct subcommands *subcommands, const char *word, char *why)
{
    struct nearest nearest;
    nearest_init(&nearest, word, strlen(word));
    for (size_t i = 0; i < subcommands->count; i++)
        nearest_offer(&nearest, word_of(&subcommands->commands[i]));
    const char *best = nearest_word(&nearest);
    if (best != NULL) {
        snprintf(why, OPTIONS_WHY_SIZE, "unknown command %.100s; did you mean %s?", word, best);
        return CULVERT_ERROR_INVALID;
    }
    char words[OPTIONS_WHY_SIZE / 2];
    list_words(subcommands, " and ", words, sizeof words);
    snprintf(why, OPTIONS_WHY_SIZE, "unknown command %.100s; there are %s", word, words);
    return CULVERT_ERROR_INVALID;
}

int subcommands_parse(const struct subcommands *subcommands, char *const *words, void *settings,
                      const struct command **chosen, char why[static OPTIONS_WHY_SIZE])
{
    *chosen = &subcommands->all;
    if (words[0] == NULL)
        return ask_for_word(subcommands, why);
    if (words[0][0] == '-') {
        int result = options_parse(&subcommands->all, words, settings, why);
        return result != 0 ? result : ask_for_word(subcommands, why);
    }
    for (size_t i = 0; i < subcommands->count; i++) {
        if (strcmp(words[0], word_of(&subcommands->commands[i])) != 0)
            continue;
        *chosen = &subcommands->commands[i];
        return options_parse(*chosen, words + 1, settings, why);
    }
    return complain_unknown(subcommands, words[0], why);
}
