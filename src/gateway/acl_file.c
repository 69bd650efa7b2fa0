#include "gateway/acl_file.h"

#include "base/error.h"
#include "base/file_access.h"
#include "base/log.h"
#include "base/memory.h"
#include "codec/sha1.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { WHY_SIZE = 1024 };

/* Describes users other than root and this process's with access to the file, and the remedy; "":
 * none. */
struct others {
    char writers[WHY_SIZE];
    char readers[WHY_SIZE];
    bool are_all_writers; /* all users may write it */
};

/* What tells a file that was changed or replaced from the one before. */
struct signature {
    int error; /* of looking at it, and then the rest is zero */
    dev_t device;
    ino_t inode;
    off_t size;
    struct timespec modified;
    struct timespec changed;
};

/* Looking at the file, and reading it if there is a reason. Belongs to the pool's thread while the
 * work is under way, to the loop's otherwise. */
struct look {
    const char *path;
    bool is_asked_for; /* read it whatever it looks like, and tell */

    struct signature seen; /* at the last look */
    struct signature read; /* when it was read last */
    /* Nothing was written with the same time stamps after it was read: it had them for a while
     * already. */
    bool is_settled;
    uint8_t digest[SHA1_SIZE]; /* of the text that was read last */
    bool has_digest;           /* and taken */
    bool has_keys;             /* of the current rules */
    char warning[WHY_SIZE];    /* the last one logged, or "" */
    int error;                 /* what was wrong with it, or 0 */
    char why[WHY_SIZE];        /* the same in words, or "" */

    /* What has come of it. */
    bool is_news;
    struct acl *acl; /* NULL: the old one stays */
};

struct acl_file {
    struct loop *loop;
    char *path;
    acl_file_reloaded *reloaded;
    void *context;
    struct loop_timer timer;
    struct loop_task timer_closed;
    uv_work_t work;
    struct look look;
    bool is_working;
    bool is_asked_for; /* since the work began */
    bool is_closing;
    bool is_timer_closed;

    pthread_mutex_t mutex; /* guards what follows */
    struct acl_version *current;
};

/* ---- versions ---- */

static struct acl_version *version_new(struct acl *acl)
{
    struct acl_version *version = memory_allocate(sizeof *version);
    if (version == NULL)
        return NULL;
    atomic_init(&version->references, 1);
    version->acl = acl;
    return version;
}

void acl_version_drop(struct acl_version *version)
{
    if (version == NULL || atomic_fetch_sub(&version->references, 1) != 1)
        return;
    acl_free(version->acl);
    memory_free(version);
}

/* ---- who has access ---- */

static void note_others(int descriptor, const char *path, struct others *others)
{
    struct stat status;
    *others = (struct others){0};
    (void)file_access_check_writers(descriptor, path, others->writers, sizeof others->writers);
    (void)file_access_check(descriptor, others->readers, sizeof others->readers);
    others->are_all_writers = fstat(descriptor, &status) != 0 || (status.st_mode & S_IWOTH) != 0;
}

/* Checks who may write the file: its writers grant themselves any access. Returns 0 or
 * CULVERT_ERROR_PERMISSION with a sentence in `why`. */
static int judge_others(const struct look *look, const struct others *others, char *why,
                        size_t why_size)
{
    if (others->writers[0] == '\0' || (!look->has_keys && !others->are_all_writers))
        return 0;
    snprintf(why, why_size, "%.300s is not used%s: %.600s", look->path,
             look->has_keys ? ", as it has keys in it" : "", others->writers);
    return CULVERT_ERROR_PERMISSION;
}

/* Warns about a file that is used, once for each change. */
static void warn_of_others(struct look *look, const struct others *others)
{
    char warning[WHY_SIZE] = "";
    if (others->writers[0] != '\0')
        snprintf(warning, sizeof warning, "%.300s says who may reach what, but %.600s", look->path,
                 others->writers);
    else if (look->has_keys && others->readers[0] != '\0')
        snprintf(warning, sizeof warning, "%.300s has keys in it, but %.200s: run chmod 600 %.300s",
                 look->path, others->readers, look->path);
    if (warning[0] != '\0' && strcmp(warning, look->warning) != 0)
        log_warning("%s", warning);
    memcpy(look->warning, warning, sizeof warning);
}

