/*
 * Where the encoders of messages write: a msgpack packer over the caller's bytes. It remembers its
 * first error, which is looked at once, at the end. Only the files of the message codecs include
 * this.
 */
#ifndef CODEC_MESSAGE_OUTPUT_H
#define CODEC_MESSAGE_OUTPUT_H

#include "base/str.h"

#include <msgpack.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct message_output {
    msgpack_packer packer;
    uint8_t *next;
    size_t room;
    int error;
};

/* Begins a message with its type byte. */
void message_output_init(struct message_output *output, uint8_t type, uint8_t *out, size_t room);
/* The same for what is no whole message. */
void message_output_init_part(struct message_output *output, uint8_t *out, size_t room);
void message_output_fail(struct message_output *output, int error);
/* Whether the text may be written: not longer than `max`, without a NUL byte. Else output fails. */
bool message_output_check_text(struct message_output *output, struct text text, uint64_t max);
/* The size of what was written to `out`, or the first error: what a caller told, or
 * CULVERT_ERROR_TOO_LARGE where room was lacking. */
int message_output_end(const struct message_output *output, const uint8_t *out);

#endif
