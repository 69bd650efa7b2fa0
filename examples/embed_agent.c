/*
 * An agent inside a program: embed_agent URL NAME [ALLOW]...
 *
 * It registers as NAME at the gateway URL and dials for other agents what the ALLOWs permit, such
 * as 127.0.0.1:22. The agent's key, if it needs one, stands in $CULVERT_KEY. Meanwhile it reads
 * commands from standard input until that ends:
 *
 *     add 2222:agent2:127.0.0.1:22     makes local port 2222 of what agent2 has there; prints an id
 *     remove 1                         closes that port again
 */
#include <culvert/agent.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PATIENCE = 10 * 1000 }; /* milliseconds to register in */

/* Runs on a thread of the agent's, for one event after the other. */
static void print_event(void *context, const struct culvert_event *event)
{
    (void)context;
    printf("event %s\n", culvert_event_json(event));
    fflush(stdout);
}

static void add(struct culvert_agent *agent, const char *rule)
{
    uint64_t id;
    uint16_t port;
    char why[512];
    if (culvert_agent_add_forward(agent, rule, &id, &port, why, sizeof why) == CULVERT_OK)
        printf("forward %" PRIu64 " on port %u\n", id, (unsigned)port);
    else
        printf("not added: %s\n", why);
}

static void remove_forward(struct culvert_agent *agent, const char *word)
{
    uint64_t id = strtoull(word, NULL, 10);
    int code = culvert_agent_remove_forward(agent, id);
    if (code == CULVERT_OK)
        printf("removed %" PRIu64 "\n", id);
    else
        printf("not removed: %s\n", culvert_error_text(code));
}

static void obey(struct culvert_agent *agent)
{
    char line[1024];
    while (fgets(line, sizeof line, stdin) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        if (strncmp(line, "add ", 4) == 0)
            add(agent, line + 4);
        else if (strncmp(line, "remove ", 7) == 0)
            remove_forward(agent, line + 7);
        else
            printf("commands: add RULE, remove ID\n");
        fflush(stdout);
    }
}

int main(int argc, char **argv)
{
    if (argc < 3) {
        fprintf(stderr, "usage: embed_agent URL NAME [ALLOW]...\n");
        return 2;
    }

    struct culvert_agent_options options = {
        .size = sizeof options,
        .url = argv[1],
        .name = argv[2],
        .key = getenv("CULVERT_KEY"),
        .ca = getenv("CULVERT_CA"),
        .allow = (const char *const *)(argv + 3),
        .allow_count = (size_t)argc - 3,
        .on_event = print_event,
    };
    struct culvert_agent *agent;
    char why[512];
    if (culvert_agent_start(&options, &agent, why, sizeof why) != CULVERT_OK) {
        fprintf(stderr, "embed_agent: %s\n", why);
        return 1;
    }

    int code = culvert_agent_wait_registered(agent, PATIENCE, why, sizeof why);
    if (code == CULVERT_OK) {
        printf("registered as %s\n", options.name);
        fflush(stdout);
        obey(agent);
        /* Sessions that are open get five seconds to finish. */
        culvert_agent_stop(agent, 5);
        code = culvert_agent_wait(agent, -1);
    } else {
        fprintf(stderr, "embed_agent: %s\n", why);
    }
    culvert_agent_free(agent);
    return code == CULVERT_OK ? 0 : 1;
}
