#include "library/test_handles.h"

#include <culvert/culvert.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include <cmocka.h>

static const char *const loopback[] = {"127.0.0.1:0"};

struct culvert_gateway_options gateway_options(void)
{
    return (struct culvert_gateway_options){
        .size = sizeof(struct culvert_gateway_options),
        .listens = loopback,
        .listen_count = 1,
        .grant = true,
        .open = true,
        .threads = 2,
    };
}

struct culvert_gateway *start_gateway(const struct culvert_gateway_options *options)
{
    struct culvert_gateway *gateway = NULL;
    char why[WHY_SIZE] = "";
    if (culvert_gateway_start(options, &gateway, why, sizeof(why)) != CULVERT_OK)
        fail_msg("%s", why);
    return gateway;
}

int listen_on_loopback(uint16_t *port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof(address);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *)(void *)&address, size), 0);
    assert_int_equal(listen(fd, 8), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)(void *)&address, &size), 0);
    *port = ntohs(address.sin_port);
    return fd;
}

void expect_no_gateway(const struct culvert_gateway_options *options, int code,
                       const char *sentence)
{
    struct culvert_gateway *gateway = NULL;
    char why[WHY_SIZE] = "";
    assert_int_equal(culvert_gateway_start(options, &gateway, why, sizeof(why)), code);
    assert_null(gateway);
    if (strstr(why, sentence) == NULL)
        fail_msg("\"%s\" is not in \"%s\"", sentence, why);
}

void expect_no_agent(const struct culvert_agent_options *options, int code, const char *sentence)
{
    struct culvert_agent *agent = NULL;
    char why[WHY_SIZE] = "";
    assert_int_equal(culvert_agent_start(options, &agent, why, sizeof(why)), code);
    assert_null(agent);
    if (strstr(why, sentence) == NULL)
        fail_msg("\"%s\" is not in \"%s\"", sentence, why);
}

void write_file(const char *path, const char *content)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_true(fputs(content, file) >= 0);
    assert_int_equal(fclose(file), 0);
}
