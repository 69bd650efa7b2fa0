#include "base/error.h"
#include "base/memory.h"
#include "net/test_certificates.h"
#include "net/test_pair.h"
#include "net/tls_session.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

enum { LARGE = 8 * 1024 * 1024, HOUR = 3600, WHY_SIZE = 256, OUTPUT_MAX = 512 * 1024 };

static char directory[TEST_PATH_SIZE];
static char why[WHY_SIZE];

static const struct test_certificate certificates[] = {
    {"authority", NULL, NULL, -HOUR, HOUR},
    {"stranger", NULL, NULL, -HOUR, HOUR},
    {"good", "DNS:localhost,IP:127.0.0.1,IP:::1", "authority", -HOUR, HOUR},
    {"other", "DNS:other.example", "authority", -HOUR, HOUR},
    {"expired", "DNS:localhost", "authority", -2 * HOUR, -HOUR},
    {"future", "DNS:localhost", "authority", HOUR, 2 * HOUR},
    {"unknown", "DNS:localhost", "stranger", -HOUR, HOUR},
    {"alone", "DNS:localhost", NULL, -HOUR, HOUR},
    {"wild", "DNS:*.example.org", "authority", -HOUR, HOUR},
    {"partly-wild", "DNS:gate*.example.org", "authority", -HOUR, HOUR},
};

static struct tls_context *server_context(const char *name)
{
    struct tls_context *context = NULL;
    char certificate[TEST_PATH_SIZE];
    char key[TEST_PATH_SIZE];

    test_certificate_path(directory, name, ".crt", certificate);
    test_certificate_path(directory, name, ".key", key);
    assert_int_equal(tls_server_context(certificate, key, &context, why, sizeof(why)), 0);
    return context;
}

static struct tls_context *client_context(bool insecure)
{
    struct tls_context *context = NULL;
    char ca[TEST_PATH_SIZE];

    test_certificate_path(directory, "authority", ".crt", ca);
    assert_int_equal(tls_client_context(ca, insecure, &context, why, sizeof(why)), 0);
    return context;
}

/* ends[0] is the client. */
static void secure_pair(struct test_pair *pair, const char *certificate, const char *host,
                        bool insecure)
{
    struct tls_context *server = server_context(certificate);
    struct tls_context *client = client_context(insecure);

    assert_int_equal(conn_secure(pair->ends[0].conn, client, host), 0);
    assert_int_equal(conn_secure(pair->ends[1].conn, server, NULL), 0);
    assert_true(conn_is_secure(pair->ends[0].conn));
    tls_context_unref(server);
    tls_context_unref(client);
}

static void check_and_close(struct test_pair *pair)
{
    for (size_t i = 0; i < 2; i++) {
        assert_true(pair->ends[i].is_secured);
        assert_int_equal(pair->ends[i].error, 0);
        assert_int_equal(pair->ends[i].received, pair->ends[i].to_receive);
    }
    test_pair_close(pair);
}

/* Transfers */

static void test_both_ways_at_once(void **state)
{
    (void)state;
    struct test_pair pair;
    test_pair_open(&pair, LARGE);
    secure_pair(&pair, "good", "localhost", false);
    test_pair_run(&pair);
    check_and_close(&pair);
}

static void test_half_closed_side_still_receives(void **state)
{
    (void)state;
    struct test_pair pair;
    test_pair_open(&pair, LARGE / 8);
    pair.ends[1].waits_for_end = true;
    secure_pair(&pair, "good", "127.0.0.1", false);
    test_pair_run(&pair);
    check_and_close(&pair);
}

/* No event of the socket comes for what was read ahead: `readable` must come all the same. */
static void test_what_was_read_ahead_is_told(void **state)
{
    (void)state;
    struct test_pair pair;

    for (int pauses = 0; pauses < 2; pauses++) {
        test_pair_open(&pair, 200000);
        for (size_t i = 0; i < 2; i++) {
            pair.ends[i].keeps_open = true;
            pair.ends[i].read_size = 3000;
            pair.ends[i].pauses = pauses == 1;
        }
        secure_pair(&pair, "good", "::1", false);
        test_pair_run(&pair);
        /* An idle connection holds no buffer and causes no turns. */
        assert_int_equal(test_pair_chunks_held(&pair), 0);
        assert_true(test_pair_idle(&pair, 30) < 10);
        check_and_close(&pair);
    }
}

