#include "cli/common.h"

#include "base/error.h"
#include "base/str.h"
#include "net/machine.h"

#include <stdio.h>

void common_settings_init(struct common_settings *settings)
{
    *settings = (struct common_settings){LOG_INFO, LOG_TEXT, machine_half_memory()};
}

int common_take_log_level(void *settings, const char *value, char *why)
{
    struct common_settings *common = settings;
    int error = log_parse_level(value, &common->log_level);
    if (error != 0)
        snprintf(why, OPTIONS_WHY_SIZE, "\"%.100s\" is not a level: debug, info, warning or error",
                 value);
    return error;
}

int common_take_log_format(void *settings, const char *value, char *why)
{
    struct common_settings *common = settings;
    int error = log_parse_format(value, &common->log_format);
    if (error != 0)
        snprintf(why, OPTIONS_WHY_SIZE, "\"%.100s\" is not a format: text or json", value);
    return error;
}

int common_take_max_memory(void *settings, const char *value, char *why)
{
    struct common_settings *common = settings;
    size_t bytes = 0;
    int error = str_parse_size(value, &bytes);
    if (error != 0) {
        snprintf(why, OPTIONS_WHY_SIZE, "\"%.100s\" is not a size such as 512M or 2G", value);
        return error;
    }
    if (bytes < MACHINE_MEMORY_MIN) {
        snprintf(why, OPTIONS_WHY_SIZE, "%.100s is too little; 16M is the least", value);
        return CULVERT_ERROR_INVALID;
    }
    common->max_memory = bytes;
    return 0;
}
