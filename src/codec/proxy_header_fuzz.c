/*
 * Input: what a peer sends first. Each beginning must need more or fail as the whole does; a header
 * that was parsed lies in the input, is no longer than its bound, and is the same without what
 * stands behind it.
 */
#include "base/error.h"
#include "codec/guarded_page.h"
#include "codec/proxy_header.h"

#include <stdbool.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct guarded_page page;

static void require(bool condition)
{
    if (!condition)
        abort();
}

static void check_header(const uint8_t *data, const struct proxy_header *header, size_t used)
{
    static const uint8_t zeroes[sizeof header->source];
    struct proxy_header again;
    size_t used_again = 0;
    require(used > 0 && used <= PROXY_HEADER_MAX_SIZE);
    require(proxy_header_parse(guarded_page_put(&page, data, used), used, &again, &used_again) ==
            0);
    require(used_again == used && again.kind == header->kind);
    require(again.source_port == header->source_port &&
            memcmp(again.source, header->source, sizeof header->source) == 0);
    if (header->kind == PROXY_HEADER_NONE)
        require(header->source_port == 0 && memcmp(header->source, zeroes, sizeof zeroes) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (page.bytes == NULL)
        page = guarded_page_new(2 * PROXY_HEADER_MAX_SIZE);
    if (size > page.capacity)
        return 0;
    struct proxy_header header;
    size_t used = 0;
    int whole = proxy_header_parse(guarded_page_put(&page, data, size), size, &header, &used);
    require(whole == 0 || whole == CULVERT_NEED_MORE || whole == CULVERT_ERROR_NOT_FOUND ||
            whole == CULVERT_ERROR_PROTOCOL || whole == CULVERT_ERROR_TOO_LARGE);
    require(whole != CULVERT_NEED_MORE || size < PROXY_HEADER_MAX_SIZE);
    if (whole == 0) {
        require(used <= size);
        check_header(data, &header, used);
    }
    size_t end = whole == 0 ? used : size;
    size_t step = end < 256 ? 1 : 1 + end / 64;
    for (size_t part = 0; part < end; part += step) {
        struct proxy_header other;
        size_t other_used = 0;
        int result =
            proxy_header_parse(guarded_page_put(&page, data, part), part, &other, &other_used);
        require(result == CULVERT_NEED_MORE || (whole != 0 && result == whole));
    }
    return 0;
}
