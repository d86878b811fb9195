/* farneback_none.c - farneback.h in a build without OpenCV. */
#include "align/farneback.h"

int lk_farneback_available(void)
{
    return 0;
}

double lk_farneback_mean(const uint8_t *from, const uint8_t *to, int width, int height)
{
    (void)from;
    (void)to;
    (void)width;
    (void)height;
    return -1;
}
