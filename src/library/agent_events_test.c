#include <culvert/agent.h>
#include <culvert/culvert.h>
#include <culvert/event.h>
#include <culvert/gateway.h>

#include "library/test_handles.h"

#include <netinet/in.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#include <cmocka.h>

enum {
    PATIENCE = 60 * 1000,
    DESCRIPTORS = 256, /* more than this program opens */
};

/* What an agent has told of its link. */
struct told {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    char names[256];
    bool is_sound;
};

static void note_told(void *context, const struct culvert_event *event)
{
    struct told *told = context;
    const char *name = culvert_event_name(event);
    bool is_end = strcmp(name, "agent.unregistered") == 0 || strcmp(name, "link.lost") == 0;
    pthread_mutex_lock(&told->mutex);
    size_t used = strlen(told->names);
    snprintf(told->names + used, sizeof(told->names) - used, "%s ", name);
    told->is_sound = told->is_sound && strcmp(culvert_event_text(event, "agent"), "near") == 0 &&
                     strcmp(culvert_event_text(event, "dialect"), "culvert.1") == 0 &&
                     is_end == (culvert_event_text(event, "reason") != NULL) &&
                     culvert_event_number(event, "seconds") >= 0;
    pthread_cond_signal(&told->changed);
    pthread_mutex_unlock(&told->mutex);
}

static void wait_for(struct told *told, const char *name)
{
    struct timespec deadline;
    int error = 0;
    clock_gettime(CLOCK_REALTIME, &deadline);
    deadline.tv_sec += PATIENCE / 1000;
    pthread_mutex_lock(&told->mutex);
    while (error == 0 && strstr(told->names, name) == NULL)
        error = pthread_cond_timedwait(&told->changed, &told->mutex, &deadline);
    pthread_mutex_unlock(&told->mutex);
    assert_int_equal(error, 0);
}

/* When its gateway goes and when it ends itself, but not twice. */
static void test_an_agent_tells_of_its_link(void **state)
{
    (void)state;
    for (int ends_first = 0; ends_first < 2; ends_first++) {
        struct told told = {.mutex = PTHREAD_MUTEX_INITIALIZER,
                            .changed = PTHREAD_COND_INITIALIZER,
                            .is_sound = true};
        char url[64];
        struct culvert_gateway_options options = gateway_options();
        struct culvert_gateway *gateway = start_gateway(&options);
        snprintf(url, sizeof(url), "ws://%s", culvert_gateway_address(gateway, 0));
        struct culvert_agent_options near = {.size = sizeof(near),
                                             .url = url,
                                             .name = "near",
                                             .on_event = note_told,
                                             .event_context = &told};
        struct culvert_agent *agent = NULL;
        assert_int_equal(culvert_agent_start(&near, &agent, NULL, 0), CULVERT_OK);
        assert_int_equal(culvert_agent_wait_registered(agent, PATIENCE, NULL, 0), CULVERT_OK);
        if (ends_first == 0) {
            culvert_gateway_free(gateway);
            wait_for(&told, "unregistered");
        }
        culvert_agent_free(agent);
        if (ends_first != 0)
            culvert_gateway_free(gateway);
        assert_string_equal(told.names, "agent.registered agent.unregistered ");
        assert_true(told.is_sound);
    }
}

/* Ends the connections that this program has made to the port. */
static void cut_connections(uint16_t port)
{
    for (int fd = 0; fd < DESCRIPTORS; fd++) {
        struct sockaddr_in peer = {.sin_family = AF_UNSPEC};
        socklen_t size = sizeof(peer);
        if (getpeername(fd, (struct sockaddr *)&peer, &size) == 0 && peer.sin_family == AF_INET &&
            ntohs(peer.sin_port) == port)
            shutdown(fd, SHUT_RDWR);
    }
}

static void test_an_agent_tells_of_a_lost_connection(void **state)
{
    (void)state;
    struct told told = {
        .mutex = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER, .is_sound = true};
    char url[64];
    struct culvert_gateway_options options = gateway_options();
    struct culvert_gateway *gateway = start_gateway(&options);
    const char *address = culvert_gateway_address(gateway, 0);
    snprintf(url, sizeof(url), "ws://%s", address);
    struct culvert_agent_options near = {.size = sizeof(near),
                                         .url = url,
                                         .name = "near",
                                         .on_event = note_told,
                                         .event_context = &told};
    struct culvert_agent *agent = NULL;
    assert_int_equal(culvert_agent_start(&near, &agent, NULL, 0), CULVERT_OK);
    assert_int_equal(culvert_agent_wait_registered(agent, PATIENCE, NULL, 0), CULVERT_OK);
    cut_connections((uint16_t)strtoul(strrchr(address, ':') + 1, NULL, 10));
    wait_for(&told, "link.resumed");
    culvert_agent_free(agent);
    culvert_gateway_free(gateway);
    assert_string_equal(told.names, "agent.registered link.lost link.resumed agent.unregistered ");
    assert_true(told.is_sound);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_an_agent_tells_of_its_link),
        cmocka_unit_test(test_an_agent_tells_of_a_lost_connection),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
