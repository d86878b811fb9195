/* ogg.c - see ogg.h.
 *
 * A page: "OggS", version, flags, granule position (8 bytes), serial (4), sequence (4), checksum
 * (4), number of segments, their lengths, their bytes.  The checksum is a CRC of the page with its
 * own field zero: polynomial 0x04c11db7, most significant bit first, start 0, no final xor. */
#include "av/ogg.h"

#include <stdint.h>
#include <string.h>

#define HEADER_BYTES 27
#define FLAGS_AT     5
#define CRC_AT       22

static uint32_t crc_of(uint32_t crc, const unsigned char *bytes, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        crc ^= (uint32_t)bytes[i] << 24;
        for (int bit = 0; bit < 8; bit++)
            crc = crc & 0x80000000u ? crc << 1 ^ 0x04c11db7u : crc << 1;
    }
    return crc;
}

/* 1 a good page, 0 the end, -1 anything else; *last: the page says it is the stream's last. */
static int next_page(FILE *file, bool *last)
{
    unsigned char head[HEADER_BYTES + 255], body[255 * 255];
    size_t n_body = 0, n = fread(head, 1, HEADER_BYTES, file);
    uint32_t stored, crc;
    if (n == 0 && feof(file))
        return 0;
    if (n != HEADER_BYTES || memcmp(head, "OggS", 4) != 0)
        return -1;
    n = head[HEADER_BYTES - 1];
    if (fread(head + HEADER_BYTES, 1, n, file) != n)
        return -1;
    for (size_t i = 0; i < n; i++)
        n_body += head[HEADER_BYTES + i];
    if (fread(body, 1, n_body, file) != n_body)
        return -1;
    stored = (uint32_t)head[CRC_AT] | (uint32_t)head[CRC_AT + 1] << 8 |
             (uint32_t)head[CRC_AT + 2] << 16 | (uint32_t)head[CRC_AT + 3] << 24;
    memset(head + CRC_AT, 0, 4);
    crc = crc_of(crc_of(0, head, HEADER_BYTES + n), body, n_body);
    *last = (head[FLAGS_AT] & 4) != 0;
    return crc == stored ? 1 : -1;
}

bool lk_ogg_is_whole(FILE *file)
{
    int good = 1;
    bool last = false;
    rewind(file);
    while (good == 1)
        good = next_page(file, &last);
    return good == 0 && last;
}
