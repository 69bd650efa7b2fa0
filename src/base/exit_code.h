/* The exit codes of `culvert`, documented in culvert(1). */
#ifndef BASE_EXIT_CODE_H
#define BASE_EXIT_CODE_H

enum exit_code {
    EXIT_CODE_OK = 0,
    EXIT_CODE_FAILURE = 1, /* anything that is not below */
    EXIT_CODE_USAGE = 2,   /* a wrong option, argument or combination */
    EXIT_CODE_REFUSED = 3, /* the gateway refused the agent's key or name at start, or `acl test`:
                              the rules do not allow the session */
    EXIT_CODE_NO_PORT = 4, /* a port to listen on could not be opened; an agent: none of
                              them */
};

#endif