/* close_notify that came with the last data, while the socket stays open and tells nothing. */
static void test_end_that_was_read_ahead_is_told(void **state)
{
    (void)state;
    struct test_pair pair; /* its loop and sockets alone */
    struct tls_session *sessions[2];
    struct tls_context *contexts[2] = {client_context(false), server_context("good")};
    struct iovec vector = {.iov_base = "abc", .iov_len = 3};
    char buffer[100];

    test_pair_open(&pair, 0);
    for (size_t i = 0; i < 2; i++) {
        int fd = conn_descriptor(pair.ends[i].conn);
        assert_int_equal(
            tls_session_new(contexts[i], "localhost", fd, &pair.loop.pool, &sessions[i]), 0);
        tls_context_unref(contexts[i]);
    }
    for (int i = 0; i < 10; i++) {
        tls_session_socket_readable(sessions[i % 2]);
        int error = tls_session_handshake(sessions[i % 2]);
        assert_true(error == 0 || error == -EAGAIN);
    }
    assert_int_equal(tls_session_write(sessions[1], &vector, 1), 3);
    tls_session_end(sessions[1]);
    assert_int_equal(tls_session_flush(sessions[1]), 0);
    tls_session_socket_readable(sessions[0]);
    assert_int_equal(tls_session_read(sessions[0], buffer, sizeof(buffer)), 3);
    assert_true(tls_session_has_input(sessions[0]));
    assert_int_equal(tls_session_read(sessions[0], buffer, sizeof(buffer)), 0);
    assert_false(tls_session_has_input(sessions[0]));
    for (size_t i = 0; i < 2; i++)
        tls_session_free(sessions[i]);
    test_pair_close(&pair);
}

static void ignore_readable(struct conn *conn)
{
    struct test_end *end = conn_holder(conn);
    end->received++;
}

static const struct conn_events ignoring_events = {NULL, ignore_readable, NULL};

static void test_neglected_input_is_told_once_a_turn(void **state)
{
    (void)state;
    struct test_pair pair;
    char byte;

    test_pair_open(&pair, 1000);
    for (size_t i = 0; i < 2; i++)
        pair.ends[i].keeps_open = true;
    secure_pair(&pair, "good", "localhost", false);
    pair.ends[1].to_send = 0;
    pair.ends[0].to_receive = 0;
    test_pair_run(&pair);
    conn_set_owner(pair.ends[1].conn, &ignoring_events, &pair.ends[1]);
    struct iovec vector = {.iov_base = "abc", .iov_len = 3};
    assert_int_equal(conn_write(pair.ends[0].conn, &vector, 1), 3);
    test_pair_idle(&pair, 5);
    assert_int_equal(conn_read(pair.ends[1].conn, &byte, 1), 1);
    pair.ends[1].received = 0;
    unsigned turns = test_pair_idle(&pair, 5);
    assert_true(pair.ends[1].received > 0);
    assert_true(pair.ends[1].received <= turns * 2 + 2);
    conn_want(pair.ends[1].conn, 0);
    assert_true(test_pair_idle(&pair, 20) < 10);
    test_pair_close(&pair);
}

static size_t write_until_full(struct conn *conn)
{
    static char buffer[1024 * 1024];
    struct iovec vector = {.iov_base = buffer, .iov_len = sizeof(buffer)};
    size_t total = 0;
    ssize_t written;

    while ((written = conn_write(conn, &vector, 1)) > 0)
        total += (size_t)written;
    assert_int_equal(written, -EAGAIN);
    return total;
}

