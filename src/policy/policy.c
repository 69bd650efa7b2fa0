#include "policy/policy.h"

#include <stdarg.h>
#include <stdio.h>

static void set(struct policy_verdict *verdict, bool allowed, bool failed, const char *reason,
                va_list arguments)
{
    verdict->allowed = allowed;
    verdict->failed = failed;
    vsnprintf(verdict->reason, sizeof(verdict->reason), reason, arguments);
}

void policy_allow(struct policy_verdict *verdict, const char *reason, ...)
{
    va_list arguments;
    va_start(arguments, reason);
    set(verdict, true, false, reason, arguments);
    va_end(arguments);
}

void policy_refuse(struct policy_verdict *verdict, const char *reason, ...)
{
    va_list arguments;
    va_start(arguments, reason);
    set(verdict, false, false, reason, arguments);
    va_end(arguments);
}

void policy_fail(struct policy_verdict *verdict, const char *reason, ...)
{
    va_list arguments;
    va_start(arguments, reason);
    set(verdict, false, true, reason, arguments);
    va_end(arguments);
}

bool policy_matches(const char *pattern, const char *value)
{
    size_t work = 0;
    return policy_match(pattern, value, &work);
}

bool policy_match(const char *pattern, const char *value, size_t *work)
{
    const char *star = NULL; /* behind the last `*` */
    const char *mark = NULL; /* how much of the value that one stands for */
    while (*value != '\0') {
        ++*work;
        if (*pattern == '*') {
            star = ++pattern;
            mark = value;
            if (*star == '\0')
                return true;
        } else if (*pattern == '?' || *pattern == *value) {
            pattern++;
            value++;
        } else if (star != NULL) {
            pattern = star;
            value = ++mark;
        } else {
            return false;
        }
    }
    while (*pattern == '*')
        pattern++;
    return *pattern == '\0';
}
