#include "agent/agent.h"

#include "base/error.h"
#include "base/exit_code.h"
#include "base/log.h"
#include "base/memory.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

/* Of all configs but those that say otherwise: a gateway that is not there, at the discard port of
 * loopback. Agents of threads that run read it, so it stays as it is. */
static const struct url nowhere = {
    .scheme = "ws",
    .host = "127.0.0.1",
    .port = 9,
    .target = "/",
    .is_loopback = true,
};

static void set_url(struct agent_config *config, struct url *url, const char *text)
{
    char why[256];
    assert_int_equal(url_parse(text, url, why, sizeof why), 0);
    config->urls = url;
}

static void allow_all(struct agent_config *config)
{
    char why[256];
    whitelist_init(&config->whitelist);
    assert_int_equal(whitelist_add(&config->whitelist, "*", why, sizeof why), 0);
}

static struct agent_config config_for(const struct rule *rules, size_t count)
{
    struct agent_config config = {
        .urls = &nowhere,
        .url_count = 1,
        .name = "agent1",
        .key = "",
        .rules = rules,
        .rule_count = count,
        .max_memory = SIZE_MAX,
    };
    allow_all(&config);
    return config;
}

static struct rule rule_of(const char *text)
{
    struct rule rule;
    char why[256];
    assert_int_equal(rule_parse(text, &rule, why, sizeof why), 0);
    return rule;
}

/* An agent on a thread of its own. */
struct running {
    struct agent *agent;
    pthread_t thread;
    int code;
};

static void *run_thread(void *argument)
{
    struct running *running = argument;
    running->code = agent_run(running->agent);
    return NULL;
}

static void start(struct running *running, const struct agent_config *config)
{
    *running = (struct running){.code = -1};
    assert_int_equal(agent_open(config, &running->agent), EXIT_CODE_OK);
    assert_int_equal(pthread_create(&running->thread, NULL, run_thread, running), 0);
}

static void end(struct running *running)
{
    agent_stop(running->agent, 5);
    assert_int_equal(pthread_join(running->thread, NULL), 0);
    assert_int_equal(running->code, EXIT_CODE_OK);
    agent_free(running->agent);
}

static bool can_connect(uint16_t port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int descriptor = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(descriptor >= 0);
    int result =
        connect(descriptor, (const struct sockaddr *)(const void *)&address, sizeof address);
    close(descriptor);
    return result == 0;
}

static int add(struct agent *agent, const char *text, struct rule *rule, uint64_t *id)
{
    char why[512] = "";
    *rule = rule_of(text);
    int error = agent_add_forward(agent, rule, id, why, sizeof why);
    assert_int_equal(error != 0, why[0] != '\0');
    return error;
}

static void test_forwards_come_and_go(void **state)
{
    (void)state;
    struct agent_config config = config_for(NULL, 0);
    struct running running;
    struct rule first;
    struct rule second;
    uint64_t ids[2] = {0};
    start(&running, &config);
    assert_int_equal(add(running.agent, "0:agent2:127.0.0.1:22", &first, &ids[0]), 0);
    assert_int_equal(add(running.agent, "0:agent2:127.0.0.1:22", &second, &ids[1]), 0);
    assert_int_not_equal(first.local_port, 0);
    assert_int_not_equal(first.local_port, second.local_port);
    assert_int_not_equal(ids[0], ids[1]);
    assert_true(can_connect(first.local_port));
    assert_int_equal(agent_remove_forward(running.agent, ids[0]), 0);
    assert_false(can_connect(first.local_port));
    assert_true(can_connect(second.local_port));
    assert_int_equal(agent_remove_forward(running.agent, ids[0]), CULVERT_ERROR_NOT_FOUND);
    end(&running);
    assert_false(can_connect(second.local_port));
}

static void test_a_port_that_is_taken(void **state)
{
    (void)state;
    struct rule rule = rule_of("0:agent2:127.0.0.1:22");
    struct agent_config config = config_for(&rule, 1);
    struct running running;
    struct rule added;
    char text[64];
    uint64_t id = 0;
    start(&running, &config);
    assert_int_equal(add(running.agent, "0:agent2:127.0.0.1:22", &added, &id), 0);
    snprintf(text, sizeof text, "%u:agent3:127.0.0.1:23", added.local_port);
    assert_int_equal(add(running.agent, text, &added, &id), -EADDRINUSE);
    assert_int_equal(agent_remove_forward(running.agent, id), 0);
    assert_int_equal(add(running.agent, text, &added, &id), 0);
    end(&running);
}

static void test_a_rule_that_cannot_be(void **state)
{
    (void)state;
    struct agent_config config = config_for(NULL, 0);
    struct running running;
    struct rule rule;
    uint64_t id = 0;
    start(&running, &config);
    assert_int_equal(add(running.agent, "some.name:0:agent2:127.0.0.1:22", &rule, &id),
                     CULVERT_ERROR_INVALID);
    assert_int_equal(add(running.agent, "localhost:0:agent2:127.0.0.1:22", &rule, &id), 0);
    end(&running);
}

