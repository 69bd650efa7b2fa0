#include "lua/confine.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

enum {
    DESCRIPTORS = 256,
    THREAD_STACK = 256 * 1024, /* of those that look up names for libcurl */
    /* LuaJIT bounds its own stack and not C's, which functions like string.gsub go back to; the
     * kernel leaves at least 128 MiB for it. */
    STACK = 112 * 1024 * 1024,
    NICENESS = 5, /* a busy script must not take the processor from the gateway */
    LIBRARIES = 64 * 1024 * 1024,
};

static void limit(int resource, rlim_t most)
{
    struct rlimit limits = {.rlim_cur = most, .rlim_max = most};
    struct rlimit old;
    if (getrlimit((__rlimit_resource_t)resource, &old) == 0 && old.rlim_max < most)
        limits.rlim_cur = limits.rlim_max = old.rlim_max;
    /* To have less than what is asked for is all that can go wrong. */
    (void)setrlimit((__rlimit_resource_t)resource, &limits);
}

void confine_process(int last)
{
    static const int ignored[] = {SIGINT, SIGTERM, SIGHUP, SIGPIPE};
    pthread_attr_t attributes;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    for (size_t i = 0; i < sizeof ignored / sizeof *ignored; i++)
        signal(ignored[i], SIG_IGN);
    closefrom(last + 1);
    limit(RLIMIT_STACK, STACK);
    limit(RLIMIT_CORE, 0);
    limit(RLIMIT_NOFILE, DESCRIPTORS);
    if (setpriority(PRIO_PROCESS, 0, NICENESS) != 0 || chdir("/") != 0)
        perror("culvert lua-worker");
    if (pthread_attr_init(&attributes) == 0) {
        pthread_attr_setstacksize(&attributes, THREAD_STACK);
        pthread_setattr_default_np(&attributes);
        pthread_attr_destroy(&attributes);
    }
}

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define IS_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define IS_SANITIZED 1
#endif
#endif

#ifdef IS_SANITIZED
void confine_memory(size_t memory)
{
    (void)memory;
}
#else
enum { STATM_SIZE = 256, STATM_DATA = 6 };

/* Bytes of data and stack, as RLIMIT_DATA counts them (proc(5), statm). */
static size_t data_size(void)
{
    char line[STATM_SIZE] = "";
    unsigned long long pages = 0;
    FILE *file = fopen("/proc/self/statm", "re");
    if (file == NULL)
        return 0;
    if (fgets(line, sizeof line, file) != NULL) {
        char *place = line;
        for (int field = 1; field <= STATM_DATA; field++)
            pages = strtoull(place, &place, 10);
    }
    fclose(file);
    return (size_t)pages * (size_t)sysconf(_SC_PAGESIZE);
}

void confine_memory(size_t memory)
{
    limit(RLIMIT_DATA, (rlim_t)data_size() + memory + LIBRARIES);
}
#endif
