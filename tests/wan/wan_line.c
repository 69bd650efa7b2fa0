/*
 * A wide-area line between two network namespaces that it makes itself, `near` and `far`.
 *
 *     wan_line NEAR_ADDRESS [SEED]
 *
 * It prints where the namespaces are found and `ready`, and then obeys lines on its standard input,
 * each answered by a line that begins with `ok` or `error`. It ends with its input. The namespaces
 * end with it and with the last process in them, so nothing is left to clear away.
 *
 *     delay MILLISECONDS      one way
 *     rate BITS               a second, from the IP header on; 0: no bound
 *     queue BYTES             what may wait in front of the sender
 *     loss PERCENT            of the packets, at random; the seed decides which
 *     blackhole on|off        packets vanish; nobody is told
 *     cut                     what is on the way is lost, and every TCP connection is reset
 *     address A.B.C.D         what far sees as near's address from now on: a NAT that forgot
 *     count                   packets delivered, overflowed, lost and swallowed
 *
 * All but the last three may end with `up` (near to far) or `down`, and then are for that
 * direction.
 */
#include "wan_flows.h"
#include "wan_packet.h"
#include "wan_path.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

enum {
    NEAR,
    FAR,
    MAX_PACKET = 65536,
    MAX_COMMAND = 256,
    MAX_WORDS = 3,
    READS_A_TURN = 64,
};

struct line {
    int tuns[WAN_SIDES];
    int poller;
    int timer;
    struct wan_path paths[WAN_SIDES]; /* by the side that they lead away from */
    struct wan_flows flows;
    uint32_t inner; /* near's address, network order */
    uint32_t outer; /* and what far sees */
    char input[MAX_COMMAND];
    size_t input_size;
};

static const char *const names[] = {"near", "far"};

static _Noreturn void die(const char *what)
{
    fprintf(stderr, "wan_line: %s: %s\n", what, strerror(errno));
    exit(1);
}

static uint64_t now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000 + (uint64_t)time.tv_nsec;
}

/* ---- packets ---- */

static void give(struct line *line, int side, uint8_t *data, size_t size)
{
    if (side == FAR && wan_packet_source(data) == line->inner)
        wan_packet_set_source(data, size, line->outer);
    /* An interface that is down or has no memory loses packets as any other does. */
    ssize_t written = write(line->tuns[side], data, size);
    (void)written;
}

static void give_segment(void *context, int side, const struct wan_segment *segment)
{
    struct line *line = context;
    uint8_t packet[WAN_RESET_SIZE];
    wan_packet_write_segment(packet, segment);
    give(line, side, packet, sizeof packet);
}

static void take(struct line *line, int side, uint8_t *data, size_t size)
{
    if (!wan_packet_is_whole(data, size))
        return;
    if (side == FAR) {
        if (wan_packet_target(data) == line->outer)
            wan_packet_set_target(data, size, line->inner);
        else if (line->outer != line->inner && wan_packet_target(data) == line->inner)
            return;
    }
    struct wan_path *path = &line->paths[side];
    struct wan_segment segment, answer;
    if (!path->is_blackhole && wan_packet_read_segment(data, size, &segment) &&
        !wan_flows_see(&line->flows, side, &segment, &answer)) {
        if (answer.flags != 0)
            give_segment(line, side, &answer);
        return;
    }
    wan_path_take(path, data, size, now());
}

static void read_packets(struct line *line, int side)
{
    uint8_t packet[MAX_PACKET];
    for (int i = 0; i < READS_A_TURN; i++) {
        ssize_t size = read(line->tuns[side], packet, sizeof packet);
        if (size <= 0)
            return;
        take(line, side, packet, (size_t)size);
    }
}

static void give_arrived(struct line *line)
{
    for (int side = 0; side < WAN_SIDES; side++) {
        struct wan_packet *packet;
        while ((packet = wan_path_give(&line->paths[side], now())) != NULL) {
            give(line, !side, packet->data, packet->size);
            free(packet);
        }
    }
}

