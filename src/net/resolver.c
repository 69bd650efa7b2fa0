#include "net/resolver.h"

#include "base/error.h"
#include "base/memory.h"
#include "net/address.h"
#include "net/lookup_threads.h"

#include <assert.h>
#include <string.h>
#include <strings.h>

struct resolver {
    struct lookup_threads *threads;
    struct list running; /* shared look-ups */
    struct list turns;   /* askers whose look-ups wait, the next one first */
};

/* A look-up that a thread does, for all who want the name. */
struct shared_lookup {
    struct list_node node;
    struct resolver *resolver;
    struct lookup_job *job;
    struct asker *asker; /* who pays; NULL: nobody */
    struct list waiters;
};

/* ---- without a look-up ---- */

static unsigned know_localhost(struct sockaddr_storage *known)
{
    unsigned count = 0;
    count += address_parse("::1", 0, &known[count]) == 0;
    count += address_parse("127.0.0.1", 0, &known[count]) == 0;
    return count;
}

unsigned resolver_know(const char *host, struct sockaddr_storage known[static RESOLVER_KNOWN_MAX])
{
    static const struct addrinfo hints = {
        .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICHOST};
    struct addrinfo *list = NULL;
    if (address_parse(host, 0, &known[0]) == 0)
        return 1;
    if (strcasecmp(host, "localhost") == 0 || strcasecmp(host, "localhost.") == 0)
        return know_localhost(known);
    /* The older ways to write a number (inet_aton(3)), and addresses with a zone. */
    if (getaddrinfo(host, NULL, &hints, &list) != 0)
        return 0;
    memset(&known[0], 0, sizeof(known[0]));
    memcpy(&known[0], list->ai_addr, list->ai_addrlen);
    freeaddrinfo(list);
    return 1;
}

/* ---- the turns of those who wait ---- */

static void wait_for_turn(struct resolver *resolver, struct lookup *lookup)
{
    list_append(&lookup->asker->waiting, &lookup->node);
    if (!list_node_is_linked(&lookup->asker->turn))
        list_append(&resolver->turns, &lookup->asker->turn);
}

static struct lookup *lookup_at(struct list_node *node)
{
    return CONTAINER_OF(node, struct lookup, node);
}

static struct asker *asker_at(struct list_node *node)
{
    return CONTAINER_OF(node, struct asker, turn);
}

static void leave_queue(struct lookup *lookup)
{
    list_remove(&lookup->node);
    if (lookup->asker != NULL && list_is_empty(&lookup->asker->waiting))
        list_remove(&lookup->asker->turn);
}

/* ---- the end of a look-up ---- */

static void join(struct shared_lookup *shared, struct lookup *lookup)
{
    lookup->shared = shared;
    list_append(&shared->waiters, &lookup->node);
}

static void tell(struct lookup *lookup, int error, const struct addrinfo *list)
{
    list_remove(&lookup->node);
    lookup->shared = NULL;
    memory_free(lookup->host);
    lookup->host = NULL;
    lookup->done(lookup, error, list);
}

/* The job stays the caller's. */
static void free_shared(struct shared_lookup *shared)
{
    list_remove(&shared->node);
    if (shared->asker != NULL)
        asker_end_lookup(shared->asker);
    memory_free(shared);
}

static int meaning_of(const struct lookup_job *job)
{
    if (job->error == 0 && job->result != NULL)
        return 0;
    return job->error == EAI_MEMORY ? CULVERT_ERROR_NO_MEMORY : CULVERT_ERROR_RESOLVE;
}

static void begin_next(struct resolver *resolver);

static void on_done(struct lookup_job *job)
{
    struct shared_lookup *shared = job->holder;
    if (shared != NULL) {
        struct resolver *resolver = shared->resolver;
        struct list_node *node;
        list_remove(&shared->node); /* whoever asks again begins anew */
        while ((node = list_first(&shared->waiters)) != NULL)
            tell(lookup_at(node), meaning_of(job), job->result);
        free_shared(shared);
        begin_next(resolver);
    }
    lookup_job_free(job);
}

/* ---- the beginning ---- */

static struct shared_lookup *find(struct resolver *resolver, const char *host)
{
    struct list_node *node = list_first(&resolver->running);
    for (; node != NULL; node = list_next(&resolver->running, node)) {
        struct shared_lookup *shared = CONTAINER_OF(node, struct shared_lookup, node);
        if (strcasecmp(shared->job->host, host) == 0)
            return shared;
    }
    return NULL;
}

static struct lookup_job *new_job(const char *host)
{
    struct lookup_job *job = memory_allocate_zero(sizeof(*job));
    if (job == NULL)
        return NULL;
    job->done = on_done;
    job->host = memory_copy_text(host);
    if (job->host != NULL)
        return job;
    memory_free(job);
    return NULL;
}