static void test_a_key_does_not_cross_a_plain_network(void **state)
{
    (void)state;
    struct agent_config config = config_for(NULL, 0);
    struct agent *agent = NULL;
    struct rule rule;
    struct url url;
    uint64_t id = 0;
    set_url(&config, &url, "ws://192.0.2.1");
    assert_int_equal(agent_open(&config, &agent), EXIT_CODE_OK);
    assert_int_equal(add(agent, "0:secret@agent2:127.0.0.1:22", &rule, &id), CULVERT_ERROR_INVALID);
    assert_int_equal(add(agent, "0:agent2:127.0.0.1:22", &rule, &id), 0);
    agent_free(agent);
    config = config_for(NULL, 0);
    set_url(&config, &url, "wss://192.0.2.1");
    assert_int_equal(agent_open(&config, &agent), EXIT_CODE_OK);
    assert_int_equal(add(agent, "0:secret@agent2:127.0.0.1:22", &rule, &id), 0);
    agent_free(agent);
}

static void test_before_it_runs_and_after_it_has_run(void **state)
{
    (void)state;
    struct agent_config config = config_for(NULL, 0);
    struct agent *agent = NULL;
    struct rule rule;
    uint64_t id = 0;
    assert_int_equal(agent_open(&config, &agent), EXIT_CODE_OK);
    assert_int_equal(add(agent, "0:agent2:127.0.0.1:22", &rule, &id), 0);
    assert_true(can_connect(rule.local_port));
    agent_stop(agent, 60);
    agent_stop(agent, 0); /* before the first has been heard */
    assert_int_equal(agent_run(agent), EXIT_CODE_OK);
    agent_stop(agent, 0);
    assert_int_equal(add(agent, "0:agent2:127.0.0.1:22", &rule, &id), CULVERT_ERROR_CLOSED);
    assert_int_equal(agent_remove_forward(agent, id), CULVERT_ERROR_CLOSED);
    agent_free(agent);
}

enum { TURNS = 200, ASKERS = 4 };

static void *ask_again_and_again(void *argument)
{
    struct agent *agent = argument;
    for (int i = 0; i < TURNS; i++) {
        struct rule rule = rule_of("0:agent2:127.0.0.1:22");
        uint64_t id = 0;
        char why[512];
        int error = agent_add_forward(agent, &rule, &id, why, sizeof why);
        if (error == 0)
            error = agent_remove_forward(agent, id);
        if (error == CULVERT_ERROR_CLOSED)
            break;
        if (error != 0)
            return "a forward could not be added and removed";
    }
    return NULL;
}

/* Two agents in one process, each asked by several threads, one of which ends under them. */
static void test_many_threads(void **state)
{
    (void)state;
    struct running running[2];
    pthread_t askers[2][ASKERS];
    struct agent_config config = config_for(NULL, 0);
    for (int i = 0; i < 2; i++) {
        if (i > 0)
            allow_all(&config); /* the first agent has taken its whitelist */
        start(&running[i], &config);
        for (int j = 0; j < ASKERS; j++)
            assert_int_equal(
                pthread_create(&askers[i][j], NULL, ask_again_and_again, running[i].agent), 0);
    }
    agent_stop(running[1].agent, 1);
    for (int i = 0; i < 2; i++) {
        for (int j = 0; j < ASKERS; j++) {
            void *what = NULL;
            assert_int_equal(pthread_join(askers[i][j], &what), 0);
            assert_null(what);
        }
        end(&running[i]);
    }
}

static void test_none_of_the_ports(void **state)
{
    (void)state;
    struct agent_config config = config_for(NULL, 0);
    struct agent *agent = NULL;
    struct agent *other = NULL;
    struct rule rule;
    uint64_t id = 0;
    assert_int_equal(agent_open(&config, &agent), EXIT_CODE_OK);
    assert_int_equal(add(agent, "0:agent2:127.0.0.1:22", &rule, &id), 0);
    config = config_for(&rule, 1);
    assert_int_equal(agent_open(&config, &other), EXIT_CODE_NO_PORT);
    agent_free(agent);
}

static void test_out_of_memory_leaks_nothing(void **state)
{
    (void)state;
    struct rule rule = rule_of("0:agent2:127.0.0.1:22");
    bool is_pending = false;
    for (size_t n = 1; !is_pending; n++) {
        struct agent_config config = config_for(&rule, 1);
        struct agent *agent = NULL;
        memory_fail_after(n);
        int code = agent_open(&config, &agent);
        is_pending = memory_fail_is_pending();
        memory_fail_after(0);
        assert_int_equal(code == EXIT_CODE_OK, agent != NULL);
        assert_true(!is_pending || agent != NULL);
        if (agent != NULL)
            agent_free(agent);
    }
}