static void arm_timer(struct line *line)
{
    uint64_t time = now();
    uint64_t next = wan_path_next(&line->paths[NEAR], time);
    uint64_t other = wan_path_next(&line->paths[FAR], time);
    next = other < next ? other : next;
    struct itimerspec when = {{0, 0}, {0, 0}};
    if (next != UINT64_MAX) {
        /* All zeros would disarm it. */
        when.it_value.tv_sec = (time_t)(next / 1000000000);
        when.it_value.tv_nsec = (long)(next % 1000000000) | 1;
    }
    if (timerfd_settime(line->timer, TFD_TIMER_ABSTIME, &when, NULL) < 0)
        die("timerfd_settime");
}

/* ---- commands ---- */

static void say(const char *format, ...) __attribute__((format(printf, 1, 2)));

static void say(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vprintf(format, arguments);
    va_end(arguments);
    putchar('\n');
    fflush(stdout);
}

static void set_blackhole(struct wan_path *path, double value)
{
    path->is_blackhole = value != 0;
}

static void set_delay(struct wan_path *path, double value)
{
    path->delay = (uint64_t)(value * 1e6);
}

static void set_loss(struct wan_path *path, double value)
{
    path->loss = value / 100;
}

static void set_queue(struct wan_path *path, double value)
{
    path->limit = (size_t)value;
}

static void set_rate(struct wan_path *path, double value)
{
    path->rate = value;
}

static const struct setting {
    const char *name;
    void (*set)(struct wan_path *path, double value);
    double most;
} settings[] = {
    {"blackhole", set_blackhole, 1}, {"delay", set_delay, 60000}, {"loss", set_loss, 100},
    {"queue", set_queue, 1e9},       {"rate", set_rate, 1e12},
};

static const struct setting *find_setting(const char *name)
{
    for (size_t i = 0; i < sizeof settings / sizeof settings[0]; i++) {
        if (strcmp(settings[i].name, name) == 0)
            return &settings[i];
    }
    return NULL;
}

static bool read_value(const struct setting *setting, const char *word, double *value)
{
    if (setting->set == set_blackhole) {
        *value = strcmp(word, "on") == 0;
        return *value != 0 || strcmp(word, "off") == 0;
    }
    char *end;
    *value = strtod(word, &end);
    return end != word && *end == 0 && *value >= 0 && *value <= setting->most;
}

static void obey_setting(struct line *line, const struct setting *setting, char **words)
{
    double value = 0;
    bool is_up = words[2] == NULL || strcmp(words[2], "up") == 0;
    bool is_down = words[2] == NULL || strcmp(words[2], "down") == 0;
    if (words[1] == NULL || !read_value(setting, words[1], &value) || (!is_up && !is_down)) {
        say("error: that is no %s", setting->name);
        return;
    }
    if (is_up)
        setting->set(&line->paths[NEAR], value);
    if (is_down)
        setting->set(&line->paths[FAR], value);
    say("ok");
}

static void cut(struct line *line)
{
    for (int side = 0; side < WAN_SIDES; side++)
        wan_path_clear(&line->paths[side]);
    wan_flows_cut(&line->flows, give_segment, line);
    say("ok");
}

static void set_outer(struct line *line, const char *word)
{
    struct in_addr address;
    if (word == NULL || inet_pton(AF_INET, word, &address) != 1) {
        say("error: that is no address");
        return;
    }
    line->outer = address.s_addr;
    say("ok");
}

static void tell_counts(const struct line *line)
{
    const struct wan_counts *up = &line->paths[NEAR].counts;
    const struct wan_counts *down = &line->paths[FAR].counts;
    say("ok up %llu %llu %llu %llu down %llu %llu %llu %llu", (unsigned long long)up->delivered,
        (unsigned long long)up->overflowed, (unsigned long long)up->lost,
        (unsigned long long)up->swallowed, (unsigned long long)down->delivered,
        (unsigned long long)down->overflowed, (unsigned long long)down->lost,
        (unsigned long long)down->swallowed);
}

static void obey(struct line *line, char *text)
{
    char *words[MAX_WORDS + 1] = {NULL};
    char *rest = NULL;
    int count = 0;
    for (char *word = strtok_r(text, " ", &rest); word != NULL && count <= MAX_WORDS;
         word = strtok_r(NULL, " ", &rest))
        words[count++] = word;
    if (count == 0 || count > MAX_WORDS) {
        say("error: that is no command");
        return;
    }
    const struct setting *setting = find_setting(words[0]);
    if (setting != NULL)
        obey_setting(line, setting, words);
    else if (strcmp(words[0], "cut") == 0)
        cut(line);
    else if (strcmp(words[0], "address") == 0)
        set_outer(line, words[1]);
    else if (strcmp(words[0], "count") == 0)
        tell_counts(line);
    else
        say("error: there is no command %s", words[0]);
}

