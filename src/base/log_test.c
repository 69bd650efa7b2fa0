#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/error.h"
#include "base/log.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* Standard error is a datagram socket meanwhile, so that each write(2) is told from the next. */
struct capture {
    int saved;
    int end[2];
    char line[16384];
};

static int set_up(void **state)
{
    static struct capture capture;
    *state = &capture;
    capture.saved = dup(STDERR_FILENO);
    if (capture.saved < 0 || socketpair(AF_UNIX, SOCK_DGRAM, 0, capture.end) != 0)
        return -1;
    return dup2(capture.end[0], STDERR_FILENO) < 0 ? -1 : 0;
}

static int tear_down(void **state)
{
    struct capture *capture = *state;
    dup2(capture->saved, STDERR_FILENO);
    close(capture->saved);
    close(capture->end[0]);
    close(capture->end[1]);
    return 0;
}

static const char *next_line(struct capture *capture)
{
    ssize_t size = recv(capture->end[1], capture->line, sizeof(capture->line) - 1, MSG_DONTWAIT);
    if (size < 0)
        return NULL;
    capture->line[size] = '\0';
    return capture->line;
}

static bool matches(const char *text, const char *pattern)
{
    for (; *pattern != '\0'; text++, pattern++) {
        bool digit = *text >= '0' && *text <= '9';
        if (*pattern == '#' ? !digit : *pattern != *text)
            return false;
    }
    return *text == '\0';
}

static void text_has_its_form(void **state)
{
    log_init(LOG_INFO, LOG_TEXT, "gateway");
    errno = ENOENT;
    log_info("listening on %s:%d", "127.0.0.1", 8080);
    assert_int_equal(errno, ENOENT);
    assert_true(matches(next_line(*state),
                        "####-##-##T##:##:##.###Z INFO gateway: listening on 127.0.0.1:8080\n"));
    assert_null(next_line(*state));
}

static void a_level_hides_what_is_below(void **state)
{
    log_init(LOG_INFO, LOG_TEXT, "agent");
    log_set_level(LOG_WARNING);
    log_debug("no");
    log_info("no");
    assert_null(next_line(*state));
    log_warning("yes");
    log_error("yes");
    assert_true(matches(next_line(*state), "####-##-##T##:##:##.###Z WARNING agent: yes\n"));
    assert_true(matches(next_line(*state), "####-##-##T##:##:##.###Z ERROR agent: yes\n"));
}

static void json_is_escaped(void **state)
{
    log_init(LOG_DEBUG, LOG_JSON, "agent");
    log_debug("say \"hi\" \\ \n\t\x1b[31m \x7f \xc3\xa4 \xff \xc2\x9b.");
    assert_true(matches(next_line(*state),
                        "{\"time\":\"####-##-##T##:##:##.###Z\",\"level\":\"debug\","
                        "\"component\":\"agent\",\"message\":\"say \\\"hi\\\" \\\\ \\n\\t"
                        "\\u001b[31m \\u007f \xc3\xa4 \\ufffd \\u009b.\"}\n"));
}

static void text_is_escaped(void **state)
{
    log_init(LOG_DEBUG, LOG_TEXT, "agent");
    log_debug("a\nb\x1b[31m \xc2\x9b \xe2\x82\xac \xe2\x82 \xed\xa0\x80 \\ \"");
    assert_true(matches(next_line(*state),
                        "####-##-##T##:##:##.###Z DEBUG agent: a\\nb\\x1b[31m \\x9b "
                        "\xe2\x82\xac \\xe2\\x82 \\xed\\xa0\\x80 \\ \"\n"));
}

static void separators_and_directions_are_escaped(void **state)
{
    log_init(LOG_DEBUG, LOG_TEXT, "agent");
    log_debug("\xe2\x80\xa7 \xe2\x80\xa8 \xe2\x80\xa9 \xe2\x80\xae \xe2\x80\xaf \xe2\x81\xa6 "
              "\xe2\x81\xa9 \xe2\x80\x8f \xd8\x9c \xf0\x9f\x98\x80");
    assert_true(
        matches(next_line(*state),
                "####-##-##T##:##:##.###Z DEBUG agent: \xe2\x80\xa7 \\u2028 \\u2029 \\u202e "
                "\xe2\x80\xaf \\u2066 \\u2069 \\u200f \\u061c \xf0\x9f\x98\x80\n"));
    log_init(LOG_DEBUG, LOG_JSON, "agent");
    log_debug("\xe2\x80\xa8");
    assert_non_null(strstr(next_line(*state), "\"message\":\"\\u2028\""));
}

static void a_long_entry_is_cut(void **state)
{
    static char text[5000];
    log_init(LOG_INFO, LOG_JSON, "agent");
    memset(text, 1, sizeof(text) - 1);
    log_info("%s", text);
    const char *line = next_line(*state);
    assert_non_null(line);
    assert_in_range(strlen(line), 6 * 1023, 6 * 1023 + 256);
    assert_string_equal(line + strlen(line) - 3, "\"}\n");
}

static void names_of_levels_and_formats(void **state)
{
    (void)state;
    enum log_level level;
    enum log_format format;
    assert_int_equal(log_parse_level("debug", &level), 0);
    assert_int_equal(level, LOG_DEBUG);
    assert_int_equal(log_parse_level("warn", &level), 0);
    assert_int_equal(level, LOG_WARNING);
    assert_int_equal(log_parse_level("warning", &level), 0);
    assert_int_equal(log_parse_level("error", &level), 0);
    assert_int_equal(level, LOG_ERROR);
    assert_int_equal(log_parse_level("", &level), CULVERT_ERROR_INVALID);
    assert_int_equal(log_parse_level("INFO", &level), CULVERT_ERROR_INVALID);
    assert_int_equal(log_parse_format("json", &format), 0);
    assert_int_equal(format, LOG_JSON);
    assert_int_equal(log_parse_format("text", &format), 0);
    assert_int_equal(format, LOG_TEXT);
    assert_int_equal(log_parse_format("xml", &format), CULVERT_ERROR_INVALID);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

static struct {
    enum log_level level;
    char message[64];
    bool takes;
} received;

static bool receive(enum log_level level, const char *message)
{
    received.level = level;
    snprintf(received.message, sizeof(received.message), "%s", message);
    return received.takes;
}

static void a_receiver_may_take_an_entry(void **state)
{
    log_init(LOG_INFO, LOG_JSON, "agent");
    log_set_receiver(receive);
    received.takes = true;
    log_warning("a \"b\"\x1b");
    assert_int_equal(received.level, LOG_WARNING);
    assert_string_equal(received.message, "a \"b\"\\x1b");
    assert_null(next_line(*state));
    log_debug("below the level");
    assert_string_equal(received.message, "a \"b\"\\x1b");
    log_info("%s", "");
    assert_string_equal(received.message, "");
    received.takes = false;
    log_error("left");
    assert_string_equal(received.message, "left");
    assert_non_null(strstr(next_line(*state), "\"message\":\"left\""));
    log_set_receiver(NULL);
    log_error("nobody");
    assert_string_equal(received.message, "left");
    assert_non_null(next_line(*state));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(text_has_its_form),
        TEST(a_level_hides_what_is_below),
        TEST(json_is_escaped),
        TEST(text_is_escaped),
        TEST(separators_and_directions_are_escaped),
        TEST(a_long_entry_is_cut),
        TEST(a_receiver_may_take_an_entry),
        cmocka_unit_test(names_of_levels_and_formats),
    };
    return cmocka_run_group_tests_name("log", tests, NULL, NULL);
}
