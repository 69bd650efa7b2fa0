#include "journal/webhook.h"

#include "base/error.h"
#include "base/file_version.h"
#include "base/key_source.h"
#include "base/log.h"
#include "base/memory.h"
#include "journal/clock.h"
#include "journal/journal.h"
#include "journal/thread.h"
#include "journal/webhook_post.h"

#include <errno.h>
#include <inttypes.h>
#include <openssl/rand.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

struct item {
    struct item *next;
    size_t size;
    struct room_place place;
    char json[];
};

/* A first-in-first-out of items. */
struct queue {
    struct item *first;
    struct item **end;
    size_t count;
    size_t bytes;
};

struct webhook {
    struct webhook_post post;
    char journal[40];
    pthread_t thread;
    _Atomic(int64_t) deadline; /* 0: it is not asked to stop */
    int wake;                  /* an eventfd, readable when the thread is to look */

    pthread_mutex_t mutex; /* guards what follows */
    struct queue queue;
    struct room room;
    bool is_idle;
    uint64_t dropped; /* that no delivered body has told yet */

    /* The thread's */
    char *secret_file; /* NULL: none */
    struct file_version secret_version;
    bool is_failing;
    uint64_t told; /* dropped, as the body under way says */
};

static void queue_init(struct queue *queue)
{
    *queue = (struct queue){.end = &queue->first};
}

static void queue_push(struct queue *queue, struct item *item)
{
    item->next = NULL;
    *queue->end = item;
    queue->end = &item->next;
    queue->count++;
    queue->bytes += sizeof *item + item->size;
}

static struct item *queue_pop(struct queue *queue)
{
    struct item *item = queue->first;
    if (item == NULL)
        return NULL;
    queue->first = item->next;
    if (queue->first == NULL)
        queue->end = &queue->first;
    queue->count--;
    queue->bytes -= sizeof *item + item->size;
    return item;
}

static void free_items(struct queue *queue)
{
    for (struct item *item; (item = queue_pop(queue)) != NULL;)
        memory_free(item);
}

static void wake(struct webhook *webhook)
{
    uint64_t one = 1;
    while (write(webhook->wake, &one, sizeof one) < 0 && errno == EINTR)
        continue;
}

/* Until it is woken, for so many milliseconds, or without an end if negative. */
static void rest(struct webhook *webhook, int milliseconds)
{
    uint64_t count;
    struct pollfd descriptor = {.fd = webhook->wake, .events = POLLIN};
    if (poll(&descriptor, 1, milliseconds) > 0 && read(webhook->wake, &count, sizeof count) < 0)
        return;
}

void webhook_push(struct webhook *webhook, const char *json, size_t size, struct room_place place)
{
    struct item *item = memory_allocate(sizeof *item + size);
    bool must_wake = false;
    bool is_first_drop = false;
    if (item != NULL) {
        item->size = size;
        item->place = place;
        memcpy(item->json, json, size);
    }
    pthread_mutex_lock(&webhook->mutex);
    if (item != NULL && room_take(&webhook->room, place)) {
        queue_push(&webhook->queue, item);
        must_wake = webhook->is_idle;
        webhook->is_idle = false;
        item = NULL;
    } else {
        is_first_drop = webhook->dropped++ == 0;
    }
    pthread_mutex_unlock(&webhook->mutex);
    memory_free(item);
    if (must_wake)
        wake(webhook);
    if (is_first_drop)
        log_warning("too many events wait for the webhook at %s: more are dropped",
                    webhook->post.place);
}

/* The items of the next batch, in their order. */
static void take(struct webhook *webhook, struct queue *taken)
{
    queue_init(taken);
    pthread_mutex_lock(&webhook->mutex);
    while (
        taken->count < JOURNAL_WEBHOOK_BATCH && webhook->queue.first != NULL &&
        (taken->count == 0 || taken->bytes + webhook->queue.first->size <= WEBHOOK_BATCH_BYTES)) {
        room_give_back(&webhook->room, webhook->queue.first->place);
        queue_push(taken, queue_pop(&webhook->queue));
    }
    webhook->is_idle = taken->count == 0;
    webhook->told = webhook->dropped;
    pthread_mutex_unlock(&webhook->mutex);
}

