/*
 * Opens COUNT sessions to 127.0.0.1:PORT, where an echo server answers behind whatever lies in
 * between, proves each of them with one byte there and back, says `open N`, and holds them until
 * its standard input ends.
 *
 *     idle_sessions PORT COUNT
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BATCH = 64, ANSWER_MILLISECONDS = 10 * 1000 };

static int open_session(const struct sockaddr_in *address)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    if (connect(fd, (const struct sockaddr *)address, sizeof *address) < 0 ||
        write(fd, "i", 1) != 1) {
        close(fd);
        return -1;
    }
    return fd;
}

static int has_answered(int fd)
{
    struct pollfd wait = {.fd = fd, .events = POLLIN};
    char byte;
    return poll(&wait, 1, ANSWER_MILLISECONDS) == 1 && read(fd, &byte, 1) == 1;
}

int main(int argc, char **argv)
{
    if (argc != 3) {
        fprintf(stderr, "usage: idle_sessions PORT COUNT\n");
        return 2;
    }
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
    struct sockaddr_in address = {.sin_family = AF_INET};
    address.sin_port = htons((uint16_t)strtoul(argv[1], NULL, 10));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    unsigned long wanted = strtoul(argv[2], NULL, 10);
    unsigned long held = 0;
    int failure = 0;
    while (held < wanted && !failure) {
        int batch[BATCH];
        int opened = 0;
        while (opened < BATCH && held + (unsigned long)opened < wanted) {
            if ((batch[opened] = open_session(&address)) < 0) {
                failure = errno;
                perror("session");
                break;
            }
            opened++;
        }
        for (int i = 0; i < opened; i++) {
            if (!has_answered(batch[i])) {
                fprintf(stderr, "session %lu: no answer\n", held + 1);
                failure = ETIMEDOUT;
                break;
            }
            held++;
        }
    }
    printf("open %lu\n", held);
    fflush(stdout);
    while (getchar() != EOF)
        continue;
    return failure ? 1 : 0;
}
