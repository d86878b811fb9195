/* png.c - see png.h. */
#include "av/png.h"
#include "kernels/file.h"

#include <png.h>
#include <string.h>

lk_status lk_png_write(const char *path, int width, int height, const uint8_t *rgb)
{
    lk_status st = LK_OK;
    lk_replace file = {0};
    png_image image;
    memset(&image, 0, sizeof image);
    image.version = PNG_IMAGE_VERSION;
    image.width = (png_uint_32)width;
    image.height = (png_uint_32)height;
    image.format = PNG_FORMAT_RGB;
    LK_REQUIRE(width > 0 && height > 0, LK_E_ARG, "a picture of %dx%d cannot be written", width,
               height);
    LK_TRY(lk_replace_open(&file, path));
    LK_REQUIRE(png_image_write_to_stdio(&image, file.stream, 0, rgb, 0, NULL), LK_E_IO,
               "cannot write '%s': %s", path, image.message);
    LK_TRY(lk_replace_commit(&file));
done:
    png_image_free(&image);
    lk_replace_drop(&file);
    return st;
}
