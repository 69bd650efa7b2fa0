#include "codec/message_measure.h"

#include "base/error.h"

#include <stdbool.h>

enum { FIRST_WIDE = 0xC0, LAST_WIDE = 0xDF, NEVER_USED = 0xC1 };

/* The formats from 0xC0 to 0xDF: a number of `width` bytes follows the first byte, signed or not,
 * and says a value, a length or a count; `fixed` more bytes follow always. */
struct format {
    uint8_t value;
    uint8_t width;
    uint8_t fixed;
    bool is_signed;
};

static const struct format formats[LAST_WIDE - FIRST_WIDE + 1] = {
    {MESSAGE_VALUE_NIL, 0, 0, false},    /* C0 nil */
    {MESSAGE_VALUE_OTHER, 0, 0, false},  /* C1 never used */
    {MESSAGE_VALUE_FALSE, 0, 0, false},  /* C2 false */
    {MESSAGE_VALUE_TRUE, 0, 0, false},   /* C3 true */
    {MESSAGE_VALUE_BYTES, 1, 0, false},  /* C4 bin 8 */
    {MESSAGE_VALUE_BYTES, 2, 0, false},  /* C5 bin 16 */
    {MESSAGE_VALUE_BYTES, 4, 0, false},  /* C6 bin 32 */
    {MESSAGE_VALUE_OTHER, 1, 1, false},  /* C7 ext 8: length, type, bytes */
    {MESSAGE_VALUE_OTHER, 2, 1, false},  /* C8 ext 16 */
    {MESSAGE_VALUE_OTHER, 4, 1, false},  /* C9 ext 32 */
    {MESSAGE_VALUE_OTHER, 0, 4, false},  /* CA float 32 */
    {MESSAGE_VALUE_OTHER, 0, 8, false},  /* CB float 64 */
    {MESSAGE_VALUE_NUMBER, 1, 0, false}, /* CC uint 8 */
    {MESSAGE_VALUE_NUMBER, 2, 0, false}, /* CD uint 16 */
    {MESSAGE_VALUE_NUMBER, 4, 0, false}, /* CE uint 32 */
    {MESSAGE_VALUE_NUMBER, 8, 0, false}, /* CF uint 64 */
    {MESSAGE_VALUE_NUMBER, 1, 0, true},  /* D0 int 8 */
    {MESSAGE_VALUE_NUMBER, 2, 0, true},  /* D1 int 16 */
    {MESSAGE_VALUE_NUMBER, 4, 0, true},  /* D2 int 32 */
    {MESSAGE_VALUE_NUMBER, 8, 0, true},  /* D3 int 64 */
    {MESSAGE_VALUE_OTHER, 0, 2, false},  /* D4 fixext 1: type, bytes */
    {MESSAGE_VALUE_OTHER, 0, 3, false},  /* D5 fixext 2 */
    {MESSAGE_VALUE_OTHER, 0, 5, false},  /* D6 fixext 4 */
    {MESSAGE_VALUE_OTHER, 0, 9, false},  /* D7 fixext 8 */
    {MESSAGE_VALUE_OTHER, 0, 17, false}, /* D8 fixext 16 */
    {MESSAGE_VALUE_TEXT, 1, 0, false},   /* D9 str 8 */
    {MESSAGE_VALUE_TEXT, 2, 0, false},   /* DA str 16 */
    {MESSAGE_VALUE_TEXT, 4, 0, false},   /* DB str 32 */
    {MESSAGE_VALUE_ARRAY, 2, 0, false},  /* DC array 16 */
    {MESSAGE_VALUE_ARRAY, 4, 0, false},  /* DD array 32 */
    {MESSAGE_VALUE_MAP, 2, 0, false},    /* DE map 16 */
    {MESSAGE_VALUE_MAP, 4, 0, false},    /* DF map 32 */
};

/* A number of `width` bytes, behind what `number` has already. */
static uint64_t read_big_endian(uint64_t number, const uint8_t *data, size_t width)
{
    for (size_t i = 0; i < width; i++)
        number = number << 8 | data[i];
    return number;
}