/* ---- files ---- */

static char directory[64];
static char path[128];

static int set_up(void **state)
{
    (void)state;
    strcpy(directory, "/tmp/culvert-agent-XXXXXX");
    assert_non_null(mkdtemp(directory));
    snprintf(path, sizeof path, "%s/file", directory);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    unlink(path);
    assert_int_equal(rmdir(directory), 0);
    return 0;
}

static void write_file(const char *text, mode_t mode)
{
    FILE *file = fopen(path, "we");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(chmod(path, mode), 0);
}

/* What agent_open returns with this as its forwards file or (else) its state file. */
static int open_with(const char *text, mode_t mode, bool is_forwards, const char *url_text)
{
    struct agent_config config = config_for(NULL, 0);
    struct agent *agent = NULL;
    struct url url;
    set_url(&config, &url, url_text);
    config.forwards_file = is_forwards ? path : NULL;
    config.state_file = is_forwards ? NULL : path;
    write_file(text, mode);
    int code = agent_open(&config, &agent);
    if (code == EXIT_CODE_OK)
        agent_free(agent);
    return code;
}

#define LOCAL_URL "ws://localhost"
#define FAR_URL   "ws://192.0.2.1"
#define PLAIN     "{\"local\": 0, \"gateway\": \"a\", \"ip\": \"b\", \"remote\": 1}"
#define KEYED     "{\"local\": 0, \"gateway\": \"a\", \"ip\": \"b\", \"remote\": 1, \"key\": \"k\"}"
#define KEPT \
    "{\"id\": 1, \"local\": 0, \"gateway\": \"a\", \"ip\": \"b\", \"remote\": 1, \"key\": \"k\"}"

static void test_a_forwards_file(void **state)
{
    (void)state;
    assert_int_equal(open_with("[]", 0644, true, FAR_URL), EXIT_CODE_OK);
    assert_int_equal(open_with("[" PLAIN "]", 0644, true, FAR_URL), EXIT_CODE_OK);
    assert_int_equal(open_with("[" KEYED "]", 0600, true, LOCAL_URL), EXIT_CODE_OK);
    assert_int_equal(open_with("[" KEYED "]", 0644, true, LOCAL_URL), EXIT_CODE_FAILURE);
    assert_int_equal(open_with("[" PLAIN "]", 0646, true, LOCAL_URL), EXIT_CODE_FAILURE);
    assert_int_equal(open_with("[" KEYED "]", 0600, true, FAR_URL), EXIT_CODE_FAILURE);
    assert_int_equal(open_with("[", 0644, true, FAR_URL), EXIT_CODE_FAILURE);
}

static void test_a_state_file(void **state)
{
    (void)state;
    assert_int_equal(open_with("{\"last_id\": 0, \"forwards\": []}", 0644, false, FAR_URL),
                     EXIT_CODE_OK);
    assert_int_equal(
        open_with("{\"last_id\": 1, \"forwards\": [" KEPT "]}", 0600, false, LOCAL_URL),
        EXIT_CODE_OK);
    assert_int_equal(
        open_with("{\"last_id\": 1, \"forwards\": [" KEPT "]}", 0644, false, LOCAL_URL),
        EXIT_CODE_FAILURE);
    assert_int_equal(open_with("{\"last_id\": 1, \"forwards\": [" KEPT "]}", 0600, false, FAR_URL),
                     EXIT_CODE_FAILURE);
    assert_int_equal(open_with("{\"last_id\": 0, \"forwards\": []}", 0666, false, LOCAL_URL),
                     EXIT_CODE_FAILURE);
    assert_int_equal(open_with("[]", 0600, false, LOCAL_URL), EXIT_CODE_FAILURE);
}

static struct agent *open_with_state(struct running *running)
{
    struct agent_config config = config_for(NULL, 0);
    config.state_file = path;
    start(running, &config);
    return running->agent;
}

static void test_forwards_outlive_their_agent(void **state)
{
    (void)state;
    struct running running;
    struct rule first;
    struct rule second;
    struct rule third;
    uint64_t ids[3] = {0};
    struct agent *agent = open_with_state(&running);
    assert_int_equal(add(agent, "0:agent2:127.0.0.1:22", &first, &ids[0]), 0);
    assert_int_equal(add(agent, "0:k@agent2:127.0.0.1:22", &second, &ids[1]), 0);
    assert_int_equal(add(agent, "0:agent2:127.0.0.1:22", &third, &ids[2]), 0);
    assert_int_equal(agent_remove_forward(agent, ids[0]), 0);
    end(&running);
    agent = open_with_state(&running);
    assert_false(can_connect(first.local_port));
    assert_true(can_connect(second.local_port));
    assert_true(can_connect(third.local_port));
    assert_int_equal(agent_remove_forward(agent, ids[0]), CULVERT_ERROR_NOT_FOUND);
    assert_int_equal(agent_remove_forward(agent, ids[2]), 0);
    assert_int_equal(add(agent, "0:agent2:127.0.0.1:22", &first, &ids[0]), 0);
    assert_true(ids[0] > ids[2]);
    end(&running);
    struct stat status;
    assert_int_equal(stat(path, &status), 0);
    assert_int_equal(status.st_mode & 07777, 0600);
}

