#include "base/file_access.h"

#include "base/error.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

enum {
    MAX_GROUPS = 256,
    MAX_ACL_SIZE = 4096,
    /* linux/posix_acl_xattr.h: a version, then entries of a tag, permissions and an id */
    ACL_VERSION = 2,
    ACL_HEADER_SIZE = 4,
    ACL_ENTRY_SIZE = 8,
    ACL_USER = 0x02,
    ACL_GROUP_OWNER = 0x04,
    ACL_GROUP = 0x08,
    ACL_MASK = 0x10,
    /* permissions, as in the last digit of a mode */
    MAY_WRITE = 02,
    MAY_READ = 04,
};

/* ---- the parts of an access ---- */

static bool is_in_group(const struct file_reader *reader, gid_t group)
{
    for (size_t i = 0; i < reader->group_count; i++) {
        if (reader->groups[i] == group)
            return true;
    }
    return false;
}

static int judge_owner(const struct file_access *access, const struct file_reader *reader,
                       char *why, size_t why_size)
{
    if (access->owner == 0 || access->owner == reader->user)
        return 0;
    snprintf(why, why_size,
             "it belongs to user %u, who can read it; its owner must be root or user %u, as which "
             "culvert runs",
             (unsigned)access->owner, (unsigned)reader->user);
    return CULVERT_ERROR_PERMISSION;
}

static int judge_others(const struct file_access *access, char *why, size_t why_size)
{
    unsigned permissions = access->mode & 07U;
    if ((permissions & (MAY_READ | MAY_WRITE)) == 0)
        return 0;
    snprintf(why, why_size, "all users may %s it (mode %04o); its mode must be 0600, 0400 or 0640",
             (permissions & MAY_READ) != 0 ? "read" : "write", (unsigned)access->mode & 07777U);
    return CULVERT_ERROR_PERMISSION;
}

static int judge_group(gid_t group, unsigned permissions, const struct file_reader *reader,
                       char *why, size_t why_size)
{
    if ((permissions & MAY_WRITE) != 0)
        snprintf(why, why_size,
                 "group %u may write it; a group may read a secret at most: make its mode 0600 or "
                 "0640",
                 (unsigned)group);
    else if ((permissions & MAY_READ) != 0 && !is_in_group(reader, group))
        snprintf(why, why_size,
                 "group %u may read it, and culvert does not run in that group; make its mode "
                 "0600, or run culvert in the group",
                 (unsigned)group);
    else
        return 0;
    return CULVERT_ERROR_PERMISSION;
}

static int judge_user(uid_t user, unsigned permissions, const struct file_reader *reader, char *why,
                      size_t why_size)
{
    if ((permissions & (MAY_READ | MAY_WRITE)) == 0 || user == 0 || user == reader->user)
        return 0;
    snprintf(why, why_size,
             "its ACL lets user %u %s it; remove that entry with setfacl -x, or make its mode 0600",
             (unsigned)user, (permissions & MAY_READ) != 0 ? "read" : "write");
    return CULVERT_ERROR_PERMISSION;
}

/* ---- ACLs ---- */

struct acl_entry {
    unsigned tag;
    unsigned permissions;
    uint32_t id;
};

static uint32_t little_endian(const uint8_t *bytes, size_t size)
{
    uint32_t value = 0;
    while (size-- > 0)
        value = value << 8 | bytes[size];
    return value;
}

static struct acl_entry entry_at(const struct file_access *access, size_t offset)
{
    const uint8_t *bytes = access->acl + offset;
    return (struct acl_entry){.tag = little_endian(bytes, 2),
                              .permissions = little_endian(bytes + 2, 2),
                              .id = little_endian(bytes + 4, 4)};
}

/* What named users and groups, and the owning group, may do at most. */
static unsigned find_mask(const struct file_access *access)
{
    for (size_t at = ACL_HEADER_SIZE; at < access->acl_size; at += ACL_ENTRY_SIZE) {
        struct acl_entry entry = entry_at(access, at);
        if (entry.tag == ACL_MASK)
            return entry.permissions;
    }
    return 07;
}

static int judge_entry(const struct file_access *access, const struct acl_entry *entry,
                       unsigned permissions, const struct file_reader *reader, char *why,
                       size_t why_size)
{
    switch (entry->tag) {
    case ACL_USER:
        return judge_user(entry->id, permissions, reader, why, why_size);
    case ACL_GROUP_OWNER:
        return judge_group(access->group, permissions, reader, why, why_size);
    case ACL_GROUP:
        return judge_group(entry->id, permissions, reader, why, why_size);
    default:
        return 0; /* the owner and all others, who are in the mode as well */
    }
}

static bool is_known_form(const struct file_access *access)
{
    return access->acl_size >= ACL_HEADER_SIZE &&
           (access->acl_size - ACL_HEADER_SIZE) % ACL_ENTRY_SIZE == 0 &&
           little_endian(access->acl, ACL_HEADER_SIZE) == ACL_VERSION;
}

