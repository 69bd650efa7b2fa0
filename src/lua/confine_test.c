#include "lua/confine.h"

#include "base/error.h"
#include "lua/landlock.h"
#include "lua/sanitized.h"
#include "lua/syscall_filter.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

enum { REPORT = 3 /* the descriptor that a confined process keeps */, NOBODY = 65534 };

static char directory[64];
static char secret[80];  /* of root, or of this user */
static char scratch[80]; /* that everybody may write */

static void make_file(const char *path, mode_t mode)
{
    int file = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    assert_true(file >= 0);
    assert_int_equal(write(file, "x", 1), 1);
    assert_int_equal(fchmod(file, mode), 0);
    close(file);
}

static int set_up(void **state)
{
    (void)state;
    strcpy(directory, "/tmp/culvert-confine-XXXXXX");
    assert_non_null(mkdtemp(directory));
    assert_int_equal(chmod(directory, 01777), 0);
    snprintf(secret, sizeof secret, "%s/secret", directory);
    snprintf(scratch, sizeof scratch, "%s/scratch", directory);
    make_file(secret, 0600);
    make_file(scratch, 0666);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    unlink(secret);
    unlink(scratch);
    return rmdir(directory);
}

/* Runs in the confined process: 0 if all is as it should be, else the line where it is not. */
typedef int attempt(void);

#define EXPECT(condition)    \
    do {                     \
        if (!(condition))    \
            return __LINE__; \
    } while (false)

static void run_confined(attempt *attempts)
{
    int pair[2];
    int line = -1;
    assert_int_equal(pipe(pair), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        struct worker_user user = {.is_other = false};
        char why[256] = "";
        if (dup2(pair[1], REPORT) != REPORT ||
            worker_user_find(NULL, &user, why, sizeof why) != 0 ||
            confine_process(REPORT, &user, why, sizeof why) != 0)
            _exit(2);
        line = attempts();
        _exit(write(REPORT, &line, sizeof line) == sizeof line ? 0 : 3);
    }
    close(pair[1]);
    assert_int_equal(read(pair[0], &line, sizeof line), sizeof line);
    close(pair[0]);
    assert_int_equal(waitpid(child, NULL, 0), child);
    if (line != 0)
        fail_msg("line %d is not as it should be", line);
}

static bool fails_with(long result, int error)
{
    return result == -1 && errno == error;
}

/* ---- files ---- */

static int try_files(void)
{
    char path[sizeof directory + 8];
    char byte;
    snprintf(path, sizeof path, "%s/new", directory);
    int file = open(scratch, O_WRONLY | O_CLOEXEC);
    EXPECT(file < 0 || fails_with(write(file, "y", 1), EFBIG));
    if (landlock_is_available()) {
        EXPECT(fails_with(open(scratch, O_WRONLY | O_CLOEXEC), EACCES));
        EXPECT(fails_with(open(scratch, O_RDWR | O_TRUNC | O_CLOEXEC), EACCES));
        EXPECT(fails_with(open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600), EACCES));
        EXPECT(fails_with(mkdir(path, 0700), EACCES));
        EXPECT(fails_with(symlink("/", path), EACCES));
        EXPECT(fails_with(unlink(scratch), EACCES));
    }
    /* What libraries and name services read. */
    file = open("/etc/passwd", O_RDONLY | O_CLOEXEC);
    EXPECT(file >= 0 && read(file, &byte, 1) == 1);
    close(file);
    return 0;
}

static void test_no_file_is_written(void **state)
{
    (void)state;
#ifndef IS_COVERAGE
    run_confined(try_files);
#endif
}

/* ---- system calls ---- */