static char *make_body(const struct webhook *webhook, const struct queue *items, size_t *size)
{
    char head[128];
    int head_size =
        snprintf(head, sizeof head, "{\"journal\":\"%s\",\"dropped\":%" PRIu64 ",\"events\":[",
                 webhook->journal, webhook->told);
    char *body = memory_allocate((size_t)head_size + items->bytes + 2);
    if (body == NULL)
        return NULL;
    char *end = mempcpy(body, head, (size_t)head_size);
    for (const struct item *item = items->first; item != NULL; item = item->next) {
        end = mempcpy(end, item->json, item->size);
        *end++ = item->next == NULL ? ']' : ',';
    }
    *end++ = '}';
    *size = (size_t)(end - body);
    return body;
}

enum verdict { DELIVERED, REFUSED, TRY_AGAIN, GIVE_UP };

static enum verdict judge(struct webhook *webhook, long status)
{
    if (status >= 200 && status < 300)
        return DELIVERED;
    if (status < 500 && status != 429 && status != 408)
        return REFUSED;
    snprintf(webhook->post.problem, sizeof webhook->post.problem, "it answered %ld", status);
    return TRY_AGAIN;
}

/* The first check finds the version that was read at the start. */
static void refresh_secret(struct webhook *webhook)
{
    char secret[WEBHOOK_SECRET_SIZE];
    char why[512] = "";
    if (webhook->secret_file == NULL ||
        !file_version_update(&webhook->secret_version, webhook->secret_file))
        return;
    int error = secret_source_file(webhook->secret_file, secret, sizeof secret, why, sizeof why);
    if (error == 0 && !webhook_post_has_secret(&webhook->post, secret)) {
        error = webhook_post_set_secret(&webhook->post, secret);
        if (error == 0)
            log_info("read the webhook's secret in %s again", webhook->secret_file);
        else
            snprintf(why, sizeof why, "%s: %s", webhook->secret_file, error_text(error));
    }
    explicit_bzero(secret, sizeof secret);
    if (error != 0)
        log_warning("keeping the webhook's old secret: %s", why);
}

static enum verdict attempt(struct webhook *webhook, const struct queue *items, int64_t *after)
{
    struct webhook_limit limit = {.deadline = &webhook->deadline, .changed = webhook->wake};
    size_t size = 0;
    long status = 0;
    *after = 0;
    refresh_secret(webhook);
    char *body = make_body(webhook, items, &size);
    enum webhook_result result = WEBHOOK_FAILED;
    if (body == NULL)
        snprintf(webhook->post.problem, sizeof webhook->post.problem, "%s",
                 error_text(CULVERT_ERROR_NO_MEMORY));
    else
        result = webhook_post_send(&webhook->post, &limit, body, size, &status, after);
    memory_free(body);
    enum verdict verdict = TRY_AGAIN;
    if (result == WEBHOOK_INTERRUPTED)
        verdict = GIVE_UP;
    else if (result == WEBHOOK_ANSWERED)
        verdict = judge(webhook, status);
    if (verdict == REFUSED)
        log_warning("the webhook at %s answered %ld: %zu events are dropped", webhook->post.place,
                    status, items->count);
    return verdict;
}

/* The chance in it keeps many gateways from coming back at the same moment. */
static int next_pause(int64_t *pause, int64_t after)
{
    uint32_t chance = 0;
    if (RAND_bytes((unsigned char *)&chance, sizeof chance) != 1)
        chance = 0;
    int64_t chosen = *pause - (int64_t)(chance % (uint64_t)(*pause / 2));
    int64_t asked = after < WEBHOOK_RETRY_MAX / 1000 ? after * 1000 : WEBHOOK_RETRY_MAX;
    *pause = 2 * *pause < WEBHOOK_RETRY_MAX ? 2 * *pause : WEBHOOK_RETRY_MAX;
    return (int)(chosen > asked ? chosen : asked);
}