/* ---- reading ---- */

static int open_regular(const char *path, char *why, size_t why_size)
{
    struct stat status;
    /* Looked at before it is opened, since opening may already do something to a device; opened
     * without waiting and looked at again, since it may have been replaced by a pipe meanwhile. */
    bool is_there = stat(path, &status) == 0;
    int descriptor = -1;
    if (is_there && S_ISREG(status.st_mode)) {
        descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
        is_there = descriptor >= 0 && fstat(descriptor, &status) == 0;
    }
    int error = is_there ? 0 : -errno;
    if (error != 0)
        snprintf(why, why_size, "cannot read %.500s: %s", path, error_text(error));
    else if (!S_ISREG(status.st_mode))
        snprintf(why, why_size, "cannot read %.500s: it is not a regular file", path);
    else
        return descriptor;
    if (descriptor >= 0)
        close(descriptor);
    return error != 0 ? error : CULVERT_ERROR_INVALID;
}

/* Reads up to ACL_MAX_SIZE and one byte more, so that acl_parse sees what is too large. Notes who
 * has access to the file, unless `others` is NULL. */
static int read_text(const char *path, char **text, size_t *size, struct others *others, char *why,
                     size_t why_size)
{
    const size_t room = ACL_MAX_SIZE + 1;
    int descriptor = open_regular(path, why, why_size);
    if (descriptor < 0)
        return descriptor;
    if (others != NULL)
        note_others(descriptor, path, others);
    int error = 0;
    size_t used = 0;
    char *buffer = memory_allocate(room);
    if (buffer == NULL)
        error = CULVERT_ERROR_NO_MEMORY;
    while (error == 0 && used < room) {
        ssize_t got = read(descriptor, buffer + used, room - used);
        if (got == 0)
            break;
        if (got > 0)
            used += (size_t)got;
        else if (errno != EINTR)
            error = -errno;
    }
    close(descriptor);
    if (error != 0) {
        snprintf(why, why_size, "cannot read %.500s: %s", path, error_text(error));
        if (buffer != NULL)
            explicit_bzero(buffer, used);
        memory_free(buffer);
        return error;
    }
    *text = buffer;
    *size = used;
    return 0;
}

static void forget_text(char *text, size_t size)
{
    explicit_bzero(text, size);
    memory_free(text);
}

int acl_file_read(const char *path, struct acl **acl, char *why, size_t why_size)
{
    char *text = NULL;
    size_t size = 0;
    int error = read_text(path, &text, &size, NULL, why, why_size);
    if (error != 0)
        return error;
    error = acl_parse(path, text, size, acl, why, why_size);
    forget_text(text, size);
    return error;
}

int acl_file_check(const char *path, const struct acl_complaints *complaints, char *why,
                   size_t why_size)
{
    char *text = NULL;
    size_t size = 0;
    int result = read_text(path, &text, &size, NULL, why, why_size);
    if (result != 0)
        return result;
    result = acl_check(path, text, size, complaints, why, why_size);
    forget_text(text, size);
    return result;
}

/* ---- looking ---- */

static struct signature sign(const char *path)
{
    struct stat status;
    if (stat(path, &status) != 0)
        return (struct signature){.error = errno};
    return (struct signature){.device = status.st_dev,
                              .inode = status.st_ino,
                              .size = status.st_size,
                              .modified = status.st_mtim,
                              .changed = status.st_ctim};
}

static bool is_same_time(struct timespec a, struct timespec b)
{
    return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec;
}

static bool is_same(const struct signature *a, const struct signature *b)
{
    return a->error == b->error && a->device == b->device && a->inode == b->inode &&
           a->size == b->size && is_same_time(a->modified, b->modified) &&
           is_same_time(a->changed, b->changed);
}

