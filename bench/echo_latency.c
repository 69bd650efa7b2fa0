/*
 * Round trips of a small message. A PLACE is PORT, on 127.0.0.1, or ADDRESS:PORT.
 *
 *     echo_latency serve PLACE                  echoes there until it is killed
 *     echo_latency measure PLACE SECONDS SIZE   one message at a time
 *     echo_latency pace PLACE SECONDS SIZE MILLISECONDS SKIP
 *
 * `pace` sends a message each MILLISECONDS, whether or not those before have come back, and leaves
 * out those of the first SKIP seconds. Both print a JSON object.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { MAX_SIZE = 4096, MAX_EVENTS = 256, MAX_SAMPLES = 1000 * 1000, WARM_UP = 100 };

static _Noreturn void die(const char *what)
{
    perror(what);
    exit(1);
}

static struct sockaddr_in read_place(const char *place)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    const char *colon = strchr(place, ':');
    char host[INET_ADDRSTRLEN] = "127.0.0.1";
    if (colon != NULL)
        snprintf(host, sizeof host, "%.*s", (int)(colon - place), place);
    address.sin_port = htons((uint16_t)strtoul(colon != NULL ? colon + 1 : place, NULL, 10));
    if (inet_pton(AF_INET, host, &address.sin_addr) != 1)
        die("the address");
    return address;
}

static void set_no_delay(int fd)
{
    int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

static void add_to_poller(int poller, int fd)
{
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
    if (epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event) < 0)
        die("epoll_ctl");
}

static void accept_all(int poller, int listener)
{
    int fd;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        set_no_delay(fd);
        add_to_poller(poller, fd);
    }
}

/* Messages are far smaller than a socket's buffer, so that a short write means a broken peer. */
static void echo(int fd)
{
    uint8_t bytes[MAX_SIZE];
    ssize_t count = read(fd, bytes, sizeof bytes);
    if (count < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (count <= 0 || write(fd, bytes, (size_t)count) != count)
        close(fd);
}

static _Noreturn void serve(const char *place)
{
    struct sockaddr_in address = read_place(place);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int poller = epoll_create1(EPOLL_CLOEXEC);
    int on = 1;
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (poller < 0 || listener < 0 ||
        bind(listener, (const struct sockaddr *)&address, sizeof address) < 0 ||
        listen(listener, 4096) < 0)
        die("listen");
    add_to_poller(poller, listener);
    printf("listening\n");
    fflush(stdout);
    for (;;) {
        struct epoll_event events[MAX_EVENTS];
        int count = epoll_wait(poller, events, MAX_EVENTS, -1);
        for (int i = 0; i < count; i++) {
            if (events[i].data.fd == listener)
                accept_all(poller, listener);
            else
                echo(events[i].data.fd);
        }
    }
}

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static bool round_trip(int fd, uint8_t *bytes, size_t size)
{
    if (write(fd, bytes, size) != (ssize_t)size)
        return false;
    for (size_t got = 0; got < size;) {
        ssize_t count = read(fd, bytes + got, size - got);
        if (count <= 0)
            return false;
        got += (size_t)count;
    }
    return true;
}

static int compare(const void *a, const void *b)
{
    double difference = *(const double *)a - *(const double *)b;
    return (difference > 0) - (difference < 0);
}

static int connect_to(const char *place)
{
    struct sockaddr_in address = read_place(place);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (const struct sockaddr *)&address, sizeof address) < 0)
        die("connect");
    set_no_delay(fd);
    return fd;
}

static void report(double *samples, size_t count)
{
    if (count == 0)
        die("no round trip");
    qsort(samples, count, sizeof *samples, compare);
    printf("{\"count\": %zu, \"median_us\": %.1f, \"p99_us\": %.1f, \"max_us\": %.1f}\n", count,
           samples[count / 2] * 1e6, samples[count * 99 / 100] * 1e6, samples[count - 1] * 1e6);
}

static void measure(const char *place, double seconds, size_t size)
{
    uint8_t bytes[MAX_SIZE];
    double *samples = calloc(MAX_SAMPLES, sizeof *samples);
    int fd = connect_to(place);
    if (!samples)
        die("memory");
    memset(bytes, 'e', sizeof bytes);
    for (int i = 0; i < WARM_UP; i++) {
        if (!round_trip(fd, bytes, size))
            die("warm-up");
    }
    size_t count = 0;
    double end = now() + seconds;
    for (double start = now(); start < end && count < MAX_SAMPLES;) {
        if (!round_trip(fd, bytes, size))
            die("round trip");
        double stop = now();
        samples[count++] = stop - start;
        start = stop;
    }
    report(samples, count);
    free(samples);
    close(fd);
}

/* Takes in what has come back. Returns how many messages are whole now. */
static size_t take_answers(int fd, uint64_t *bytes, size_t size)
{
    uint8_t room[MAX_SIZE];
    ssize_t got = recv(fd, room, sizeof room, MSG_DONTWAIT);
    if (got == 0 || (got < 0 && errno != EAGAIN))
        die("the answer");
    if (got > 0)
        *bytes += (uint64_t)got;
    return *bytes / size;
}

/* The last answers get as long as they need: the caller bounds the time of the whole. */
static void pace(const char *place, double seconds, size_t size, double interval, double skip)
{
    uint8_t message[MAX_SIZE];
    double *samples = calloc(MAX_SAMPLES, sizeof *samples);
    int fd = connect_to(place);
    memset(message, 'e', sizeof message);
    if (!samples || !round_trip(fd, message, size))
        die("the first round trip");
    size_t count = (size_t)((skip + seconds) / interval), sent = 0, back = 0;
    uint64_t bytes = 0;
    double start = now();
    while (back < count && count <= MAX_SAMPLES) {
        for (; sent < count && now() >= start + (double)sent * interval; sent++) {
            samples[sent] = now();
            if (write(fd, message, size) != (ssize_t)size)
                die("write");
        }
        double wait = sent < count ? start + (double)sent * interval - now() : 1;
        struct pollfd poller = {.fd = fd, .events = POLLIN};
        struct timespec time = {.tv_sec = (time_t)wait,
                                .tv_nsec = (long)((wait - (double)(time_t)wait) * 1e9)};
        if (wait > 0 && ppoll(&poller, 1, &time, NULL) <= 0)
            continue;
        for (size_t whole = take_answers(fd, &bytes, size); back < whole; back++)
            samples[back] = now() - samples[back];
    }
    size_t skipped = (size_t)(skip / interval);
    report(samples + skipped, back - skipped);
    free(samples);
    close(fd);
}

int main(int argc, char **argv)
{
    signal(SIGPIPE, SIG_IGN);
    if (argc == 3 && strcmp(argv[1], "serve") == 0)
        serve(argv[2]);
    size_t size = argc >= 5 ? strtoul(argv[4], NULL, 10) : 0;
    bool is_size = size > 0 && size <= MAX_SIZE;
    if (argc == 5 && strcmp(argv[1], "measure") == 0 && is_size) {
        measure(argv[2], strtod(argv[3], NULL), size);
        return 0;
    }
    if (argc == 7 && strcmp(argv[1], "pace") == 0 && is_size && strtod(argv[5], NULL) > 0) {
        pace(argv[2], strtod(argv[3], NULL), size, strtod(argv[5], NULL) / 1e3,
             strtod(argv[6], NULL));
        return 0;
    }
    fprintf(stderr, "usage: echo_latency serve PLACE | measure PLACE SECONDS SIZE |\n"
                    "       pace PLACE SECONDS SIZE MILLISECONDS SKIP\n");
    return 2;
}