static void test_a_kept_forward_whose_port_is_taken(void **state)
{
    (void)state;
    struct running running;
    struct running other;
    struct rule rule;
    struct rule taken;
    char text[64];
    uint64_t id = 0;
    uint64_t other_id = 0;
    struct agent *agent = open_with_state(&running);
    assert_int_equal(add(agent, "0:agent2:127.0.0.1:22", &rule, &id), 0);
    end(&running);
    struct agent_config config = config_for(NULL, 0);
    start(&other, &config);
    snprintf(text, sizeof text, "%u:agent3:127.0.0.1:22", rule.local_port);
    assert_int_equal(add(other.agent, text, &taken, &other_id), 0);
    agent = open_with_state(&running);
    end(&other);
    assert_false(can_connect(rule.local_port));
    assert_int_equal(add(agent, text, &taken, &other_id), CULVERT_ERROR_EXISTS);
    end(&running);
    agent = open_with_state(&running);
    assert_true(can_connect(rule.local_port));
    assert_int_equal(agent_remove_forward(agent, id), 0);
    assert_int_equal(add(agent, text, &taken, &other_id), 0);
    end(&running);
}

/* A directory that cannot be written to is no obstacle to root; one that is gone is to everyone. */
static void test_a_state_that_cannot_be_written(void **state)
{
    (void)state;
    struct agent_config config = config_for(NULL, 0);
    struct agent *agent = NULL;
    struct rule rule;
    uint64_t id = 0;
    config.state_file = path;
    assert_int_equal(agent_open(&config, &agent), EXIT_CODE_OK);
    assert_int_equal(add(agent, "0:agent2:127.0.0.1:22", &rule, &id), 0);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(rmdir(directory), 0);
    uint16_t port = rule.local_port;
    assert_int_equal(add(agent, "0:agent2:127.0.0.1:22", &rule, &id), CULVERT_ERROR_STORE);
    assert_int_equal(agent_remove_forward(agent, id), CULVERT_ERROR_STORE);
    assert_false(can_connect(port));
    agent_free(agent);
    config = config_for(NULL, 0);
    config.state_file = path;
    assert_int_equal(agent_open(&config, &agent), EXIT_CODE_FAILURE);
    assert_int_equal(mkdir(directory, 0700), 0);
}

static void test_no_more_than_the_most(void **state)
{
    (void)state;
    struct agent_config config = config_for(NULL, 0);
    struct agent *agent = NULL;
    struct rule rule;
    uint64_t id = 0;
    struct rlimit limit = {0};
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    limit.rlim_cur = limit.rlim_max;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
    if (limit.rlim_max < 4096)
        skip();
    assert_int_equal(agent_open(&config, &agent), EXIT_CODE_OK);
    for (int i = 0; i < 1024; i++)
        assert_int_equal(add(agent, "127.0.0.1:0:agent2:127.0.0.1:22", &rule, &id), 0);
    assert_int_equal(add(agent, "0:agent2:127.0.0.1:22", &rule, &id), CULVERT_ERROR_LIMIT);
    assert_int_equal(agent_remove_forward(agent, id), 0);
    assert_int_equal(add(agent, "0:agent2:127.0.0.1:22", &rule, &id), 0);
    agent_free(agent);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_forwards_come_and_go),
        cmocka_unit_test(test_a_port_that_is_taken),
        cmocka_unit_test(test_a_rule_that_cannot_be),
        cmocka_unit_test(test_a_key_does_not_cross_a_plain_network),
        cmocka_unit_test(test_before_it_runs_and_after_it_has_run),
        cmocka_unit_test(test_many_threads),
        cmocka_unit_test(test_none_of_the_ports),
        cmocka_unit_test(test_out_of_memory_leaks_nothing),
        cmocka_unit_test_setup_teardown(test_a_forwards_file, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_state_file, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_forwards_outlive_their_agent, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_kept_forward_whose_port_is_taken, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_state_that_cannot_be_written, set_up, tear_down),
        cmocka_unit_test(test_no_more_than_the_most),
    };
    log_init(LOG_ERROR, LOG_TEXT, "test");
    return cmocka_run_group_tests(tests, NULL, NULL);
}
