/* What several of the library's tests need. */
#ifndef LIBRARY_TEST_HANDLES_H
#define LIBRARY_TEST_HANDLES_H

#include <culvert/agent.h>
#include <culvert/gateway.h>

enum { WHY_SIZE = 512 };

/* An open gateway on a free port of loopback, which grants everything. */
struct culvert_gateway_options gateway_options(void);
/* Each fails the test if it does not come out so. */
struct culvert_gateway *start_gateway(const struct culvert_gateway_options *options);
void expect_no_gateway(const struct culvert_gateway_options *options, int code,
                       const char *sentence);
void expect_no_agent(const struct culvert_agent_options *options, int code, const char *sentence);

int listen_on_loopback(uint16_t *port);
void write_file(const char *path, const char *content);

#endif
