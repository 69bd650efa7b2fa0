#include "ends/outlet.h"

#include "base/error.h"
#include "ends/outlet_scheme.h"

#include <string.h>

static const struct {
    const char *kind;
    outlet_dialler *dial;
} schemes[] = {
    {"tcp", outlet_tcp_dial},
};

int outlet_dial(struct loop *loop, const struct outlet_target *target,
                const struct whitelist *whitelist, struct stream **stream)
{
    for (size_t i = 0; i < sizeof(schemes) / sizeof(schemes[0]); i++) {
        if (strcmp(schemes[i].kind, target->kind) == 0)
            return schemes[i].dial(loop, target, whitelist, stream);
    }
    return CULVERT_ERROR_UNSUPPORTED;
}