/* Each allocation of ours in turn fails: the connection ends with an error, and nothing is lost. */
static void test_no_memory(void **state)
{
    (void)state;
    struct tls_context *context = client_context(false);
    bool has_failed = true;

    for (size_t n = 1; has_failed; n++) {
        struct test_pair pair;
        test_pair_open(&pair, 1);
        memory_fail_after(n);
        int error = conn_secure(pair.ends[0].conn, context, "localhost");
        if (error == 0) {
            test_pair_idle(&pair, 2);
            error = pair.ends[0].secured_error;
        }
        has_failed = !memory_fail_is_pending();
        memory_fail_after(0);
        assert_true(has_failed ? error != 0 : error == 0);
        test_pair_close(&pair);
    }
    tls_context_unref(context);
}

static void expect_drained(struct conn *conn)
{
    assert_true(conn_is_drained(conn));
    conn_want(conn, 0);
}

static void test_output_is_bounded_and_goes_on_by_itself(void **state)
{
    (void)state;
    struct test_pair pair;
    static char buffer[1024 * 1024];
    size_t received = 0;
    static const struct conn_events writing_events = {NULL, ignore_readable, expect_drained};
    int small = 4096;

    test_pair_open(&pair, 0);
    setsockopt(conn_descriptor(pair.ends[0].conn), SOL_SOCKET, SO_SNDBUF, &small, sizeof(small));
    for (size_t i = 0; i < 2; i++)
        pair.ends[i].keeps_open = true;
    secure_pair(&pair, "good", "localhost", false);
    test_pair_run(&pair);
    for (size_t i = 0; i < 2; i++)
        conn_want(pair.ends[i].conn, 0);
    size_t total = write_until_full(pair.ends[0].conn);
    assert_false(conn_is_drained(pair.ends[0].conn));
    assert_true(test_pair_chunks_held(&pair) * CHUNK_LARGE_SIZE <= OUTPUT_MAX);
    assert_int_equal(conn_shutdown(pair.ends[0].conn), 0);
    conn_set_owner(pair.ends[0].conn, &writing_events, &pair.ends[0]);
    conn_want(pair.ends[0].conn, CONN_WRITE);
    conn_set_owner(pair.ends[1].conn, &ignoring_events, &pair.ends[1]);
    conn_want(pair.ends[1].conn, CONN_READ);
    for (int i = 0; i < 60000; i++) {
        ssize_t count = conn_read(pair.ends[1].conn, buffer, sizeof(buffer));
        if (count == 0)
            break;
        if (count > 0)
            received += (size_t)count;
        else
            test_pair_idle(&pair, 1);
    }
    assert_int_equal(received, total);
    assert_true(conn_is_drained(pair.ends[0].conn));
    assert_int_equal(conn_interest(pair.ends[0].conn), 0);
    test_pair_close(&pair);
}

static void test_reset_is_an_error(void **state)
{
    (void)state;
    struct test_pair pair;
    test_pair_open(&pair, 0);
    for (size_t i = 0; i < 2; i++)
        pair.ends[i].keeps_open = true;
    secure_pair(&pair, "good", "localhost", false);
    test_pair_run(&pair);
    conn_close(pair.ends[0].conn, true);
    pair.ends[0].conn = NULL;
    pair.ends[1].to_receive = 1;
    conn_want(pair.ends[1].conn, CONN_READ);
    loop_run(&pair.loop);
    assert_int_equal(pair.ends[1].error, -ECONNRESET);
    test_pair_close(&pair);
}

/* Verification */

static void expect_failure(const char *certificate, const char *host, const char *message)
{
    struct test_pair pair;

    test_pair_open(&pair, 1);
    secure_pair(&pair, certificate, host, false);
    test_pair_run(&pair);
    assert_int_equal(pair.ends[0].secured_error, CULVERT_ERROR_TLS);
    assert_string_equal(conn_error_message(pair.ends[0].conn), message);
    assert_int_equal(pair.ends[1].received, 0);
    assert_true(test_pair_idle(&pair, 10) < 10);
    test_pair_close(&pair);
}

