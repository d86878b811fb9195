/* ogg.h - are the pages of an Ogg file as they were written? */
#ifndef LK_OGG_H
#define LK_OGG_H

#include <stdbool.h>
#include <stdio.h>

/* Every byte of the file belongs to a page whose checksum is right, and the last page ends its
 * stream.  The file is read from its
 * beginning; its position afterwards is anywhere.
 * Source       RFC 3533, section 6. */
bool lk_ogg_is_whole(FILE *file);

#endif /* LK_OGG_H */