/* False when the input has ended. */
static bool read_commands(struct line *line)
{
    char *space = line->input + line->input_size;
    ssize_t got = read(STDIN_FILENO, space, sizeof line->input - line->input_size);
    if (got <= 0)
        return false;
    line->input_size += (size_t)got;
    char *start = line->input;
    char *end;
    while ((end = memchr(start, '\n', line->input_size)) != NULL) {
        *end = 0;
        line->input_size -= (size_t)(end + 1 - start);
        obey(line, start);
        start = end + 1;
    }
    memmove(line->input, start, line->input_size);
    return line->input_size < sizeof line->input;
}

/* ---- life ---- */

static void watch(struct line *line, int fd, int name)
{
    struct epoll_event event = {.events = EPOLLIN, .data.fd = name};
    if (epoll_ctl(line->poller, EPOLL_CTL_ADD, fd, &event) < 0)
        die("epoll_ctl");
}

/* In the namespace that this thread is in. */
static int open_tun(const char *name)
{
    struct ifreq request = {.ifr_flags = IFF_TUN | IFF_NO_PI};
    int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        die("/dev/net/tun");
    strncpy(request.ifr_name, name, sizeof request.ifr_name - 1);
    if (ioctl(fd, TUNSETIFF, &request) < 0)
        die("a TUN device");
    return fd;
}

static void open_namespaces(struct line *line)
{
    int own = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
    if (own < 0)
        die("/proc/self/ns/net");
    for (int side = 0; side < WAN_SIDES; side++) {
        if (unshare(CLONE_NEWNET) < 0)
            die("a network namespace");
        int space = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
        if (space < 0)
            die("/proc/self/ns/net");
        line->tuns[side] = open_tun("wan");
        watch(line, line->tuns[side], side);
        printf("%s /proc/%d/fd/%d\n", names[side], (int)getpid(), space);
    }
    if (setns(own, CLONE_NEWNET) < 0)
        die("setns");
    close(own);
}

static void run(struct line *line)
{
    for (;;) {
        struct epoll_event events[4];
        int count = epoll_wait(line->poller, events, 4, -1);
        if (count < 0 && errno != EINTR)
            die("epoll_wait");
        for (int i = 0; i < count; i++) {
            uint64_t expirations;
            int name = events[i].data.fd;
            if (name == NEAR || name == FAR)
                read_packets(line, name);
            else if (name == WAN_SIDES && !read_commands(line))
                return;
            else if (name > WAN_SIDES && read(line->timer, &expirations, 8) < 0 && errno != EAGAIN)
                die("the timer");
        }
        give_arrived(line);
        arm_timer(line);
    }
}

int main(int argc, char **argv)
{
    static struct line line;
    struct in_addr address;
    if (argc < 2 || argc > 3 || inet_pton(AF_INET, argv[1], &address) != 1) {
        fprintf(stderr, "usage: wan_line NEAR_ADDRESS [SEED]\n");
        return 2;
    }
    uint64_t seed = argc == 3 ? strtoull(argv[2], NULL, 10) : 1;
    line.inner = line.outer = address.s_addr;
    line.poller = epoll_create1(EPOLL_CLOEXEC);
    line.timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    if (line.poller < 0 || line.timer < 0)
        die("epoll or a timer");
    watch(&line, STDIN_FILENO, WAN_SIDES);
    watch(&line, line.timer, WAN_SIDES + 1);
    for (int side = 0; side < WAN_SIDES; side++)
        wan_path_init(&line.paths[side], 2 * seed + (uint64_t)side);
    open_namespaces(&line);
    /* A line does not wait for the programs that use it; without the right to that it does. */
    struct sched_param priority = {.sched_priority = 1};
    (void)sched_setscheduler(0, SCHED_FIFO, &priority);
    say("ready");
    run(&line);
    for (int side = 0; side < WAN_SIDES; side++)
        wan_path_clear(&line.paths[side]);
    return 0;
}