/* Takes the text if it is new or a reload was requested, and no other user may write the file. */
static int take_text(struct look *look, char *text, size_t size, const struct others *others,
                     char why[static WHY_SIZE])
{
    int error = 0;
    if (look->is_news) {
        error = acl_parse(look->path, text, size, &look->acl, why, WHY_SIZE);
        if (error != 0)
            return error;
        look->has_keys = acl_has_keys(look->acl);
    }
    error = judge_others(look, others, why, WHY_SIZE);
    if (error == 0) {
        warn_of_others(look, others);
        return 0;
    }
    acl_free(look->acl);
    look->acl = NULL;
    return error;
}

/* Reads and parses; an error that was told before is no news. */
static void look_read(struct look *look, bool is_new)
{
    char why[WHY_SIZE] = "";
    uint8_t digest[SHA1_SIZE] = {0};
    struct sha1 sha1;
    struct others others;
    char *text = NULL;
    size_t size = 0;
    int error = read_text(look->path, &text, &size, &others, why, sizeof why);
    if (error == 0) {
        sha1_init(&sha1);
        sha1_update(&sha1, text, size);
        sha1_final(&sha1, digest);
        bool is_known = look->has_digest && memcmp(digest, look->digest, sizeof digest) == 0;
        look->is_news = look->is_asked_for || !is_known;
        error = take_text(look, text, size, &others, why);
        forget_text(text, size);
    }
    if (error != 0)
        look->is_news = look->is_asked_for || is_new || strcmp(why, look->why) != 0;
    look->has_digest = error == 0;
    memcpy(look->digest, digest, sizeof digest);
    memcpy(look->why, why, sizeof why);
    look->error = error;
}

static void look_at(struct look *look)
{
    struct signature now = sign(look->path);
    bool is_still = is_same(&now, &look->seen);
    bool is_new = !is_same(&now, &look->read);
    look->is_news = false;
    look->acl = NULL;
    look->seen = now;
    if (!look->is_asked_for && (!is_still || (!is_new && look->is_settled)))
        return;
    look->read = now;
    look_read(look, is_new);
    /* An error in the rules or the file's mode persists; an error of a read may be temporary. */
    bool is_final = look->error == 0 || look->error == CULVERT_ERROR_INVALID ||
                    look->error == CULVERT_ERROR_TOO_LARGE ||
                    look->error == CULVERT_ERROR_PERMISSION;
    look->is_settled = is_still && !look->is_asked_for && is_final;
}

static void run_look(uv_work_t *work)
{
    look_at(&((struct acl_file *)work->data)->look);
}

/* ---- the loop's ---- */

static void free_file(struct acl_file *file)
{
    acl_version_drop(file->current);
    acl_free(file->look.acl);
    pthread_mutex_destroy(&file->mutex);
    memory_free(file->path);
    memory_free(file);
}

static void free_if_closed(struct acl_file *file)
{
    if (file->is_closing && file->is_timer_closed && !file->is_working)
        free_file(file);
}

static int use(struct acl_file *file, struct acl *acl)
{
    struct acl_version *version = version_new(acl);
    if (version == NULL)
        return CULVERT_ERROR_NO_MEMORY;
    pthread_mutex_lock(&file->mutex);
    struct acl_version *old = file->current;
    version->number = old != NULL ? old->number + 1 : 1;
    file->current = version;
    pthread_mutex_unlock(&file->mutex);
    acl_version_drop(old);
    return 0;
}

static void begin_look(struct acl_file *file);

