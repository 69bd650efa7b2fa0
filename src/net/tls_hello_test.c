#include "net/tls_hello.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

enum { ALERT = 21, CHANGE_CIPHER_SPEC = 20, HANDSHAKE = 22, DATA = 23, HELLO = 1, KEY = 16 };

struct flight {
    uint8_t bytes[2 * TLS_HELLO_MAX];
    size_t size;
};

static void record(struct flight *flight, uint8_t type, const uint8_t *body, size_t size)
{
    const uint8_t head[] = {type, 3, 1, (uint8_t)(size >> 8), (uint8_t)size};
    memcpy(flight->bytes + flight->size, head, sizeof(head));
    if (body != NULL)
        memcpy(flight->bytes + flight->size + sizeof(head), body, size);
    flight->size += sizeof(head) + size;
}

/* The beginning of a message that declares `declared` bytes, of which `size` follow. */
static void message(struct flight *flight, uint8_t type, uint32_t declared, size_t size)
{
    uint8_t body[TLS_HELLO_MAX] = {type, (uint8_t)(declared >> 16), (uint8_t)(declared >> 8),
                                   (uint8_t)declared};
    memset(body + 4, 0xff, size);
    record(flight, HANDSHAKE, body, size + 4);
}

/* Takes the flight in pieces of so many bytes. */
static bool take(struct tls_hello *hello, const struct flight *flight, size_t piece)
{
    bool is_good = true;
    for (size_t i = 0; i < flight->size && is_good; i += piece) {
        size_t rest = flight->size - i;
        is_good = tls_hello_take(hello, flight->bytes + i, rest < piece ? rest : piece);
    }
    return is_good;
}

static bool take_anyhow(const struct flight *flight)
{
    struct tls_hello whole = {0}, bytes = {0}, pieces = {0};
    bool is_good = take(&whole, flight, sizeof(flight->bytes));
    assert_int_equal(take(&bytes, flight, 1), is_good);
    assert_int_equal(take(&pieces, flight, 7), is_good);
    return is_good;
}

static void test_a_hello_declares_up_to_the_limit(void **state)
{
    (void)state;
    struct flight good = {0}, bad = {0};
    message(&good, HELLO, TLS_HELLO_MAX, 100);
    assert_true(take_anyhow(&good));
    message(&bad, HELLO, TLS_HELLO_MAX + 1, 0);
    assert_false(take_anyhow(&bad));
}

static void test_a_header_in_two_records(void **state)
{
    (void)state;
    static const uint8_t first[] = {HELLO, 1}, alert[] = {1, 0}, rest[] = {0, 0};
    struct flight flight = {0};
    record(&flight, HANDSHAKE, first, sizeof(first));
    record(&flight, ALERT, alert, sizeof(alert));
    record(&flight, HANDSHAKE, NULL, 0);
    record(&flight, HANDSHAKE, rest, sizeof(rest));
    assert_false(take_anyhow(&flight));
}

static void test_the_second_hello_is_looked_at_too(void **state)
{
    (void)state;
    static const uint8_t change[] = {1};
    struct flight flight = {0};
    message(&flight, HELLO, 200, 200);
    record(&flight, CHANGE_CIPHER_SPEC, change, 1);
    message(&flight, HELLO, 100000, 0);
    assert_false(take_anyhow(&flight));
}

static void test_what_is_encrypted_is_not_looked_at(void **state)
{
    (void)state;
    static const uint8_t change[] = {1};
    struct flight old = {0}, new = {0};
    message(&old, HELLO, 200, 200);
    message(&old, KEY, 33, 33);
    record(&old, CHANGE_CIPHER_SPEC, change, 1);
    message(&old, HELLO, 0xffffff, 40); /* which is a Finished, encrypted */
    assert_true(take_anyhow(&old));
    message(&new, HELLO, 200, 200);
    record(&new, DATA, change, 1);
    message(&new, HELLO, 0xffffff, 40);
    assert_true(take_anyhow(&new));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_hello_declares_up_to_the_limit),
        cmocka_unit_test(test_a_header_in_two_records),
        cmocka_unit_test(test_the_second_hello_is_looked_at_too),
        cmocka_unit_test(test_what_is_encrypted_is_not_looked_at),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
