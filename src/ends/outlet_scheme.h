/* What each kind of outlet implements: one file a kind. */
#ifndef ENDS_OUTLET_SCHEME_H
#define ENDS_OUTLET_SCHEME_H

#include "ends/outlet.h"

/* As outlet_dial. */
typedef int outlet_dialler(struct loop *loop, const struct outlet_target *target,
                           const struct whitelist *whitelist, struct stream **stream);

int outlet_tcp_dial(struct loop *loop, const struct outlet_target *target,
                    const struct whitelist *whitelist, struct stream **stream);

#endif