/* What the number of a head means for its value. */
static void set_number(struct message_head *head, enum message_value value, uint64_t number)
{
    head->value = value;
    switch (value) {
    case MESSAGE_VALUE_NUMBER:
    case MESSAGE_VALUE_NEGATIVE:
        head->number = number;
        break;
    case MESSAGE_VALUE_ARRAY:
        head->count = number;
        break;
    case MESSAGE_VALUE_MAP:
        head->count = 2 * number;
        break;
    case MESSAGE_VALUE_TEXT:
    case MESSAGE_VALUE_BYTES:
    case MESSAGE_VALUE_OTHER:
        head->length = number;
        break;
    case MESSAGE_VALUE_NIL:
    case MESSAGE_VALUE_FALSE:
    case MESSAGE_VALUE_TRUE:
        break;
    }
}

/* The formats that are all in one byte. */
static void read_narrow(uint8_t byte, struct message_head *head)
{
    if (byte < 0x80)
        set_number(head, MESSAGE_VALUE_NUMBER, byte);
    else if (byte < 0x90)
        set_number(head, MESSAGE_VALUE_MAP, byte & 0x0F);
    else if (byte < 0xA0)
        set_number(head, MESSAGE_VALUE_ARRAY, byte & 0x0F);
    else if (byte < FIRST_WIDE)
        set_number(head, MESSAGE_VALUE_TEXT, byte & 0x1F);
    else
        set_number(head, MESSAGE_VALUE_NEGATIVE, read_big_endian(UINT64_MAX, &byte, 1));
}

int message_head_read(const uint8_t *data, size_t size, struct message_head *head)
{
    if (size == 0)
        return CULVERT_NEED_MORE;
    *head = (struct message_head){.size = 1};
    uint8_t byte = data[0];
    if (byte < FIRST_WIDE || byte > LAST_WIDE) {
        read_narrow(byte, head);
        return 0;
    }
    if (byte == NEVER_USED)
        return CULVERT_ERROR_PROTOCOL;
    const struct format *format = &formats[byte - FIRST_WIDE];
    if (size - 1 < format->width)
        return CULVERT_NEED_MORE;
    bool is_negative = format->is_signed && (data[1] & 0x80) != 0;
    uint64_t sign = is_negative ? UINT64_MAX : 0;
    head->size = (size_t)1 + format->width;
    set_number(head, is_negative ? MESSAGE_VALUE_NEGATIVE : (enum message_value)format->value,
               read_big_endian(sign, data + 1, format->width));
    head->length += format->fixed;
    return 0;
}

/* The arrays and maps around the next value, and how many values each still lacks. */
struct nesting {
    uint64_t lacking[MESSAGE_MEASURE_MAX_DEPTH];
    size_t depth;
};

static int nest(struct nesting *nesting, size_t max_depth, const struct message_head *head)
{
    bool holds_values = head->value == MESSAGE_VALUE_ARRAY || head->value == MESSAGE_VALUE_MAP;
    bool is_deepest = nesting->depth == max_depth || nesting->depth == MESSAGE_MEASURE_MAX_DEPTH;
    if (holds_values && is_deepest)
        return CULVERT_ERROR_TOO_LARGE;
    if (head->count > 0) {
        nesting->lacking[nesting->depth++] = head->count;
        return 0;
    }
    while (nesting->depth > 0 && --nesting->lacking[nesting->depth - 1] == 0)
        nesting->depth--;
    return 0;
}

int message_measure(const uint8_t *data, size_t size, struct message_bounds bounds, size_t *used)
{
    struct nesting nesting = {.depth = 0};
    size_t at = 0;
    uint64_t owed = 1; /* values that must still come, on all levels */
    while (owed > 0) {
        struct message_head head;
        int result = message_head_read(data + at, size - at, &head);
        if (result != 0)
            return result;
        owed += head.count - 1;
        /* No overflow: lengths and counts have 33 bits at most, the rest is below the bound. */
        if (at + head.size + head.length + owed > bounds.bytes)
            return CULVERT_ERROR_TOO_LARGE;
        result = nest(&nesting, bounds.depth, &head);
        if (result != 0)
            return result;
        at += head.size;
        if (size - at < head.length)
            return CULVERT_NEED_MORE;
        at += (size_t)head.length;
    }
    *used = at;
    return 0;
}
