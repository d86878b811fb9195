/* hits.h - when exactly something was hit, from the paths of the blocks that changed.
 *
 * The impact series (align/video_features.c) says in which frames motion is lost; a hit says when,
 * to a small part of a frame, where the path before and after can be followed for a few frames.
 *
 * Threads      pure functions over the caller's buffers.
 */
#ifndef LK_HITS_H
#define LK_HITS_H

#include "align/motion.h"

#include <stdbool.h>

#define LK_HIT_REACH 3 /* frames that a path is followed to both sides */
#define LK_HITS_MOST 8 /* of one frame */

typedef struct lk_hit {
    double t_s;
    float sigma_ms; /* standard error of t_s */
    float weight;   /* change of motion over the picture, heights/s, as in the impact series */
} lk_hit;

/* What leads from one frame to the next. */
typedef struct lk_motion_link {
    double t_s;              /* of this frame */
    lk_camera_motion camera; /* from the frame before to this one */
    lk_motion_field forward; /* blocks of the frame before in this one, camera removed */
    lk_motion_field back;    /* blocks of this frame in the one before */
} lk_motion_link;

/* How the motion of a block changes at a frame.  `in` leads back to the frame before, `before`
 * seconds ago; `out` leads on to the next, `after` seconds later. */
typedef struct lk_block_change {
    float loss;  /* of motion along its former direction, pixels per second */
    float whole; /* length of the change */
    float trust; /* 0: too small to tell or nothing to follow, else up to 1 */
} lk_block_change;

lk_block_change lk_block_change_of(const lk_block_motion *in, const lk_block_motion *out,
                                   float before, float after);

/* Hits nearer to the frame of link[centre] than to any other, at most LK_HITS_MOST into out;
 * returns their number.  link [n] are consecutive frames, 0 < centre < n - 1; width and height are
 * those of the small picture. */
int lk_hits_at(const lk_motion_link *const *link, int n, int centre, int width, int height,
               lk_hit *out);

#endif /* LK_HITS_H */
