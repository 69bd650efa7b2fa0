#include "codec/http_date.h"

#include "base/error.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

static int64_t read_date(const char *text)
{
    int64_t seconds = -1;
    assert_int_equal(http_date_parse(text_of(text), &seconds), 0);
    return seconds;
}

static void test_the_three_forms(void **state)
{
    (void)state;
    assert_int_equal(read_date("Sun, 06 Nov 1994 08:49:37 GMT"), 784111777);
    assert_int_equal(read_date("Sunday, 06-Nov-94 08:49:37 GMT"), 784111777);
    assert_int_equal(read_date("Sun Nov  6 08:49:37 1994"), 784111777);
    assert_int_equal(read_date("Wed Nov 16 08:49:37 1994"), 784975777);
    assert_int_equal(read_date("Friday, 01-Jan-70 00:00:00 GMT"), 0);
    assert_int_equal(read_date("Tuesday, 31-Dec-69 23:59:60 GMT"), 3155760000);
}

/* As the C library counts, over 400 years. */
static void test_the_calendar(void **state)
{
    (void)state;
    for (time_t when = 0; when < (time_t)400 * 366 * 86400; when += 86400 * 13 + 3601) {
        char text[64];
        struct tm parts;
        assert_non_null(gmtime_r(&when, &parts));
        assert_true(strftime(text, sizeof text, "%a, %d %b %Y %H:%M:%S GMT", &parts) > 0);
        assert_int_equal(read_date(text), when);
    }
}

static void test_what_is_no_date(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "",
        "120",
        "Sun",
        "Sun, 06 Nov 1994 08:49:37",
        "Sun, 06 Nov 1994 08:49:37 UTC",
        "Sun, 06 Nov 1994 08:49:37 GMT ",
        "sun, 06 nov 1994 08:49:37 gmt",
        "Sun, 6 Nov 1994 08:49:37 GMT",
        "Sun, 31 Nov 1994 08:49:37 GMT",
        "Sun, 00 Nov 1994 08:49:37 GMT",
        "Sun, 29 Feb 1900 08:49:37 GMT",
        "Sun, 29 Feb 2100 08:49:37 GMT",
        "Sun, 06 Nov 1994 24:49:37 GMT",
        "Sun, 06 Nov 1994 08:60:37 GMT",
        "Sun, 06 Nov 1994 08:49:61 GMT",
        "Sun, 06 Nov 1994 08:49:+7 GMT",
        "Sun, 06-Nov-94 08:49:37 GMT",
        "Sunday, 06 Nov 1994 08:49:37 GMT",
        "Sun Nov 6 08:49:37 1994",
        "Sun Nov  6 08:49:37 1994 GMT",
    };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        int64_t seconds = 0;
        assert_int_equal(http_date_parse(text_of(texts[i]), &seconds), CULVERT_ERROR_INVALID);
    }
}

/* No byte behind the text is looked at. */
static void test_each_length(void **state)
{
    (void)state;
    static const char *const texts[] = {"Sun, 06 Nov 1994 08:49:37 GMT",
                                        "Sunday, 06-Nov-94 08:49:37 GMT",
                                        "Sun Nov  6 08:49:37 1994"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        for (size_t size = 0; size < strlen(texts[i]); size++) {
            int64_t seconds = 0;
            assert_int_equal(http_date_parse((struct text){texts[i], size}, &seconds),
                             CULVERT_ERROR_INVALID);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_three_forms),
        cmocka_unit_test(test_the_calendar),
        cmocka_unit_test(test_what_is_no_date),
        cmocka_unit_test(test_each_length),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
