#include "gateway/request.h"

#include "base/memory.h"
#include "base/reason.h"

#include <string.h>

/* Copies the text to the place, and moves the place behind it. */
static const char *put(char **place, struct text text)
{
    char *start = *place;
    if (text.size > 0)
        memcpy(start, text.data, text.size);
    start[text.size] = '\0';
    *place = start + text.size + 1;
    return start;
}

/* An open of Hubble 0.1 without a host means the answering agent's own. */
static struct text host_of(const struct message_open *open)
{
    return open->host.size == 0 && open->guid.size > 0 ? text_of("localhost") : open->host;
}

static bool is_possible(const struct message_open *open)
{
    return open->agent.size > 0 && str_is_legacy_name(open->agent) && host_of(open).size > 0 &&
           str_is_printable(open->host) && str_is_printable(open->kind);
}

/* What a client calls itself is only told on, so it is left out where it cannot be told. */
static struct text printable(struct text text)
{
    return str_is_printable(text) ? text : TEXT_NULL;
}

struct request *request_new(uint64_t session, const struct request_source *source,
                            const struct message_open *open, int *code, const char **why)
{
    *code = REASON_PROTOCOL;
    *why = "the request names no possible target";
    if (!is_possible(open))
        return NULL;
    *code = REASON_NO_MEMORY;
    *why = "the gateway is out of memory";
    struct text client = printable(open->client);
    struct text texts[] = {
        text_of(source->name[0] != '\0' ? source->name : POLICY_NOBODY),
        text_of(source->user),
        text_of(source->address),
        open->kind,
        open->agent,
        host_of(open),
        open->key,
        client,
        open->guid,
        printable(open->pair),
    };
    size_t count = sizeof(texts) / sizeof(texts[0]);
    size_t size = count;
    for (size_t i = 0; i < count; i++)
        size += texts[i].size;
    struct request *request = memory_allocate_zero(sizeof(*request) + size);
    if (request == NULL)
        return NULL;
    const char **places[] = {
        &request->asks.source, &request->asks.user, &request->asks.address, &request->asks.kind,
        &request->asks.agent,  &request->asks.host, &request->asks.key,     &request->client,
        &request->guid,        &request->pair,
    };
    char *place = request->texts;
    for (size_t i = 0; i < count; i++)
        *places[i] = put(&place, texts[i]);
    request->asks.port = open->port;
    request->session = session;
    if (source->place != NULL)
        memcpy(request->place, source->place, sizeof(request->place));
    request->references = 1;
    return request;
}

struct request *request_ref(struct request *request)
{
    atomic_fetch_add(&request->references, 1);
    return request;
}

void request_unref(struct request *request)
{
    if (request == NULL || atomic_fetch_sub(&request->references, 1) != 1)
        return;
    explicit_bzero((char *)request->asks.key, strlen(request->asks.key));
    memory_free(request);
}

struct message_open request_open(const struct request *request)
{
    return (struct message_open){
        .kind = text_of(request->asks.kind),
        .agent = text_of(request->asks.agent),
        .host = text_of(request->asks.host),
        .port = request->asks.port,
        .key = text_of(request->asks.key),
        .source = text_of(request->asks.source),
        .client = text_of(request->asks.address),
        .guid = text_of(request->guid),
    };
}

struct event request_event(const struct request *request, enum event_type type)
{
    return (struct event){
        .type = type,
        .session = request->session,
        .source = request->asks.source,
        .source_address = request->asks.address,
        .client = request->client[0] != '\0' ? request->client : NULL,
        .source_user = request->asks.user[0] != '\0' ? request->asks.user : NULL,
        .agent = request->asks.agent,
        .kind = request->asks.kind,
        .host = request->asks.host,
        .port = request->asks.port,
        .key = request->asks.key,
    };
}