static void look_done(uv_work_t *work, int status)
{
    struct acl_file *file = work->data;
    struct look *look = &file->look;
    (void)status; /* only that it was cancelled, by the end */
    file->is_working = false;
    if (file->is_closing) {
        free_if_closed(file);
        return;
    }
    if (look->acl != NULL && use(file, look->acl) != 0) {
        acl_free(look->acl);
        snprintf(look->why, sizeof look->why, "%.500s: no memory for its rules", file->path);
        look->has_digest = false;
        look->is_settled = false;
    }
    look->acl = NULL;
    look->is_asked_for = false;
    if (look->is_news)
        file->reloaded(file->context, file->path, look->why[0] != '\0' ? look->why : NULL);
    if (file->is_working)
        return;
    if (file->is_asked_for)
        begin_look(file);
    else
        loop_timer_start(&file->timer, ACL_FILE_LOOK_MILLISECONDS);
}

static void begin_look(struct acl_file *file)
{
    loop_timer_stop(&file->timer);
    file->look.is_asked_for = file->is_asked_for;
    file->is_asked_for = false;
    file->look.is_news = false;
    file->work.data = file;
    file->is_working = uv_queue_work(&file->loop->uv, &file->work, run_look, look_done) == 0;
    if (!file->is_working)
        loop_timer_start(&file->timer, ACL_FILE_LOOK_MILLISECONDS);
}

static void look_again(struct loop_timer *timer)
{
    begin_look(timer->holder);
}

static void timer_closed(struct loop_task *task)
{
    struct acl_file *file = CONTAINER_OF(task, struct acl_file, timer_closed);
    file->is_timer_closed = true;
    free_if_closed(file);
}

static int read_first(struct acl_file *file, char *why, size_t why_size)
{
    struct look *look = &file->look;
    look->path = file->path;
    look->is_asked_for = true;
    look_at(look);
    look->is_asked_for = false;
    if (look->acl == NULL) {
        snprintf(why, why_size, "%s", look->why);
        return look->error;
    }
    int error = use(file, look->acl);
    if (error != 0)
        snprintf(why, why_size, "%s: no memory for its rules", file->path);
    else
        look->acl = NULL;
    return error;
}

int acl_file_open(struct loop *loop, const char *path, acl_file_reloaded *reloaded, void *context,
                  struct acl_file **out, char *why, size_t why_size)
{
    struct acl_file *file = memory_allocate_zero(sizeof *file);
    int error = file == NULL ? CULVERT_ERROR_NO_MEMORY : -pthread_mutex_init(&file->mutex, NULL);
    if (error != 0) {
        snprintf(why, why_size, "cannot watch %.500s: %s", path, error_text(error));
        memory_free(file);
        return error;
    }
    file->loop = loop;
    file->reloaded = reloaded;
    file->context = context;
    file->timer_closed.run = timer_closed;
    file->path = memory_copy_text(path);
    if (file->path == NULL) {
        error = CULVERT_ERROR_NO_MEMORY;
        snprintf(why, why_size, "cannot watch %.500s: %s", path, error_text(error));
    } else {
        error = read_first(file, why, why_size);
    }
    if (error == 0) {
        error = loop_timer_init(loop, &file->timer, look_again, file);
        if (error != 0)
            snprintf(why, why_size, "cannot watch %.500s: %s", path, error_text(error));
    }
    if (error != 0) {
        free_file(file);
        return error;
    }
    loop_timer_start(&file->timer, ACL_FILE_LOOK_MILLISECONDS);
    *out = file;
    return 0;
}

void acl_file_reload(struct acl_file *file)
{
    file->is_asked_for = true;
    if (!file->is_working)
        begin_look(file);
}

void acl_file_close(struct acl_file *file)
{
    if (file == NULL)
        return;
    file->is_closing = true;
    loop_timer_close(&file->timer, &file->timer_closed);
    /* What has begun already is waited for when the loop is deinitialised. */
    if (file->is_working)
        uv_cancel((uv_req_t *)&file->work);
}

struct acl_version *acl_file_hold(struct acl_file *file)
{
    pthread_mutex_lock(&file->mutex);
    struct acl_version *version = file->current;
    atomic_fetch_add(&version->references, 1);
    pthread_mutex_unlock(&file->mutex);
    return version;
}
