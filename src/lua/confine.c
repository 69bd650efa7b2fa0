#include "lua/confine.h"

#include "base/error.h"
#include "base/log.h"
#include "lua/landlock.h"
#include "lua/sanitized.h"
#include "lua/syscall_filter.h"

#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

enum {
    CORE = 1, /* too little for a core file; 0 would let a program still be sent one (core(5)) */
    DESCRIPTORS = 256,
    THREAD_STACK = 256 * 1024, /* of libcurl's threads for look-ups */
    /* LuaJIT limits its own stack, but not the C stack, on which functions such as string.gsub
     * recurse. The kernel reserves at least 128 MiB for it. */
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
    /* Cannot fail: no limit is raised above the old maximum. */
    (void)setrlimit((__rlimit_resource_t)resource, &limits);
}

/* Changes the groups first, while the process may. */
static int change_user(const struct worker_user *user, char *why, size_t why_size)
{
    if (!user->is_other ||
        (setgroups(0, NULL) == 0 && setresgid(user->group, user->group, user->group) == 0 &&
         setresuid(user->user, user->user, user->user) == 0))
        return 0;
    int error = -errno;
    snprintf(why, why_size, "its process cannot run as user %u and group %u: %s",
             (unsigned)user->user, (unsigned)user->group, error_text(error));
    return error;
}

/* Drops those of root, and those that a service manager gave to a user. */
static void drop_capabilities(void)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    static const struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3];
    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
    if (syscall(SYS_capset, &header, none) != 0)
        perror("culvert lua-worker: capset");
}

/* If the kernel lacks one of these, the others still apply (confine_tell_missing). */
static void apply_kernel_rules(void)
{
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
#ifndef IS_COVERAGE
    (void)landlock_apply();
#endif
    (void)syscall_filter_apply();
}

static void set_limits(void)
{
    limit(RLIMIT_STACK, STACK);
    limit(RLIMIT_CORE, CORE);
    limit(RLIMIT_NOFILE, DESCRIPTORS);
#ifndef IS_COVERAGE
    limit(RLIMIT_FSIZE, 0);
#endif
}

/* Under a sanitizer a thread's variables may take more than THREAD_STACK. */
static void set_thread_stack(void)
{
#ifndef IS_SANITIZED
    pthread_attr_t attributes;
    if (pthread_attr_init(&attributes) == 0) {
        pthread_attr_setstacksize(&attributes, THREAD_STACK);
        pthread_setattr_default_np(&attributes);
        pthread_attr_destroy(&attributes);
    }
#endif
}

int confine_process(int last, const struct worker_user *user, char *why, size_t why_size)
{
    /* SIGXFSZ: if the log is a file the process cannot write to it, but must not end because of it.
     */
    static const int ignored[] = {SIGINT, SIGTERM, SIGHUP, SIGPIPE, SIGXFSZ};
    for (size_t i = 0; i < sizeof ignored / sizeof *ignored; i++)
        signal(ignored[i], SIG_IGN);
    closefrom(last + 1);
    if (setpriority(PRIO_PROCESS, 0, NICENESS) != 0 || chdir("/") != 0)
        perror("culvert lua-worker");
    set_limits();
    set_thread_stack();
    int error = change_user(user, why, why_size);
    if (error != 0)
        return error;
    drop_capabilities();
    /* A change of the user resets this. */
    prctl(PR_SET_PDEATHSIG, SIGKILL);
#ifdef IS_SANITIZED
    prctl(PR_SET_DUMPABLE, 1, 0, 0, 0); /* also reset; the leak checker needs it */
#endif
    apply_kernel_rules();
    return 0;
}

void confine_tell_missing(void)
{
    if (!landlock_is_available())
        log_debug("the script's processes run without Landlock, which this kernel does not have");
    if (!syscall_filter_is_available())
        log_debug("the script's processes run without a filter of system calls, which this kernel "
                  "does not have");
}

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
