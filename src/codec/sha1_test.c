#include "codec/sha1.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static void check(const char *message, size_t size, size_t repeat, const char *expected)
{
    struct sha1 sha1;
    uint8_t digest[SHA1_SIZE];
    char hex[2 * SHA1_SIZE + 1];
    sha1_init(&sha1);
    for (size_t i = 0; i < repeat; i++)
        sha1_update(&sha1, message, size);
    sha1_final(&sha1, digest);
    for (size_t i = 0; i < SHA1_SIZE; i++)
        snprintf(hex + 2 * i, 3, "%02x", digest[i]);
    assert_string_equal(hex, expected);
}

static void test_standard_vectors(void **state)
{
    (void)state;
    /* RFC 3174 §7.3, which are those of FIPS 180, and the empty message of NIST's SHA1ShortMsg. */
    static const char two_blocks[] = "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq";
    static const char block[] = "0123456701234567012345670123456701234567012345670123456701234567";
    check("", 0, 1, "da39a3ee5e6b4b0d3255bfef95601890afd80709");
    check("abc", 3, 1, "a9993e364706816aba3e25717850c26c9cd0d89d");
    check(two_blocks, 56, 1, "84983e441c3bd26ebaae4aa1f95129e5e54670f1");
    check("a", 1, 1000000, "34aa973cd4c4daa4f61eeb2bdbad27316534016f");
    check(block, 64, 10, "dea356a2cddd90c7a7ecedc5ebb563934f460452");
}

static void test_pieces_are_as_the_whole(void **state)
{
    (void)state;
    uint8_t message[200], whole[SHA1_SIZE], pieces[SHA1_SIZE];
    for (size_t i = 0; i < sizeof(message); i++)
        message[i] = (uint8_t)i;
    for (size_t size = 0; size <= sizeof(message); size++) {
        struct sha1 sha1;
        sha1_init(&sha1);
        sha1_update(&sha1, message, size);
        sha1_final(&sha1, whole);
        for (size_t first = 0; first <= size; first += 13) {
            sha1_init(&sha1);
            sha1_update(&sha1, message, first);
            sha1_update(&sha1, message + first, size - first);
            sha1_final(&sha1, pieces);
            assert_memory_equal(pieces, whole, SHA1_SIZE);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_standard_vectors),
        cmocka_unit_test(test_pieces_are_as_the_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
