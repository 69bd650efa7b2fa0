#include "codec/http_date.h"

#include "base/error.h"

#include <stdbool.h>
#include <string.h>

struct date {
    unsigned year, month, day, hour, minute, second;
};

/* ---- pieces; each moves the text's beginning when it matches ---- */

static bool take_word(struct text *text, const char *word)
{
    size_t size = strlen(word);
    if (text->size < size || memcmp(text->data, word, size) != 0)
        return false;
    text->data += size;
    text->size -= size;
    return true;
}

/* The index of the one of the words with which the text begins; -1: none. */
static int take_one_of(struct text *text, const char *const *words, int count)
{
    for (int i = 0; i < count; i++) {
        if (take_word(text, words[i]))
            return i;
    }
    return -1;
}

static bool take_digits(struct text *text, size_t count, unsigned *number)
{
    uint64_t value = 0;
    if (text->size < count || str_parse_number((struct text){text->data, count}, 9999, &value) != 0)
        return false;
    *number = (unsigned)value;
    text->data += count;
    text->size -= count;
    return true;
}

static bool take_month(struct text *text, unsigned *month)
{
    static const char *const names[] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                        "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
    int index = take_one_of(text, names, 12);
    *month = (unsigned)(index + 1);
    return index >= 0;
}

static bool take_time(struct text *text, struct date *date)
{
    return take_digits(text, 2, &date->hour) && take_word(text, ":") &&
           take_digits(text, 2, &date->minute) && take_word(text, ":") &&
           take_digits(text, 2, &date->second);
}

/* ---- the three forms, after the day of the week ---- */

/* " 06 Nov 1994 08:49:37 GMT" */
static bool read_fixed(struct text text, struct date *date)
{
    return take_word(&text, ", ") && take_digits(&text, 2, &date->day) && take_word(&text, " ") &&
           take_month(&text, &date->month) && take_word(&text, " ") &&
           take_digits(&text, 4, &date->year) && take_word(&text, " ") && take_time(&text, date) &&
           text_equals(text, " GMT");
}

/* " 06-Nov-94 08:49:37 GMT" */
static bool read_rfc850(struct text text, struct date *date)
{
    bool is_read = take_word(&text, ", ") && take_digits(&text, 2, &date->day) &&
                   take_word(&text, "-") && take_month(&text, &date->month) &&
                   take_word(&text, "-") && take_digits(&text, 2, &date->year) &&
                   take_word(&text, " ") && take_time(&text, date) && text_equals(text, " GMT");
    if (is_read)
        date->year += date->year < 70 ? 2000 : 1900;
    return is_read;
}

/* " Nov  6 08:49:37 1994" */
static bool read_asctime(struct text text, struct date *date)
{
    return take_word(&text, " ") && take_month(&text, &date->month) && take_word(&text, " ") &&
           (take_word(&text, " ") ? take_digits(&text, 1, &date->day)
                                  : take_digits(&text, 2, &date->day)) &&
           take_word(&text, " ") && take_time(&text, date) && take_word(&text, " ") &&
           take_digits(&text, 4, &date->year) && text.size == 0;
}

static bool read_form(struct text text, struct date *date)
{
    static const char *const long_days[] = {"Monday", "Tuesday",  "Wednesday", "Thursday",
                                            "Friday", "Saturday", "Sunday"};
    static const char *const days[] = {"Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"};
    if (take_one_of(&text, long_days, 7) >= 0)
        return read_rfc850(text, date);
    if (take_one_of(&text, days, 7) < 0)
        return false;
    return text.size > 0 && text.data[0] == ',' ? read_fixed(text, date) : read_asctime(text, date);
}

/* ---- the calendar ---- */

static bool is_leap(unsigned year)
{
    return (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
}

static unsigned days_of_month(unsigned year, unsigned month)
{
    static const unsigned days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    return days[month - 1] + (month == 2 && is_leap(year) ? 1 : 0);
}

/* A second of 60 is a leap second. */
static bool is_possible(const struct date *date)
{
    return date->year >= 1970 && date->day >= 1 &&
           date->day <= days_of_month(date->year, date->month) && date->hour < 24 &&
           date->minute < 60 && date->second <= 60;
}

static int64_t days_before_year(unsigned year)
{
    int64_t before = (int64_t)year - 1;
    return before * 365 + before / 4 - before / 100 + before / 400;
}

int http_date_parse(struct text text, int64_t *seconds)
{
    struct date date = {0};
    if (!read_form(text, &date) || !is_possible(&date))
        return CULVERT_ERROR_INVALID;
    int64_t days = days_before_year(date.year) - days_before_year(1970) + date.day - 1;
    for (unsigned month = 1; month < date.month; month++)
        days += days_of_month(date.year, month);
    *seconds = ((days * 24 + date.hour) * 60 + date.minute) * 60 + date.second;
    return 0;
}
