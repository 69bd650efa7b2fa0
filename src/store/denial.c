#include "store/store.h"

const char *store_denial_text(enum store_denial denial)
{
    switch (denial) {
    case STORE_KEY_MISSING:
        return "the agent sent no key";
    case STORE_KEY_UNKNOWN:
        return "the key is none of this name's: it is mistyped, of another store, or was revoked "
               "long ago";
    case STORE_NAME_UNKNOWN:
        return "the store knows neither the name nor the key: the name is mistyped, or the key is "
               "of another store";
    case STORE_KEY_OF_OTHER:
        return "the key belongs to another name";
    case STORE_KEY_EXPIRED:
        return "the key has expired: it was rotated, and its grace is over";
    case STORE_KEY_REVOKED:
        return "the key was revoked";
    }
    return "the key is refused";
}
