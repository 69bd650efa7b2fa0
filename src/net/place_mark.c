#include "net/place_mark.h"

#include <fcntl.h>
#include <openssl/evp.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { BOOT_ID_SIZE = 36 };

struct place {
    char label[16];
    char boot_id[BOOT_ID_SIZE];
    uint64_t device;
    uint64_t inode;
};

static int read_boot_id(char out[static BOOT_ID_SIZE])
{
    int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    ssize_t got = read(fd, out, BOOT_ID_SIZE);
    close(fd);
    return got == BOOT_ID_SIZE ? 0 : -1;
}

void place_mark(uint8_t mark[static PLACE_MARK_SIZE])
{
    struct place place;
    struct stat namespace;
    uint8_t hash[EVP_MAX_MD_SIZE];
    memset(mark, 0, PLACE_MARK_SIZE);
    memset(&place, 0, sizeof(place));
    memcpy(place.label, "culvert place 1", sizeof(place.label));
    if (read_boot_id(place.boot_id) != 0 || stat("/proc/self/ns/net", &namespace) != 0)
        return;
    place.device = namespace.st_dev;
    place.inode = namespace.st_ino;
    if (EVP_Digest(&place, sizeof(place), hash, NULL, EVP_sha256(), NULL) == 1)
        memcpy(mark, hash, PLACE_MARK_SIZE);
}
