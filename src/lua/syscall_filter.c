#include "lua/syscall_filter.h"

#include "lua/sanitized.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#if defined(__x86_64__) && !defined(__ILP32__)
#define ARCHITECTURE AUDIT_ARCH_X86_64
#define X32_CALLS    0x40000000U /* the same calls under other numbers */
#elif defined(__aarch64__) && defined(__AARCH64EL__)
#define ARCHITECTURE AUDIT_ARCH_AARCH64
#elif defined(__riscv) && __riscv_xlen == 64
#define ARCHITECTURE AUDIT_ARCH_RISCV64
#elif defined(__powerpc64__) && defined(__LITTLE_ENDIAN__)
#define ARCHITECTURE AUDIT_ARCH_PPC64LE
#elif defined(__i386__)
#define ARCHITECTURE AUDIT_ARCH_I386
#endif

#ifdef ARCHITECTURE

/* Each is in the kernel's headers from some version on, and on some processors only. */
static const int REFUSED[] = {
    /* programs */
    __NR_execve,
    __NR_execveat,
#ifdef __NR_fork
    __NR_fork,
    __NR_vfork,
#endif
    /* other processes */
    __NR_process_vm_readv,
    __NR_process_vm_writev,
    __NR_kcmp,
    __NR_rt_sigqueueinfo,
    __NR_rt_tgsigqueueinfo,
#ifdef __NR_pidfd_open
    __NR_pidfd_open,
    __NR_pidfd_send_signal,
#endif
#ifdef __NR_pidfd_getfd
    __NR_pidfd_getfd,
#endif
#ifdef __NR_process_madvise
    __NR_process_madvise,
#endif
#ifndef IS_SANITIZED
    __NR_ptrace,
    __NR_kill,
#endif
    /* namespaces and mounts */
    __NR_setns,
    __NR_unshare,
    __NR_mount,
    __NR_umount2,
    __NR_pivot_root,
    __NR_chroot,
#ifdef __NR_open_tree
    __NR_open_tree,
    __NR_move_mount,
    __NR_fsopen,
    __NR_fsconfig,
    __NR_fsmount,
    __NR_fspick,
#endif
#ifdef __NR_mount_setattr
    __NR_mount_setattr,
#endif
    __NR_name_to_handle_at,
    __NR_open_by_handle_at,
    /* keys */
    __NR_add_key,
    __NR_request_key,
    __NR_keyctl,
    /* parts of the kernel with a history of faults */
    __NR_bpf,
    __NR_perf_event_open,
    __NR_userfaultfd,
    __NR_fanotify_init,
#ifdef __NR_io_uring_setup
    __NR_io_uring_setup,
    __NR_io_uring_enter,
    __NR_io_uring_register,
#endif
#ifdef __NR_modify_ldt
    __NR_modify_ldt,
#endif
    /* the machine */
    __NR_init_module,
    __NR_finit_module,
    __NR_delete_module,
    __NR_kexec_load,
#ifdef __NR_kexec_file_load
    __NR_kexec_file_load,
#endif
    __NR_reboot,
    __NR_swapon,
    __NR_swapoff,
    __NR_acct,
    __NR_quotactl,
    __NR_syslog,
    __NR_sethostname,
    __NR_setdomainname,
    __NR_settimeofday,
    __NR_clock_settime,
    __NR_adjtimex,
    __NR_clock_adjtime,
#ifdef __NR_iopl
    __NR_iopl,
    __NR_ioperm,
#endif
};

enum {
    HEAD = 8,
    TAIL = 32,
    STEPS = HEAD + 2 * (int)(sizeof REFUSED / sizeof *REFUSED) + TAIL,
};

struct program {
    struct sock_filter steps[STEPS];
    unsigned short count;
};

static void add(struct program *program, struct sock_filter step)
{
    program->steps[program->count++] = step;
}

static void load(struct program *program, size_t offset)
{
    add(program, (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (uint32_t)offset));
}

/* Skips `yes` instructions if the value is equal, otherwise `no`. */
static void compare(struct program *program, uint32_t value, uint8_t yes, uint8_t no)
{
    add(program, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, value, yes, no));
}

static void answer(struct program *program, uint32_t action)
{
    add(program, (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, action));
}

static void refuse(struct program *program, int error)
{
    answer(program, SECCOMP_RET_ERRNO | (uint32_t)error);
}

static void load_number(struct program *program)
{
    load(program, offsetof(struct seccomp_data, nr));
}

/* The lower half: all processors in the list are little-endian. */
static void load_argument(struct program *program, unsigned index)
{
    load(program, offsetof(struct seccomp_data, args) + index * sizeof(uint64_t));
}

static void refuse_call(struct program *program, int number, int error)
{
    compare(program, (uint32_t)number, 0, 1);
    refuse(program, error);
}

static void refuse_argument(struct program *program, int number, unsigned index, uint32_t value)
{
    compare(program, (uint32_t)number, 0, 4);
    load_argument(program, index);
    compare(program, value, 0, 1);
    refuse(program, EPERM);
    load_number(program);
}

static void require_argument(struct program *program, int number, unsigned index, uint32_t value)
{
    compare(program, (uint32_t)number, 0, 4);
    load_argument(program, index);
    compare(program, value, 1, 0);
    refuse(program, EPERM);
    load_number(program);
}

#ifndef IS_SANITIZED
static void require_bits(struct program *program, int number, unsigned index, uint32_t bits)
{
    compare(program, (uint32_t)number, 0, 4);
    load_argument(program, index);
    add(program, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, bits, 1, 0));
    refuse(program, EPERM);
    load_number(program);
}
#endif

static void write_program(struct program *program)
{
    load(program, offsetof(struct seccomp_data, arch));
    compare(program, ARCHITECTURE, 1, 0);
    refuse(program, EPERM);
    load_number(program);
#ifdef X32_CALLS
    add(program, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, X32_CALLS, 0, 1));
    refuse(program, EPERM);
#endif
    for (size_t i = 0; i < sizeof REFUSED / sizeof *REFUSED; i++)
        refuse_call(program, REFUSED[i], EPERM);
#ifdef __NR_clone3
    refuse_call(program, __NR_clone3, ENOSYS); /* a filter cannot read its flags */
#endif
    /* Allows threads, but no processes. */
#ifndef IS_SANITIZED
    require_bits(program, __NR_clone, 0, CLONE_THREAD);
#endif
    /* Allows signals to and limits of the process itself. */
    require_argument(program, __NR_tgkill, 0, (uint32_t)getpid());
    require_argument(program, __NR_prlimit64, 0, 0);
    /* Denies input to the terminal of the log, as if its user had typed it. */
    refuse_argument(program, __NR_ioctl, 1, TIOCSTI);
    answer(program, SECCOMP_RET_ALLOW);
}

int syscall_filter_apply(void)
{
    struct program program = {.count = 0};
    write_program(&program);
    struct sock_fprog filter = {.len = program.count, .filter = program.steps};
    long result =
        syscall(__NR_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &filter);
    if (result > 0)
        return -EAGAIN; /* a thread that has another filter */
    return result == 0 ? 0 : -errno;
}

bool syscall_filter_is_available(void)
{
    uint32_t action = SECCOMP_RET_ERRNO;
    return syscall(__NR_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &action) == 0;
}

#else

int syscall_filter_apply(void)
{
    return -ENOSYS;
}

bool syscall_filter_is_available(void)
{
    return false;
}

#endif
