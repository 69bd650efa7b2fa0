/*
 * A gateway inside a program: embed_gateway [HOST:]PORT
 *
 * It lets every agent in without a key and allows every session, so try it on loopback. It says
 * what happens until SIGINT (Ctrl-C) or SIGTERM.
 */
#include <culvert/gateway.h>

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

/* Runs on a thread of the gateway's, for one event after the other. */
static void print_event(void *context, const struct culvert_event *event)
{
    const char *name = culvert_event_name(event);
    const char *agent = culvert_event_text(event, "agent");
    (void)context;
    if (agent == NULL)
        agent = "?";
    if (strcmp(name, "session.closed") == 0)
        printf("%s: to %s, %" PRId64 " bytes there and %" PRId64 " back\n", name, agent,
               culvert_event_integer(event, "sent"), culvert_event_integer(event, "received"));
    else
        printf("%s: %s\n", name, agent);
    fflush(stdout);
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "usage: embed_gateway [HOST:]PORT\n");
        return 2;
    }

    /* Signals are this program's own affair. Blocked before the first thread starts, they wait
     * for sigwait below. */
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &signals, NULL);

    const char *listens[] = {argv[1]};
    struct culvert_gateway_options options = {
        .size = sizeof options,
        .listens = listens,
        .listen_count = 1,
        .grant = true,
        .open = true,
        .threads = 1,
        .on_event = print_event,
    };
    struct culvert_gateway *gateway;
    char why[512];
    if (culvert_gateway_start(&options, &gateway, why, sizeof why) != CULVERT_OK) {
        fprintf(stderr, "embed_gateway: %s\n", why);
        return 1;
    }
    printf("listening on %s\n", culvert_gateway_address(gateway, 0));
    fflush(stdout);

    int number;
    sigwait(&signals, &number);

    /* Sessions that are open get five seconds to finish. */
    culvert_gateway_stop(gateway, 5);
    int code = culvert_gateway_wait(gateway, -1);
    culvert_gateway_free(gateway);
    printf("ended: %s\n", culvert_error_text(code));
    return code == CULVERT_OK ? 0 : 1;
}
