#include "codec/guarded_page.h"
#include "codec/websocket.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

enum { LONGEST = 300 };

static const uint8_t mask[4] = {0x37, 0xfa, 0x21, 0x3d};

static void fill(uint8_t *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++)
        bytes[i] = (uint8_t)(i * 31 + 7);
}

static void test_every_size_alignment_and_offset(void **state)
{
    (void)state;
    uint8_t in[LONGEST + 16], out[LONGEST + 34];
    fill(in, sizeof(in));
    for (size_t size = 0; size <= LONGEST; size++) {
        for (size_t shift = 0; shift < 16; shift++) {
            size_t offset = size % 3 + shift;
            size_t start = 1 + (shift * 5) % 16; /* another alignment than the input's */
            memset(out, 0xee, sizeof(out));
            websocket_mask(out + start, in + shift, size, mask, offset);
            for (size_t i = 0; i < size; i++)
                if (out[start + i] != (in[shift + i] ^ mask[(offset + i) % 4]))
                    fail_msg("size %zu, shift %zu, byte %zu", size, shift, i);
            assert_int_equal(out[start - 1], 0xee);
            assert_int_equal(out[start + size], 0xee);
        }
    }
}

static void test_in_place_up_to_an_unreadable_page(void **state)
{
    (void)state;
    struct guarded_page page = guarded_page_new(LONGEST);
    uint8_t plain[LONGEST];
    fill(plain, sizeof(plain));
    for (size_t size = 0; size <= LONGEST; size++) {
        uint8_t *bytes = guarded_page_put(&page, plain, size);
        websocket_mask(bytes, bytes, size, mask, size);
        for (size_t i = 0; i < size; i++)
            if (bytes[i] != (plain[i] ^ mask[(size + i) % 4]))
                fail_msg("size %zu, byte %zu", size, i);
        websocket_mask(bytes, bytes, size, mask, size);
        assert_memory_equal(bytes, plain, size);
    }
    guarded_page_free(&page);
}

static void test_pieces_are_as_the_whole(void **state)
{
    (void)state;
    uint8_t plain[LONGEST], whole[LONGEST], pieces[LONGEST];
    fill(plain, sizeof(plain));
    websocket_mask(whole, plain, LONGEST, mask, 0);
    for (size_t first = 0; first <= LONGEST; first++) {
        websocket_mask(pieces, plain, first, mask, 0);
        websocket_mask(pieces + first, plain + first, LONGEST - first, mask, first);
        assert_memory_equal(pieces, whole, LONGEST);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_size_alignment_and_offset),
        cmocka_unit_test(test_in_place_up_to_an_unreadable_page),
        cmocka_unit_test(test_pieces_are_as_the_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