static void expect_untrusted(const char *certificate, const char *why_not)
{
    char message[TEST_PATH_SIZE + 128];
    char ca[TEST_PATH_SIZE];
    test_certificate_path(directory, "authority", ".crt", ca);
    snprintf(message, sizeof(message), "%s; it is not signed by a CA in %s (--ca)", why_not, ca);
    expect_failure(certificate, "localhost", message);
}

static void test_certificates_that_are_not_accepted(void **state)
{
    (void)state;
    expect_failure("other", "localhost", "certificate is for other.example, not for localhost");
    expect_failure("good", "example.org", "certificate is for localhost, not for example.org");
    expect_failure("good", "127.0.0.2", "certificate is for localhost, not for 127.0.0.2");
    expect_failure("wild", "a.b.example.org",
                   "certificate is for *.example.org, not for a.b.example.org");
    /* A part of a label stands for nothing (RFC 6125 §6.4.3, 3). */
    expect_failure("partly-wild", "gateway.example.org",
                   "certificate is for gate*.example.org, not for gateway.example.org");
    expect_failure("expired", "localhost", "certificate has expired");
    expect_failure("future", "localhost",
                   "certificate is not valid yet (is this machine's clock right?)");
    expect_untrusted("unknown", "certificate is signed by an unknown CA, stranger");
    expect_untrusted("alone", "certificate is self-signed and not among the trusted ones");
}

static void test_insecure_accepts_any(void **state)
{
    (void)state;
    struct test_pair pair;
    test_pair_open(&pair, 1000);
    secure_pair(&pair, "expired", "example.org", true);
    test_pair_run(&pair);
    check_and_close(&pair);
}

static void test_server_learns_why_the_client_went(void **state)
{
    (void)state;
    struct test_pair pair;
    test_pair_open(&pair, 1);
    secure_pair(&pair, "unknown", "localhost", false);
    test_pair_run(&pair);
    if (pair.ends[1].error == 0)
        loop_run(&pair.loop);
    assert_int_equal(pair.ends[1].error, CULVERT_ERROR_TLS);
    assert_string_equal(conn_error_message(pair.ends[1].conn),
                        "the peer broke TLS off: unknown CA");
    test_pair_close(&pair);
}

/* One side of the pair is no TLS: it sends `answer`, or closes. */
static void expect_no_tls(bool is_client, const char *answer, bool abort, const char *message)
{
    struct test_pair pair;
    struct tls_context *context = is_client ? client_context(false) : server_context("good");
    struct test_end *end = &pair.ends[0];

    test_pair_open(&pair, 0);
    assert_int_equal(conn_secure(end->conn, context, "localhost"), 0);
    tls_context_unref(context);
    test_pair_idle(&pair, 1);
    if (answer != NULL) {
        struct iovec vector = {.iov_base = (void *)(uintptr_t)answer, .iov_len = strlen(answer)};
        assert_int_equal(conn_write(pair.ends[1].conn, &vector, 1), strlen(answer));
    } else {
        conn_close(pair.ends[1].conn, abort);
        pair.ends[1].conn = NULL;
    }
    pair.ends[1].error = 1; /* takes no part */
    loop_timer_start(&pair.bound, 60000);
    loop_run(&pair.loop);
    assert_int_equal(end->secured_error, CULVERT_ERROR_TLS);
    assert_string_equal(conn_error_message(end->conn), message);
    assert_true(test_pair_idle(&pair, 10) < 10);
    test_pair_close(&pair);
}

