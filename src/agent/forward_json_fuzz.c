/* Whatever stands in a request, a forwards file or a state file: what is taken is encoded, decoded
 * again and must be the same. The first byte chooses. */
#include "agent/forward_json.h"

#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_rule(const struct rule *rule)
{
    struct rule again;
    struct forward_json_problem problem = {.field = ""};
    json_t *json = forward_json_encode(rule, rule->local_port);
    assert(json != NULL);
    int error = forward_json_decode(json, &again, &problem);
    assert(error == 0 && rule_equals(rule, &again));
    json_decref(json);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct forward_list list = {0};
    char why[256] = "";
    if (size == 0)
        return 0;
    const char *text = (const char *)data + 1;
    int error = data[0] % 2 == 0
                    ? forward_list_decode(text, size - 1, &list, why, sizeof why)
                    : forward_list_decode_state(text, size - 1, &list, why, sizeof why);
    assert(error <= 0 && (error == 0) == (why[0] == '\0'));
    for (size_t i = 0; i < list.count; i++) {
        check_rule(&list.items[i].rule);
        assert(list.items[i].id <= list.last_id);
    }
    forward_list_deinit(&list);
    return 0;
}
