#include "lua/answer.h"

#include "base/error.h"
#include "base/utf8.h"
#include "lua/excerpt.h"
#include "lua/frame.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_text(const char *text, size_t size)
{
    if (memchr(text, 0, size) == NULL)
        abort();
}

static void check_answer(const char *json, size_t size)
{
    struct answer answer;
    if (answer_decode(json, size, &answer) != 0)
        return;
    check_text(answer.text, sizeof answer.text);
    check_text(answer.verdict.reason, sizeof answer.verdict.reason);
    if (answer.verdict.allowed && answer.verdict.failed)
        abort();
}

/* What is shown of any text is UTF-8 and fits. */
static void check_excerpt(const uint8_t *data, size_t size)
{
    char out[64];
    excerpt_make(out, sizeof out, (const char *)data, size, "ab");
    size_t left = strlen(out);
    const uint8_t *place = (const uint8_t *)out;
    if (left >= sizeof out)
        abort();
    while (left > 0) {
        size_t length = utf8_character_size(place, left);
        if (length == 0)
            abort();
        place += length;
        left -= length;
    }
}

/* All frames that the bytes hold. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct frame_reader reader;
    const uint8_t *place = data;
    size_t left = size;
    int result = 0;
    frame_reader_init(&reader, FRAME_ANSWER);
    while (result == 0) {
        size_t used;
        result = frame_reader_take(&reader, place, left, &used);
        place += used;
        left -= used;
        if (result == 0) {
            check_answer(reader.data, reader.size);
            frame_reader_next(&reader);
        }
    }
    frame_reader_deinit(&reader);
    check_answer((const char *)data, size);
    check_excerpt(data, size);
    return 0;
}