static void test_peers_that_do_not_speak_tls(void **state)
{
    (void)state;
    static const char cut[] = "the server closed the connection instead of answering TLS; is it "
                              "ws:// rather than wss://?";

    expect_no_tls(true, "HTTP/1.1 400 Bad Request\r\n\r\n", false,
                  "the server does not speak TLS; is it ws:// rather than wss://?");
    expect_no_tls(true, "SSH-2.0-OpenSSH_9.2p1\r\n", false,
                  "the server does not speak TLS; is it ws:// rather than wss://?");
    expect_no_tls(true, NULL, false, cut);
    expect_no_tls(true, NULL, true, cut);
    expect_no_tls(false, "GET / HTTP/1.1\r\n\r\n", false, "the client does not speak TLS");
    expect_no_tls(false, NULL, false, "the connection was cut during the TLS handshake");
    /* The beginning of a ClientHello of 131,396 bytes. */
    expect_no_tls(false, "\x16\x03\x01\x01\x04\x01\x02\x01\x44", false,
                  "the client's first message of TLS is too large");
}

/* Files */

/* Copies `text` with `values[0]` for `{1}`, and so on. */
static void fill_in(const char *text, const char *const values[3], char *out, size_t room)
{
    size_t size = 0;
    while (*text != '\0') {
        bool is_place = text[0] == '{' && text[1] >= '1' && text[1] <= '3' && text[2] == '}';
        const char *piece = is_place ? values[text[1] - '1'] : text;
        size_t piece_size = is_place ? strlen(piece) : 1;
        assert_true(size + piece_size < room);
        memcpy(out + size, piece, piece_size);
        size += piece_size;
        text += is_place ? 3 : 1;
    }
    out[size] = '\0';
}

/* In `text` {1} stands for the key's path, {2} for the certificate's, {3} for the error. */
static void expect_no_server(const char *certificate, const char *key, int error, const char *text)
{
    struct tls_context *context = NULL;
    char certificate_path[TEST_PATH_SIZE];
    char key_path[TEST_PATH_SIZE];
    char expected[2 * WHY_SIZE];

    test_certificate_path(directory, certificate, "", certificate_path);
    test_certificate_path(directory, key, "", key_path);
    assert_int_equal(tls_server_context(certificate_path, key_path, &context, why, sizeof(why)),
                     error);
    assert_null(context);
    const char *const values[3] = {key_path, certificate_path, error_text(error)};
    fill_in(text, values, expected, sizeof(expected));
    assert_string_equal(why, expected);
}

static void test_server_files_that_will_not_do(void **state)
{
    (void)state;
    char path[TEST_PATH_SIZE];

    expect_no_server("good.crt", "other.key", CULVERT_ERROR_TLS,
                     "the private key in {1} does not belong to the certificate in {2}");
    expect_no_server("good.crt", "missing.key", -ENOENT, "cannot read {1}: {3}");
    expect_no_server("missing.crt", "good.key", -ENOENT, "cannot read {2}: {3}");
    expect_no_server("good.key", "good.key", CULVERT_ERROR_TLS,
                     "{1} holds no certificate in PEM form");

    test_certificate_path(directory, "good", ".crt", path);
    assert_int_equal(chmod(path, 0600), 0);
    expect_no_server("good.crt", "good.crt", CULVERT_ERROR_TLS,
                     "{1} holds no private key in PEM form");

    test_certificate_path(directory, "good", ".key", path);
    assert_int_equal(chmod(path, 0644), 0);
    expect_no_server("good.crt", "good.key", CULVERT_ERROR_PERMISSION,
                     "{1}: all users may read it (mode 0644); its mode must be 0600, 0400 or "
                     "0640");
    assert_int_equal(chmod(path, 0600), 0);
}

static void test_client_files_that_will_not_do(void **state)
{
    (void)state;
    struct tls_context *context = NULL;
    char path[TEST_PATH_SIZE];

    test_certificate_path(directory, "missing", ".crt", path);
    assert_int_equal(tls_client_context(path, false, &context, why, sizeof(why)), -ENOENT);
    test_certificate_path(directory, "good", ".key", path);
    assert_int_equal(tls_client_context(path, false, &context, why, sizeof(why)),
                     CULVERT_ERROR_TLS);
    assert_non_null(strstr(why, "good.key holds no certificate"));
    assert_null(context);
}

