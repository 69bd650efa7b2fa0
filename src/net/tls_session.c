#include "net/tls_session.h"

#include "base/error.h"
#include "base/memory.h"
#include "net/address.h"
#include "net/tls_bio.h"
#include "net/tls_context.h"
#include "net/tls_explain.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>

enum {
    RECORD_SIZE = SSL3_RT_MAX_PLAIN_LENGTH, /* 16 KiB */
    /* What is encrypted before the socket is asked whether it takes it: little enough that a small
     * message behind it does not wait long. */
    BATCH_SIZE = 8 * RECORD_SIZE,
    MESSAGE_SIZE = 512,
    HOST_SIZE = 256,
};

_Static_assert(BATCH_SIZE * 2 <= CHUNK_LARGE_SIZE, "a batch and its records' heads fit in a chunk");

/* RFC 8446 §5.5: an AES-GCM key is good for 2^24.5 full records; we change it well before. */
static const uint64_t KEY_BYTES_MAX = (uint64_t)64 << 30;

struct tls_session {
    SSL *ssl;
    struct tls_context *context;
    struct account *account; /* that is charged; NULL: it has departed */
    size_t charged;          /* bytes charged to the account */
    struct tls_bio bio;
    uint64_t key_bytes; /* written with the present key */
    int error;          /* stays */
    bool is_secured;
    bool is_end_told; /* a read has returned the end or the error */
    bool has_ended;   /* close_notify is queued */
    char message[MESSAGE_SIZE];
    char host[HOST_SIZE];
};

static bool is_client(const struct tls_session *session)
{
    return !session->context->is_server;
}

int tls_verify_certificate(int accepted, X509_STORE_CTX *store)
{
    if (accepted == 1)
        return 1;
    SSL *ssl = X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx());
    struct tls_session *session = SSL_get_app_data(ssl);
    tls_explain_certificate(store, session->host, session->context->ca, session->message,
                            sizeof(session->message));
    return 0;
}

