/* png.h - pictures into PNG files; the only place that knows libpng.
 *
 * Errors       LK_E_IO when the file cannot be written, LK_E_MEMORY.
 * Threads      pure.
 */
#ifndef LK_PNG_H
#define LK_PNG_H

#include "kernels/status.h"

#include <stdint.h>

/* rgb [height, width, 3], sRGB, rows touching.  The file appears whole or not at all. */
LK_CHECKED lk_status lk_png_write(const char *path, int width, int height, const uint8_t *rgb);

#endif /* LK_PNG_H */