static int try_calls(void)
{
    static const long refused[] = {SYS_execveat,
                                   SYS_process_vm_readv,
                                   SYS_process_vm_writev,
                                   SYS_mount,
                                   SYS_umount2,
                                   SYS_pivot_root,
                                   SYS_chroot,
                                   SYS_setns,
                                   SYS_unshare,
                                   SYS_bpf,
                                   SYS_add_key,
                                   SYS_request_key,
                                   SYS_keyctl,
                                   SYS_io_uring_setup,
                                   SYS_io_uring_enter,
                                   SYS_io_uring_register,
                                   SYS_userfaultfd,
                                   SYS_perf_event_open,
                                   SYS_kexec_load,
                                   SYS_init_module,
                                   SYS_finit_module,
                                   SYS_delete_module,
                                   SYS_kcmp,
                                   SYS_open_by_handle_at,
                                   SYS_fanotify_init,
                                   SYS_pidfd_open,
                                   SYS_pidfd_send_signal,
                                   SYS_move_mount,
                                   SYS_rt_sigqueueinfo};
    char *words[] = {(char[]){"/bin/true"}, NULL};
    struct rlimit limits;
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++)
        EXPECT(fails_with(syscall(refused[i], 0, 0, 0, 0, 0), EPERM));
    EXPECT(fails_with(execv(words[0], words), EPERM));
    EXPECT(fails_with(syscall(SYS_clone3, 0, 0), ENOSYS));
    EXPECT(fails_with(syscall(SYS_tgkill, getppid(), getppid(), 0), EPERM));
    EXPECT(fails_with(prlimit(getppid(), RLIMIT_NOFILE, NULL, &limits), EPERM));
    EXPECT(fails_with(ioctl(REPORT, TIOCSTI, "x"), EPERM));
#ifndef IS_SANITIZED
    EXPECT(fails_with(syscall(SYS_ptrace, 0, 0, 0, 0), EPERM));
    EXPECT(fails_with(kill(getppid(), 0), EPERM));
    EXPECT(fails_with(fork(), EPERM));
#endif
    return 0;
}

static void test_what_no_script_needs_is_refused(void **state)
{
    (void)state;
    if (syscall_filter_is_available())
        run_confined(try_calls);
}

static void *note(void *argument)
{
    *(bool *)argument = true;
    return NULL;
}

/* LuaJIT makes code, libcurl looks names up in threads, abort raises a signal. */
static int try_needs(void)
{
    pthread_t thread;
    bool has_run = false;
    struct rlimit limits;
    size_t size = (size_t)sysconf(_SC_PAGESIZE);
    void *page = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    EXPECT(page != MAP_FAILED);
    EXPECT(mprotect(page, size, PROT_READ | PROT_EXEC) == 0);
    EXPECT(pthread_create(&thread, NULL, note, &has_run) == 0);
    EXPECT(pthread_join(thread, NULL) == 0 && has_run);
    EXPECT(raise(SIGPIPE) == 0);
    EXPECT(getrlimit(RLIMIT_CORE, &limits) == 0 && limits.rlim_max <= 1);
#ifndef IS_COVERAGE
    EXPECT(getrlimit(RLIMIT_FSIZE, &limits) == 0 && limits.rlim_max == 0);
#endif
    return 0;
}

static void test_what_libraries_need_is_left(void **state)
{
    (void)state;
    run_confined(try_needs);
}

/* ---- the user ---- */

static int try_user(void)
{
    gid_t groups[8];
    char line[128] = "";
    FILE *file = fopen("/proc/self/status", "re");
    EXPECT(file != NULL);
    while (fgets(line, sizeof line, file) != NULL) {
        if (strncmp(line, "Cap", 3) == 0 && strncmp(line, "CapBnd", 6) != 0)
            EXPECT(strtoull(line + strcspn(line, "\t"), NULL, 16) == 0);
        if (strncmp(line, "NoNewPrivs:", 11) == 0)
            EXPECT(line[12] == '1');
    }
    fclose(file);
    if (geteuid() == 0)
        return 0; /* where root may not become another user */
    EXPECT(getuid() == geteuid() && getgid() == getegid());
    EXPECT(getgid() != 0);
    EXPECT(fails_with(setuid(0), EPERM));
    struct stat status;
    EXPECT(stat(secret, &status) == 0);
    if (status.st_uid != geteuid()) {
        EXPECT(getgroups(8, groups) == 0);
        EXPECT(fails_with(open(secret, O_RDONLY | O_CLOEXEC), EACCES));
    }
    return 0;
}

static void test_the_user_and_its_rights(void **state)
{
    (void)state;
    run_confined(try_user);
}

static void test_a_user_that_cannot_be(void **state)
{
    (void)state;
    int status = 0;
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        /* Also root can no longer change its user once it has become another. */
        struct worker_user user = {true, NOBODY - 1, NOBODY - 1};
        char why[256] = "";
        if (geteuid() == 0 && setuid(NOBODY) != 0)
            _exit(0);
        int error = confine_process(REPORT, &user, why, sizeof why);
        _exit(error == -EPERM && strstr(why, "cannot run as user 65533") != NULL ? 0 : 1);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_no_file_is_written, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_what_no_script_needs_is_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_what_libraries_need_is_left, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_the_user_and_its_rights, set_up, tear_down),
        cmocka_unit_test(test_a_user_that_cannot_be),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
