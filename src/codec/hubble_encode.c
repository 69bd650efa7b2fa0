#include "codec/hubble.h"

#include "base/error.h"
#include "base/reason.h"
#include "codec/message_output.h"

#include <string.h>

/* The originals' msgpack is from before str 8 and bin: fixraw, raw 16 and raw 32 for all strings.
 */
static void write_raw(struct message_output *output, struct text text)
{
    msgpack_pack_v4raw(&output->packer, text.size);
    msgpack_pack_v4raw_body(&output->packer, text.data, text.size);
}

static void write_text(struct message_output *output, const char *key, struct text text, size_t max)
{
    write_raw(output, text_of(key));
    if (message_output_check_text(output, text, max))
        write_raw(output, text);
}

static void write_guid(struct message_output *output, const struct message *message)
{
    write_text(output, "GUID", message->guid, HUBBLE_MAX_GUID);
}

static void write_handshake(struct message_output *output,
                            const struct message_handshake *handshake)
{
    msgpack_pack_map(&output->packer, 3);
    write_text(output, "Key", handshake->key, MESSAGE_MAX_KEY);
    write_text(output, "Name", handshake->name, MESSAGE_MAX_NAME);
    write_text(output, "Version", handshake->version, MESSAGE_MAX_VERSION);
}

static void write_open(struct message_output *output, const struct message *message)
{
    const struct message_open *open = &message->open;
    if (!text_equals(open->kind, "tcp"))
        message_output_fail(output, CULVERT_ERROR_INVALID);
    msgpack_pack_map(&output->packer, 5);
    write_guid(output, message);
    write_text(output, "Gatename", open->agent, MESSAGE_MAX_NAME);
    write_text(output, "Key", open->key, MESSAGE_MAX_KEY);
    write_text(output, "RemoteHost", open->host, MESSAGE_MAX_HOST);
    write_raw(output, text_of("RemotePort"));
    msgpack_pack_uint16(&output->packer, open->port);
}

static struct text refusal(int code, struct text message)
{
    switch (code) {
    case REASON_FORBIDDEN:
    case REASON_NOT_ALLOWED:
        return text_of(HUBBLE_UNAUTHORIZED);
    case REASON_POLICY_FAILED:
        return text_of(HUBBLE_POLICY_FAILED);
    case REASON_UNKNOWN_AGENT:
        return text_of(HUBBLE_UNKNOWN_AGENT);
    default:
        return message.size > 0 ? message : text_of(reason_text(code));
    }
}

static void write_ack(struct message_output *output, const struct message *message)
{
    struct message_ack ack = message->ack;
    struct text guid = message->guid;
    if (message->is_handshake_ack) {
        const struct message_welcome *welcome = &message->welcome;
        ack = (struct message_ack){
            .ok = welcome->ok, .code = welcome->code, .message = welcome->message};
        guid = TEXT_NULL;
    }
    msgpack_pack_map(&output->packer, 3);
    write_text(output, "GUID", guid, HUBBLE_MAX_GUID);
    struct text words = ack.ok ? text_of(HUBBLE_OK) : refusal(ack.code, ack.message);
    write_text(output, "Message", words, MESSAGE_MAX_REASON);
    write_raw(output, text_of("Ok"));
    if (ack.ok)
        msgpack_pack_true(&output->packer);
    else
        msgpack_pack_false(&output->packer);
}

int hubble_encode(const struct message *message, uint8_t *out, size_t room)
{
    struct message_output output;
    message_output_init(&output, (uint8_t)message->type, out, room);
    switch (message->type) {
    case MESSAGE_HANDSHAKE:
        write_handshake(&output, &message->handshake);
        break;
    case MESSAGE_OPEN:
        write_open(&output, message);
        break;
    case MESSAGE_RESET:
    case MESSAGE_FIN:
        msgpack_pack_map(&output.packer, 1);
        write_guid(&output, message);
        break;
    case MESSAGE_ACK:
        write_ack(&output, message);
        break;
    default:
        message_output_fail(&output, CULVERT_ERROR_INVALID);
        break;
    }
    return message_output_end(&output, out);
}

size_t hubble_encode_data_head(uint32_t payload, uint8_t out[static HUBBLE_MAX_DATA_HEAD])
{
    struct message_output output;
    message_output_init(&output, MESSAGE_DATA, out, HUBBLE_MAX_DATA_HEAD);
    msgpack_pack_map(&output.packer, 3);
    write_raw(&output, text_of("Data"));
    msgpack_pack_v4raw(&output.packer, payload);
    return (size_t)(output.next - out);
}

size_t hubble_encode_data_tail(struct text guid, int64_t order,
                               uint8_t out[static HUBBLE_MAX_DATA_TAIL])
{
    struct message_output output;
    message_output_init_part(&output, out, HUBBLE_MAX_DATA_TAIL);
    write_raw(&output, text_of("GUID"));
    write_raw(&output, guid);
    write_raw(&output, text_of("Order"));
    msgpack_pack_int64(&output.packer, order);
    return (size_t)(output.next - out);
}
