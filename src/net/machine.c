#include "net/machine.h"

#include <sched.h>
#include <stdint.h>
#include <unistd.h>

unsigned machine_cores(void)
{
    cpu_set_t set;
    int count = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
    if (count < 1)
        return 1;
    return count > MACHINE_CORES_MAX ? MACHINE_CORES_MAX : (unsigned)count;
}

size_t machine_half_memory(void)
{
    long pages = sysconf(_SC_PHYS_PAGES);
    long page_size = sysconf(_SC_PAGE_SIZE);
    if (pages <= 0 || page_size <= 0)
        return SIZE_MAX;
    size_t half = (size_t)pages / 2 * (size_t)page_size;
    return half < MACHINE_MEMORY_MIN ? MACHINE_MEMORY_MIN : half;
}