static void test_ca_file_of_the_environment(void **state)
{
    (void)state;
    struct test_pair pair;
    struct tls_context *server = server_context("good");
    struct tls_context *client = NULL;
    char path[TEST_PATH_SIZE];

    test_certificate_path(directory, "authority", ".crt", path);
    setenv("SSL_CERT_FILE", path, 1);
    assert_int_equal(tls_client_context(NULL, false, &client, why, sizeof(why)), 0);
    unsetenv("SSL_CERT_FILE");
    test_pair_open(&pair, 10);
    assert_int_equal(conn_secure(pair.ends[0].conn, client, "localhost."), 0);
    assert_int_equal(conn_secure(pair.ends[1].conn, server, NULL), 0);
    tls_context_unref(server);
    tls_context_unref(client);
    test_pair_run(&pair);
    check_and_close(&pair);
}

/* As editors on Windows save a file. */
static void save_with_mark(const char *name, const char *suffix, const char *path)
{
    char source[TEST_PATH_SIZE];
    char line[128];
    test_certificate_path(directory, name, suffix, source);
    FILE *from = fopen(source, "re");
    FILE *to = fopen(path, "we");
    assert_non_null(from);
    assert_non_null(to);
    fputs("\xef\xbb\xbf", to);
    while (fgets(line, sizeof(line), from) != NULL)
        fprintf(to, "%.*s\r\n", (int)strcspn(line, "\n"), line);
    fclose(from);
    fclose(to);
    assert_int_equal(chmod(path, 0600), 0);
}

static void test_files_with_a_byte_order_mark(void **state)
{
    (void)state;
    struct test_pair pair;
    struct tls_context *server = NULL;
    struct tls_context *client = NULL;
    char certificate[TEST_PATH_SIZE];
    char key[TEST_PATH_SIZE];
    char authority[TEST_PATH_SIZE];

    test_certificate_path(directory, "marked", ".crt", certificate);
    test_certificate_path(directory, "marked", ".key", key);
    test_certificate_path(directory, "marked", ".ca", authority);
    save_with_mark("good", ".crt", certificate);
    save_with_mark("good", ".key", key);
    save_with_mark("authority", ".crt", authority);
    assert_int_equal(tls_server_context(certificate, key, &server, why, sizeof(why)), 0);
    assert_int_equal(tls_client_context(authority, false, &client, why, sizeof(why)), 0);
    test_pair_open(&pair, 10);
    assert_int_equal(conn_secure(pair.ends[0].conn, client, "localhost"), 0);
    assert_int_equal(conn_secure(pair.ends[1].conn, server, NULL), 0);
    tls_context_unref(server);
    tls_context_unref(client);
    test_pair_run(&pair);
    check_and_close(&pair);
    unlink(certificate);
    unlink(key);
    unlink(authority);
}

static int set_up(void **state)
{
    (void)state;
    test_certificates_open(directory);
    for (size_t i = 0; i < sizeof(certificates) / sizeof(certificates[0]); i++)
        test_certificate_make(directory, &certificates[i]);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    test_certificates_close(directory);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_both_ways_at_once),
        cmocka_unit_test(test_half_closed_side_still_receives),
        cmocka_unit_test(test_what_was_read_ahead_is_told),
        cmocka_unit_test(test_end_that_was_read_ahead_is_told),
        cmocka_unit_test(test_neglected_input_is_told_once_a_turn),
        cmocka_unit_test(test_output_is_bounded_and_goes_on_by_itself),
        cmocka_unit_test(test_reset_is_an_error),
        cmocka_unit_test(test_no_memory),
        cmocka_unit_test(test_certificates_that_are_not_accepted),
        cmocka_unit_test(test_insecure_accepts_any),
        cmocka_unit_test(test_server_learns_why_the_client_went),
        cmocka_unit_test(test_peers_that_do_not_speak_tls),
        cmocka_unit_test(test_server_files_that_will_not_do),
        cmocka_unit_test(test_client_files_that_will_not_do),
        cmocka_unit_test(test_ca_file_of_the_environment),
        cmocka_unit_test(test_files_with_a_byte_order_mark),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
