#include "base/reason.h"

const char *reason_text(int code)
{
    switch ((enum reason_code)code) {
    case REASON_NONE:
        return "ended";
    case REASON_RESET:
        return "connection reset";
    case REASON_FORBIDDEN:
        return "forbidden by the gateway's policy";
    case REASON_UNKNOWN_AGENT:
        return "no agent with this name is connected";
    case REASON_DIAL_REFUSED:
        return "connection refused by the target";
    case REASON_UNREACHABLE:
        return "the target cannot be reached";
    case REASON_TIMED_OUT:
        return "no answer in time";
    case REASON_RESOLVE:
        return "the target's name has no address";
    case REASON_PROTOCOL:
        return "a rule of the protocol was broken";
    case REASON_NO_MEMORY:
        return "out of memory";
    case REASON_LIMIT:
        return "too many sessions";
    case REASON_LINK_LOST:
        return "a link on the way was lost";
    case REASON_SHUTDOWN:
        return "a process on the way is stopping";
    case REASON_UNSUPPORTED:
        return "the far end does not know this kind of target";
    case REASON_NAME_TAKEN:
        return "another agent has this name";
    case REASON_POLICY_FAILED:
        return "the policy could not be asked";
    case REASON_CLOSED:
        return "closed by the peer";
    case REASON_NOT_TAKEN:
        return "data before a reset was not taken in time";
    case REASON_NOT_ALLOWED:
        return "the dialling agent's allowlist does not allow this target";
    }
    return "unknown reason";
}

bool reason_is_immediate(int code)
{
    switch (code) {
    case REASON_FORBIDDEN:
    case REASON_PROTOCOL:
    case REASON_NO_MEMORY:
    case REASON_LIMIT:
    case REASON_SHUTDOWN:
    case REASON_NAME_TAKEN:
    case REASON_POLICY_FAILED:
    case REASON_NOT_TAKEN:
    case REASON_NOT_ALLOWED:
        return true;
    default:
        return false;
    }
}