static void note_failure(struct webhook *webhook)
{
    if (!webhook->is_failing)
        log_warning("the webhook at %s takes no events: %s; trying again", webhook->post.place,
                    webhook->post.problem);
    webhook->is_failing = true;
}

/* Counts what became of a batch. */
static void settle(struct webhook *webhook, enum verdict verdict, size_t count)
{
    pthread_mutex_lock(&webhook->mutex);
    if (verdict == DELIVERED)
        webhook->dropped -= webhook->told;
    else
        webhook->dropped += count;
    pthread_mutex_unlock(&webhook->mutex);
    if (webhook->is_failing && verdict != GIVE_UP) {
        webhook->is_failing = false;
        log_info("the webhook at %s takes events again", webhook->post.place);
    }
    if (verdict == DELIVERED && webhook->told > 0)
        log_warning("%" PRIu64 " events for the webhook at %s were dropped", webhook->told,
                    webhook->post.place);
}

static enum verdict deliver(struct webhook *webhook, const struct queue *items)
{
    int64_t pause = WEBHOOK_RETRY_MIN;
    for (;;) {
        int64_t after = 0;
        enum verdict verdict = attempt(webhook, items, &after);
        if (verdict != TRY_AGAIN)
            return verdict;
        note_failure(webhook);
        if (atomic_load(&webhook->deadline) != 0)
            return GIVE_UP;
        rest(webhook, next_pause(&pause, after));
    }
}

static void *run_thread(void *context)
{
    struct webhook *webhook = context;
    enum verdict verdict = DELIVERED;
    while (verdict != GIVE_UP) {
        struct queue items;
        bool is_stopping = atomic_load(&webhook->deadline) != 0;
        take(webhook, &items);
        if (items.count > 0) {
            verdict = deliver(webhook, &items);
            settle(webhook, verdict, items.count);
            free_items(&items);
        } else if (is_stopping) {
            break;
        } else {
            rest(webhook, -1);
        }
    }
    return NULL;
}

static void free_webhook(struct webhook *webhook)
{
    free_items(&webhook->queue);
    room_deinit(&webhook->room);
    webhook_post_deinit(&webhook->post);
    memory_free(webhook->secret_file);
    close(webhook->wake);
    pthread_mutex_destroy(&webhook->mutex);
    memory_free(webhook);
}

int webhook_start(const struct webhook_config *config, struct webhook **out, char *why,
                  size_t why_size)
{
    struct webhook *webhook = memory_allocate_zero(sizeof *webhook);
    int error =
        webhook == NULL ? CULVERT_ERROR_NO_MEMORY : thread_init_locks(&webhook->mutex, NULL);
    if (error != 0) {
        memory_free(webhook);
        snprintf(why, why_size, "cannot start the webhook: %s", error_text(error));
        return error;
    }
    queue_init(&webhook->queue);
    room_init(&webhook->room, 0); /* the keys are hashes */
    snprintf(webhook->journal, sizeof webhook->journal, "%s", config->journal);
    webhook->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    error = webhook->wake < 0 ? -errno : 0;
    if (error == 0 && config->secret_file != NULL) {
        webhook->secret_file = memory_copy_text(config->secret_file);
        error = webhook->secret_file != NULL ? 0 : CULVERT_ERROR_NO_MEMORY;
    }
    if (error == 0) {
        error = webhook_post_init(&webhook->post, config->url, config->secret, why, why_size);
        if (error == 0)
            error = thread_start(&webhook->thread, run_thread, webhook);
        else
            goto out;
    }
    if (error == 0) {
        *out = webhook;
        return 0;
    }
    snprintf(why, why_size, "cannot start the webhook: %s", error_text(error));
out:
    free_webhook(webhook);
    return error;
}

void webhook_stop(struct webhook *webhook, int64_t deadline)
{
    if (webhook == NULL)
        return;
    atomic_store(&webhook->deadline, deadline);
    wake(webhook);
    pthread_join(webhook->thread, NULL);
    uint64_t lost = webhook->dropped + webhook->queue.count;
    if (lost > 0)
        log_warning("%" PRIu64 " events were not delivered to the webhook at %s", lost,
                    webhook->post.place);
    free_webhook(webhook);
}