/* Whom the certificate must be for, and SNI, which is for names only (RFC 6066 §3). */
static int set_host(struct tls_session *session, const char *host)
{
    struct sockaddr_storage address;
    X509_VERIFY_PARAM *parameters = SSL_get0_param(session->ssl);
    size_t length = host == NULL ? 0 : strlen(host);

    if (length == 0 || length >= sizeof(session->host))
        return CULVERT_ERROR_INVALID;
    memcpy(session->host, host, length + 1);
    if (address_parse(host, 0, &address) == 0) {
        if (X509_VERIFY_PARAM_set1_ip_asc(parameters, host) != 1)
            return CULVERT_ERROR_INVALID;
        return 0;
    }
    if (length > 1 && session->host[length - 1] == '.')
        session->host[length - 1] = '\0';
    X509_VERIFY_PARAM_set_hostflags(parameters, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    if (X509_VERIFY_PARAM_set1_host(parameters, session->host, 0) != 1 ||
        SSL_set_tlsext_host_name(session->ssl, session->host) != 1)
        return CULVERT_ERROR_INVALID;
    return 0;
}

/* Charges the cost of its present state, instead of the last one. */
static void charge(struct tls_session *session)
{
    size_t cost = session->is_secured ? TLS_SESSION_COST : TLS_HANDSHAKE_COST;
    account_charge(session->account, cost);
    account_release(session->account, session->charged);
    session->charged = cost;
}

static void stop_charging(struct tls_session *session)
{
    if (session->account != NULL)
        account_release(session->account, session->charged);
    session->account = NULL;
    session->charged = 0;
}

int tls_session_new(struct tls_context *context, const char *host, int fd, struct chunk_pool *pool,
                    struct tls_session **session)
{
    int error = CULVERT_ERROR_NO_MEMORY;
    struct tls_session *new = memory_allocate_zero(sizeof(*new));
    if (new == NULL)
        return error;

    new->context = tls_context_ref(context);
    new->account = pool->account;
    charge(new);
    new->bio.fd = fd;
    new->bio.pool = pool;
    new->bio.is_server = context->is_server;
    new->ssl = SSL_new(context->ssl);
    BIO *bio = tls_bio_new(context->bio_method, &new->bio);
    if (new->ssl == NULL || bio == NULL) {
        BIO_free(bio);
        goto out;
    }
    SSL_set_bio(new->ssl, bio, bio);
    SSL_set_app_data(new->ssl, new);
    if (context->is_server) {
        SSL_set_accept_state(new->ssl);
    } else {
        SSL_set_connect_state(new->ssl);
        error = set_host(new, host);
        if (error != 0)
            goto out;
    }
    *session = new;
    new = NULL;
    error = 0;
out:
    ERR_clear_error();
    tls_session_free(new);
    return error;
}

void tls_session_free(struct tls_session *session)
{
    if (session == NULL)
        return;
    SSL_free(session->ssl);
    tls_bio_clear(&session->bio);
    tls_context_unref(session->context);
    stop_charging(session);
    memory_free(session);
}

static void explain(struct tls_session *session, const char *message)
{
    snprintf(session->message, sizeof(session->message), "%s", message);
}

/* OpenSSL has given up in the handshake; why, in the order of what helps most. */
static int fail_handshake(struct tls_session *session)
{
    unsigned long code = ERR_peek_error();
    const struct tls_bio *bio = &session->bio;

    session->error =
        bio->read_error == CULVERT_ERROR_NO_MEMORY ? bio->read_error : CULVERT_ERROR_TLS;
    if (session->message[0] != '\0' || session->error != CULVERT_ERROR_TLS)
        return session->error;
    if (bio->read_error == CULVERT_ERROR_TOO_LARGE) {
        explain(session, "the client's first message of TLS is too large");
    } else if (bio->is_foreign) {
        explain(session, is_client(session) ? "the server does not speak TLS; is it ws:// rather "
                                              "than wss://?"
                                            : "the client does not speak TLS");
    } else if (code != 0 && !bio->is_eof) {
        tls_explain_code(code, session->message, sizeof(session->message));
    } else if (is_client(session) && !bio->has_started) {
        explain(session, "the server closed the connection instead of answering TLS; is it ws:// "
                         "rather than wss://?");
    } else {
        explain(session, "the connection was cut during the TLS handshake");
    }
    return session->error;
}

int tls_session_handshake(struct tls_session *session)
{
    if (session->error != 0)
        return session->error;
    if (session->is_secured)
        return 0;

    ERR_clear_error();
    int result = SSL_do_handshake(session->ssl);
    int why = result == 1 ? SSL_ERROR_NONE : SSL_get_error(session->ssl, result);
    if (why == SSL_ERROR_NONE) {
        session->is_secured = true;
        charge(session);
    } else if (why != SSL_ERROR_WANT_READ && why != SSL_ERROR_WANT_WRITE) {
        fail_handshake(session);
    }
    /* The flight, or the alert that says why not. A socket that fails here is told by reading. */
    tls_bio_send(&session->bio);
    ERR_clear_error();
    if (session->error != 0)
        return session->error;
    return session->is_secured ? 0 : -EAGAIN;
}

/* OpenSSL has given up behind the handshake. */
static int fail(struct tls_session *session, int why, int socket_error)
{
    if (why == SSL_ERROR_SYSCALL) {
        session->error = socket_error != 0 ? socket_error : -ECONNRESET;
    } else {
        session->error = CULVERT_ERROR_TLS;
        tls_explain_code(ERR_peek_error(), session->message, sizeof(session->message));
        tls_bio_send(&session->bio); /* the alert */
    }
    ERR_clear_error();
    return session->error;
}

/* Makes OpenSSL keep its buffer between records while more input is available, instead of
 * allocating one for each, and free it when there is none. */
static void keep_buffer_while_busy(struct tls_session *session)
{
    if (tls_bio_buffer_bytes(&session->bio.in) != 0)
        SSL_clear_mode(session->ssl, SSL_MODE_RELEASE_BUFFERS);
    else
        SSL_set_mode(session->ssl, SSL_MODE_RELEASE_BUFFERS);
}

ssize_t tls_session_read(struct tls_session *session, void *buffer, size_t size)
{
    size_t total = 0;
    ssize_t result = -EAGAIN;

    if (session->error != 0) {
        session->is_end_told = true;
        return session->error;
    }
    while (total < size) {
        size_t count = 0;
        keep_buffer_while_busy(session);
        if (ERR_peek_error() != 0) /* peeking costs much less than clearing, for each record */
            ERR_clear_error();
        if (SSL_read_ex(session->ssl, (uint8_t *)buffer + total, size - total, &count) == 1) {
            total += count;
            continue;
        }
        int why = SSL_get_error(session->ssl, 0);
        if (why == SSL_ERROR_ZERO_RETURN)
            result = 0;
        else if (why != SSL_ERROR_WANT_READ && why != SSL_ERROR_WANT_WRITE)
            result = fail(session, why, session->bio.read_error);
        break;
    }
    /* Reading may have answered: a new key, a ticket. */
    if (tls_bio_buffer_bytes(&session->bio.out) != 0)
        tls_bio_send(&session->bio);
    if (total != 0 || size == 0)
        return (ssize_t)total;
    if (result != -EAGAIN)
        session->is_end_told = true;
    return result;
}

/* Where a write is in its vectors. */
struct cursor {
    const struct iovec *vectors;
    int count;
    size_t offset;
};

static size_t cursor_rest(struct cursor *cursor)
{
    while (cursor->count > 0 && cursor->offset == cursor->vectors->iov_len) {
        cursor->vectors++;
        cursor->count--;
        cursor->offset = 0;
    }
    return cursor->count > 0 ? cursor->vectors->iov_len - cursor->offset : 0;
}

static const uint8_t *cursor_take(struct cursor *cursor, size_t size)
{
    const uint8_t *data = (const uint8_t *)cursor->vectors->iov_base + cursor->offset;
    cursor->offset += size;
    return data;
}

static int encrypt(struct tls_session *session, const uint8_t *data, size_t size)
{
    size_t written = 0;

    if (size == 0)
        return 0;
    if (SSL_write_ex(session->ssl, data, size, &written) != 1)
        return fail(session, SSL_get_error(session->ssl, 0), session->bio.write_error);
    session->key_bytes += size;
    return 0;
}

/* How many bytes of the next vector should be copied behind `used` bytes of the record that is
 * being gathered. 0: its full records are encrypted in place. To copy less than a record costs less
 * CPU than a short record does, at both ends. */
static size_t bytes_to_gather(size_t rest, size_t used)
{
    size_t room = RECORD_SIZE - used;

    if (used == 0 && rest >= RECORD_SIZE)
        return 0;
    return rest < room ? rest : room;
}

/* A batch, and a little more if that is the rest, which then needs no sending of its own. */
static size_t batch_limit(const struct cursor *cursor)
{
    size_t rest = 0;

    for (int i = 0; i < cursor->count && rest <= BATCH_SIZE + RECORD_SIZE; i++)
        rest += cursor->vectors[i].iov_len;
    rest -= cursor->offset;
    return rest <= BATCH_SIZE + RECORD_SIZE ? rest : BATCH_SIZE;
}

/* Encrypts a batch into the empty output buffer, so that there is always room and OpenSSL never
 * wants to write. Returns how many bytes, or an error. */
static ssize_t write_batch(struct tls_session *session, struct cursor *cursor)
{
    uint8_t record[RECORD_SIZE];
    size_t used = 0;
    size_t total = 0;
    size_t limit = batch_limit(cursor);
    size_t rest;
    int error = 0;

    if (tls_bio_reserve(&session->bio) == 0)
        return CULVERT_ERROR_NO_MEMORY;
    ERR_clear_error();
    if (session->key_bytes > KEY_BYTES_MAX && SSL_version(session->ssl) == TLS1_3_VERSION) {
        SSL_key_update(session->ssl, SSL_KEY_UPDATE_NOT_REQUESTED);
        session->key_bytes = 0;
    }
    while (error == 0 && total < limit && (rest = cursor_rest(cursor)) != 0) {
        if (rest > limit - total)
            rest = limit - total;
        size_t gathered = bytes_to_gather(rest, used);
        if (gathered != 0) {
            memcpy(record + used, cursor_take(cursor, gathered), gathered);
            used += gathered;
            total += gathered;
            if (used < RECORD_SIZE)
                continue;
        }
        if (gathered != 0) {
            error = encrypt(session, record, used);
            used = 0;
        } else {
            size_t whole = rest - rest % RECORD_SIZE;
            error = encrypt(session, cursor_take(cursor, whole), whole);
            total += whole;
        }
    }
    if (error == 0)
        error = encrypt(session, record, used);
    return error != 0 ? error : (ssize_t)total;
}

ssize_t tls_session_write(struct tls_session *session, const struct iovec *vectors, int count)
{
    struct cursor cursor = {vectors, count, 0};
    size_t total = 0;
    int sent = 0;

    while (session->error == 0 && cursor_rest(&cursor) != 0) {
        sent = tls_bio_send(&session->bio);
        if (sent != 0)
            break;
        ssize_t taken = write_batch(session, &cursor);
        if (taken < 0)
            return total != 0 && session->error == 0 ? (ssize_t)total : taken;
        total += (size_t)taken;
    }
    if (sent == 0)
        sent = tls_bio_send(&session->bio);
    if (session->error != 0)
        return session->error;
    return total != 0 || sent == 0 ? (ssize_t)total : sent;
}

void tls_session_end(struct tls_session *session)
{
    if (session->has_ended || !session->is_secured || session->error != 0)
        return;
    session->has_ended = true;
    ERR_clear_error();
    SSL_shutdown(session->ssl);
    ERR_clear_error();
}

int tls_session_flush(struct tls_session *session)
{
    return tls_bio_send(&session->bio) == -EAGAIN ? -EAGAIN : 0;
}

bool tls_session_is_drained(const struct tls_session *session)
{
    return tls_bio_buffer_bytes(&session->bio.out) == 0;
}

void tls_session_socket_readable(struct tls_session *session)
{
    session->bio.is_dry = false;
}

bool tls_session_has_input(const struct tls_session *session)
{
    if (session->is_end_told)
        return false;
    return session->error != 0 || SSL_pending(session->ssl) > 0 ||
           tls_bio_buffer_bytes(&session->bio.in) != 0 ||
           (SSL_get_shutdown(session->ssl) & SSL_RECEIVED_SHUTDOWN) != 0;
}

int tls_session_depart(struct tls_session *session)
{
    int error = tls_bio_pack(&session->bio);
    if (error == 0)
        stop_charging(session);
    return error;
}

int tls_session_arrive(struct tls_session *session, struct chunk_pool *pool)
{
    session->account = pool->account;
    charge(session);
    return tls_bio_unpack(&session->bio, pool);
}

const char *tls_session_message(const struct tls_session *session)
{
    return session->message[0] == '\0' ? NULL : session->message;
}
