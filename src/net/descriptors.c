#include "net/descriptors.h"

#include <limits.h>
#include <sys/resource.h>

int descriptors_left(int fd)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur > INT_MAX)
        return INT_MAX;
    int all = (int)limit.rlim_cur;
    int reserve = all / 8 < DESCRIPTORS_RESERVE ? all / 8 : DESCRIPTORS_RESERVE;
    return all - reserve - fd;
}
