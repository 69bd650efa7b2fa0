/*
 * Input: a byte of settings (bit 0: the role, the rest: the message limit), a byte that says where
 * to cut, frames. However the frames are cut, the decoder must say the same; and what it said must
 * come out again when it is encoded and decoded once more.
 */
#include "base/error.h"
#include "codec/websocket_trace.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool condition)
{
    if (!condition)
        abort();
}

static void require_same(const struct websocket_trace *a, const struct websocket_trace *b)
{
    require(a->result == b->result && a->size == b->size);
    require(a->size == 0 || memcmp(a->bytes, b->bytes, a->size) == 0);
}

static void check_mask(const uint8_t *data, size_t size)
{
    static uint8_t out[4096];
    const uint8_t *mask = data;
    size_t offset = data[3] % 8;
    size = size < sizeof(out) ? size : sizeof(out);
    websocket_mask(out, data, size, mask, offset);
    for (size_t i = 0; i < size; i++)
        require(out[i] == (data[i] ^ mask[(offset + i) % 4]));
}

/* The payload as one frame, header by the encoder, decodes to itself. */
static void check_encoder(struct guarded_page *pages, const uint8_t *data, size_t size,
                          enum websocket_role role)
{
    static uint8_t frame[WEBSOCKET_MAX_HEADER + 70000];
    struct websocket_decoder decoder;
    const uint8_t *mask = role == WEBSOCKET_SERVER ? data : NULL;
    size_t payload = size < 65000 ? size : 65000;
    size_t header = websocket_encode_header(frame, WEBSOCKET_BINARY, true, payload, mask);
    require(header <= WEBSOCKET_MAX_HEADER);
    if (mask != NULL)
        websocket_mask(frame + header, data, payload, mask, 0);
    else
        memcpy(frame + header, data, payload);
    websocket_decoder_init(&decoder, role, payload);
    struct websocket_trace trace =
        websocket_trace_run(decoder, pages, frame, header + payload, WEBSOCKET_TRACE_WHOLE);
    require(trace.result == 0 && trace.size == payload + 6);
    require(memcmp(trace.bytes, "<2:", 3) == 0 && memcmp(trace.bytes + 3, data, payload) == 0);
    free(trace.bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct guarded_page pages;
    if (pages.bytes == NULL)
        pages = guarded_page_new(1024 * 1024);
    if (size < 6 || size > pages.capacity)
        return 0;

    struct websocket_decoder decoder;
    enum websocket_role role = (data[0] & 1) != 0 ? WEBSOCKET_CLIENT : WEBSOCKET_SERVER;
    uint64_t limit = data[0] >= 0xfe ? UINT64_MAX : (uint64_t)(data[0] >> 1) * 16;
    unsigned cut = 2u + data[1];
    data += 2;
    size -= 2;
    websocket_decoder_init(&decoder, role, limit);

    struct websocket_trace whole =
        websocket_trace_run(decoder, &pages, data, size, WEBSOCKET_TRACE_WHOLE);
    struct websocket_trace bytewise =
        websocket_trace_run(decoder, &pages, data, size, WEBSOCKET_TRACE_BYTEWISE);
    struct websocket_trace pieces = websocket_trace_run(decoder, &pages, data, size, cut);
    require(whole.result == 0 || whole.result == CULVERT_ERROR_PROTOCOL ||
            whole.result == CULVERT_ERROR_TOO_LARGE);
    require_same(&whole, &bytewise);
    require_same(&whole, &pieces);
    free(whole.bytes);
    free(bytewise.bytes);
    free(pieces.bytes);

    check_mask(data, size);
    check_encoder(&pages, data, size, role);
    return 0;
}
