#include "lua/excerpt.h"

#include "base/str.h"
#include "base/utf8.h"

#include <stdint.h>
#include <string.h>

/* How many bytes of the text stand for the next character, and what is written for them. */
static size_t next_piece(const char *text, size_t size, const struct text *secret,
                         struct text *piece)
{
    size_t length = utf8_character_size((const uint8_t *)text, size);
    bool is_control = length == 1 ? (unsigned char)*text < 0x20 || *text == 0x7f
                                  : length == 2 && (unsigned char)text[0] == 0xc2 &&
                                        (unsigned char)text[1] < 0xa0;
    if (secret->size > 0 && secret->size <= size && memcmp(text, secret->data, secret->size) == 0) {
        *piece = text_of("[key]");
        return secret->size;
    }
    if (length == 0)
        *piece = text_of("?");
    else if (is_control)
        *piece = text_of(" ");
    else
        *piece = (struct text){text, length};
    return length == 0 ? 1 : length;
}

void excerpt_make(char *out, size_t out_size, const char *text, size_t size, const char *secret)
{
    struct text hidden = text_of(secret);
    size_t written = 0;
    while (size > 0) {
        struct text piece;
        size_t taken = next_piece(text, size, &hidden, &piece);
        if (piece.size >= out_size - written)
            break;
        memcpy(out + written, piece.data, piece.size);
        written += piece.size;
        text += taken;
        size -= taken;
    }
    out[written] = '\0';
}
