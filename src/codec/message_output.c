#include "codec/message_output.h"

#include "base/error.h"

#include <string.h>

void message_output_fail(struct message_output *output, int error)
{
    if (output->error == 0)
        output->error = error;
}

static int write_bytes(void *data, const char *bytes, size_t size)
{
    struct message_output *output = data;
    if (size > output->room)
        message_output_fail(output, CULVERT_ERROR_TOO_LARGE);
    if (output->error != 0)
        return -1;
    if (size > 0)
        memcpy(output->next, bytes, size);
    output->next += size;
    output->room -= size;
    return 0;
}

void message_output_init_part(struct message_output *output, uint8_t *out, size_t room)
{
    *output = (struct message_output){.next = out, .room = room};
    msgpack_packer_init(&output->packer, output, write_bytes);
}

void message_output_init(struct message_output *output, uint8_t type, uint8_t *out, size_t room)
{
    message_output_init_part(output, out, room);
    write_bytes(output, (const char *)&type, 1);
}

bool message_output_check_text(struct message_output *output, struct text text, uint64_t max)
{
    if (text.size > max)
        message_output_fail(output, CULVERT_ERROR_TOO_LARGE);
    else if (text.size > 0 && memchr(text.data, 0, text.size) != NULL)
        message_output_fail(output, CULVERT_ERROR_INVALID);
    return output->error == 0;
}

int message_output_end(const struct message_output *output, const uint8_t *out)
{
    return output->error != 0 ? output->error : (int)(output->next - out);
}