/* Takes a thread for the look-up, which is on no list. 0 or an error. */
static int begin(struct resolver *resolver, struct lookup *lookup)
{
    struct shared_lookup *shared = memory_allocate_zero(sizeof(*shared));
    struct lookup_job *job = new_job(lookup->host);
    int error = CULVERT_ERROR_NO_MEMORY;
    if (shared == NULL || job == NULL)
        goto out;
    job->holder = shared;
    if (lookup_threads_run(resolver->threads, job) != 0) {
        error = CULVERT_ERROR_RESOLVE;
        goto out;
    }
    shared->resolver = resolver;
    shared->job = job;
    shared->asker = lookup->asker;
    if (shared->asker != NULL)
        asker_begin_lookup(shared->asker);
    list_init(&shared->waiters);
    list_append(&resolver->running, &shared->node);
    join(shared, lookup);
    return 0;
out:
    memory_free(shared);
    if (job != NULL)
        lookup_job_free(job);
    return error;
}

/* All who wait their turn with this name need it no more. */
static void join_equal(struct resolver *resolver, struct shared_lookup *shared)
{
    struct list_node *turn = list_first(&resolver->turns);
    while (turn != NULL) {
        struct asker *asker = asker_at(turn);
        struct list_node *node = list_first(&asker->waiting);
        turn = list_next(&resolver->turns, turn);
        while (node != NULL) {
            struct lookup *lookup = lookup_at(node);
            node = list_next(&asker->waiting, node);
            if (strcasecmp(lookup->host, shared->job->host) != 0)
                continue;
            leave_queue(lookup);
            join(shared, lookup);
        }
    }
}

/* Whoever was served goes to the end of the queue. */
static bool begin_one(struct resolver *resolver)
{
    struct list_node *turn = list_first(&resolver->turns);
    while (turn != NULL && !asker_may_look_up(asker_at(turn)))
        turn = list_next(&resolver->turns, turn);
    if (turn == NULL)
        return false;
    struct asker *asker = asker_at(turn);
    struct lookup *lookup = lookup_at(list_first(&asker->waiting));
    leave_queue(lookup);
    if (list_node_is_linked(turn)) {
        list_remove(turn);
        list_append(&resolver->turns, turn);
    }
    int error = begin(resolver, lookup);
    if (error == 0)
        join_equal(resolver, lookup->shared);
    else
        tell(lookup, error, NULL);
    return true;
}

static void begin_next(struct resolver *resolver)
{
    while (begin_one(resolver))
        continue;
}

static struct resolver *resolver_of(struct loop *loop)
{
    if (loop->resolver != NULL)
        return loop->resolver;
    struct resolver *resolver = memory_allocate_zero(sizeof(*resolver));
    if (resolver == NULL)
        return NULL;
    resolver->threads = lookup_threads_new(loop);
    if (resolver->threads == NULL) {
        memory_free(resolver);
        return NULL;
    }
    list_init(&resolver->running);
    list_init(&resolver->turns);
    loop->resolver = resolver;
    return resolver;
}

int resolver_start(struct loop *loop, struct lookup *lookup, const char *host, struct asker *asker)
{
    struct resolver *resolver = resolver_of(loop);
    char *copy = resolver != NULL ? memory_copy_text(host) : NULL;
    if (copy == NULL)
        return CULVERT_ERROR_NO_MEMORY;
    lookup->host = copy;
    lookup->asker = asker;
    lookup->shared = NULL;
    struct shared_lookup *shared = find(resolver, host);
    int error = 0;
    if (shared != NULL)
        join(shared, lookup);
    else if (asker != NULL && !asker_may_look_up(asker))
        wait_for_turn(resolver, lookup);
    else
        error = begin(resolver, lookup);
    if (error == 0)
        return 0;
    memory_free(copy);
    lookup->host = NULL;
    return error;
}

void resolver_cancel(struct lookup *lookup)
{
    if (!list_node_is_linked(&lookup->node))
        return;
    if (lookup->shared != NULL)
        list_remove(&lookup->node);
    else
        leave_queue(lookup);
    lookup->shared = NULL;
    memory_free(lookup->host);
    lookup->host = NULL;
}

void resolver_free(struct resolver *resolver)
{
    struct list_node *node;
    if (resolver == NULL)
        return;
    assert(list_is_empty(&resolver->turns));
    while ((node = list_first(&resolver->running)) != NULL) {
        struct shared_lookup *shared = CONTAINER_OF(node, struct shared_lookup, node);
        assert(list_is_empty(&shared->waiters));
        shared->job->holder = NULL;
        free_shared(shared);
    }
    lookup_threads_close(resolver->threads);
    memory_free(resolver);
}