static int judge_acl(const struct file_access *access, const struct file_reader *reader, char *why,
                     size_t why_size)
{
    if (!is_known_form(access)) {
        snprintf(why, why_size, "its ACL has an unknown form; remove it with setfacl -b");
        return CULVERT_ERROR_PERMISSION;
    }
    unsigned mask = find_mask(access);
    int error = 0;
    for (size_t at = ACL_HEADER_SIZE; error == 0 && at < access->acl_size; at += ACL_ENTRY_SIZE) {
        struct acl_entry entry = entry_at(access, at);
        error = judge_entry(access, &entry, entry.permissions & mask, reader, why, why_size);
    }
    return error;
}

int file_access_judge(const struct file_access *access, const struct file_reader *reader, char *why,
                      size_t why_size)
{
    int error = judge_owner(access, reader, why, why_size);
    if (error == 0)
        error = judge_others(access, why, why_size);
    if (error == 0 && access->acl != NULL)
        return judge_acl(access, reader, why, why_size);
    if (error == 0)
        error = judge_group(access->group, access->mode >> 3 & 07U, reader, why, why_size);
    return error;
}

/* ---- writers ---- */

struct writer {
    const char *kind; /* NULL: nobody */
    unsigned id;
};

static struct writer acl_writer(const struct file_access *access, const struct file_reader *reader)
{
    unsigned mask = find_mask(access);
    for (size_t at = ACL_HEADER_SIZE; at < access->acl_size; at += ACL_ENTRY_SIZE) {
        struct acl_entry entry = entry_at(access, at);
        if ((entry.permissions & mask & MAY_WRITE) == 0)
            continue;
        if (entry.tag == ACL_GROUP_OWNER)
            return (struct writer){"group", access->group};
        if (entry.tag == ACL_GROUP)
            return (struct writer){"group", entry.id};
        if (entry.tag == ACL_USER && entry.id != 0 && entry.id != reader->user)
            return (struct writer){"user", entry.id};
    }
    return (struct writer){NULL, 0};
}

static struct writer group_writer(const struct file_access *access)
{
    return (struct writer){(access->mode >> 3 & MAY_WRITE) != 0 ? "group" : NULL, access->group};
}

int file_access_judge_writers(const struct file_access *access, const struct file_reader *reader,
                              const char *path, char *why, size_t why_size)
{
    unsigned mode = (unsigned)access->mode & 07777U;
    struct writer writer = {NULL, 0};
    if (access->owner != 0 && access->owner != reader->user)
        snprintf(why, why_size,
                 "it belongs to user %u (mode %04o); its owner must be root or user %u, as which "
                 "culvert runs: run chown %u %s",
                 (unsigned)access->owner, mode, (unsigned)reader->user, (unsigned)reader->user,
                 path);
    else if ((mode & MAY_WRITE) != 0)
        snprintf(why, why_size, "all users may write it (mode %04o): run chmod go-w %s", mode,
                 path);
    else if (access->acl != NULL && !is_known_form(access))
        snprintf(why, why_size, "its ACL has an unknown form: run setfacl -b %s", path);
    else if (writer = access->acl != NULL ? acl_writer(access, reader) : group_writer(access),
             writer.kind != NULL)
        snprintf(why, why_size, "%s %u may write it (mode %04o): run chmod go-w %s", writer.kind,
                 writer.id, mode, path);
    else
        return 0;
    return CULVERT_ERROR_PERMISSION;
}

/* ---- this process ---- */

struct look {
    uint8_t acl[MAX_ACL_SIZE];
    gid_t groups[MAX_GROUPS + 1];
    struct file_access access;
    struct file_reader reader;
};

/* Returns 0 or -errno, with `why` set. */
static int look_at(int descriptor, struct look *look, char *why, size_t why_size)
{
    struct stat status;
    int count = getgroups(MAX_GROUPS, look->groups);
    ssize_t acl_size = -1;
    int error = fstat(descriptor, &status) == 0 ? 0 : -errno;
    if (error == 0) {
        acl_size = fgetxattr(descriptor, "system.posix_acl_access", look->acl, sizeof look->acl);
        if (acl_size < 0 && errno != ENODATA && errno != ENOTSUP)
            error = -errno;
    }
    if (error != 0) {
        snprintf(why, why_size, "cannot find out who has access to it: %s", error_text(error));
        return error;
    }
    if (count < 0)
        count = 0; /* in more groups than these: then none of them counts */
    look->groups[count++] = getegid();
    look->access = (struct file_access){.owner = status.st_uid,
                                        .group = status.st_gid,
                                        .mode = status.st_mode,
                                        .acl = acl_size < 0 ? NULL : look->acl,
                                        .acl_size = acl_size < 0 ? 0 : (size_t)acl_size};
    look->reader = (struct file_reader){
        .user = geteuid(), .groups = look->groups, .group_count = (size_t)count};
    return 0;
}

int file_access_check(int descriptor, char *why, size_t why_size)
{
    struct look look;
    int error = look_at(descriptor, &look, why, why_size);
    return error != 0 ? error : file_access_judge(&look.access, &look.reader, why, why_size);
}

int file_access_check_writers(int descriptor, const char *path, char *why, size_t why_size)
{
    struct look look;
    int error = look_at(descriptor, &look, why, why_size);
    return error != 0 ? error
                      : file_access_judge_writers(&look.access, &look.reader, path, why, why_size);
}
