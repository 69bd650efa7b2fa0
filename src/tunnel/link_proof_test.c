#include "tunnel/link_proof.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static const uint64_t EPOCH = 0x0102030405;

static const uint8_t secret[MESSAGE_LINK_SECRET_SIZE] = {
    0,  1,  2,  3,  4,  5,  6,  7,  8,  9,  10, 11, 12, 13, 14, 15,
    16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31,
};
static const uint8_t nonce[CARRIER_NONCE_SIZE] = "0123456789abcdef";

/* As Python's hmac.new(bytes(range(32)), b"0123456789abcdef" + (0x0102030405).to_bytes(8,
 * "big"), "sha256") has it. */
static void is_hmac_sha256(void **state)
{
    (void)state;
    static const uint8_t expected[MESSAGE_PROOF_SIZE] = {
        0x4e, 0xce, 0x8c, 0x77, 0x7f, 0x0d, 0x3d, 0xac, 0x80, 0x56, 0xc2,
        0x4f, 0x5e, 0x07, 0xa5, 0x66, 0x77, 0x2f, 0x97, 0x6b, 0x66, 0x19,
        0x94, 0x4d, 0xbb, 0x7e, 0x24, 0xdf, 0xc8, 0xdf, 0xdb, 0x6f,
    };
    uint8_t proof[MESSAGE_PROOF_SIZE];
    assert_int_equal(link_proof_make(secret, nonce, EPOCH, proof), 0);
    assert_memory_equal(proof, expected, sizeof(proof));
    assert_true(link_proof_is_right(secret, nonce, EPOCH, proof));
}

static void any_other_bit_is_wrong(void **state)
{
    (void)state;
    uint8_t proof[MESSAGE_PROOF_SIZE];
    assert_int_equal(link_proof_make(secret, nonce, EPOCH, proof), 0);
    for (size_t bit = 0; bit < 8 * sizeof(proof); bit++) {
        proof[bit / 8] ^= (uint8_t)(1U << bit % 8);
        assert_false(link_proof_is_right(secret, nonce, EPOCH, proof));
        proof[bit / 8] ^= (uint8_t)(1U << bit % 8);
    }
    uint8_t other_nonce[CARRIER_NONCE_SIZE];
    uint8_t other_secret[MESSAGE_LINK_SECRET_SIZE];
    memcpy(other_nonce, nonce, sizeof(nonce));
    memcpy(other_secret, secret, sizeof(secret));
    other_nonce[CARRIER_NONCE_SIZE - 1] ^= 1;
    other_secret[0] ^= 0x80;
    assert_false(link_proof_is_right(secret, other_nonce, EPOCH, proof));
    assert_false(link_proof_is_right(other_secret, nonce, EPOCH, proof));
    assert_false(link_proof_is_right(secret, nonce, EPOCH + 1, proof));
    assert_false(link_proof_is_right(secret, nonce, EPOCH + (UINT64_C(1) << 40), proof));
    assert_true(link_proof_is_right(secret, nonce, EPOCH, proof));
}

static void identities_differ(void **state)
{
    (void)state;
    struct link_identity one;
    struct link_identity two;
    assert_int_equal(link_identity_new(&one), 0);
    assert_int_equal(link_identity_new(&two), 0);
    assert_memory_not_equal(one.link, two.link, sizeof(one.link));
    assert_memory_not_equal(one.secret, two.secret, sizeof(one.secret));
    assert_memory_not_equal(one.link, one.secret, sizeof(one.link));
}

static void boots_are_compared(void **state)
{
    (void)state;
    const uint8_t none[MESSAGE_BOOT_SIZE] = {0};
    uint8_t boot[MESSAGE_BOOT_SIZE] = {[3] = 7, [15] = 1};
    uint8_t other[MESSAGE_BOOT_SIZE];
    memcpy(other, boot, sizeof(boot));
    assert_true(link_boot_is_same(boot, other));
    assert_false(link_boot_is_same(none, none));
    assert_false(link_boot_is_same(none, boot));
    for (size_t bit = 0; bit < 8 * sizeof(other); bit++) {
        other[bit / 8] ^= (uint8_t)(1U << bit % 8);
        assert_false(link_boot_is_same(boot, other));
        other[bit / 8] ^= (uint8_t)(1U << bit % 8);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(is_hmac_sha256),
        cmocka_unit_test(any_other_bit_is_wrong),
        cmocka_unit_test(identities_differ),
        cmocka_unit_test(boots_are_compared),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
