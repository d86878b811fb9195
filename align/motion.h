/* motion.h - dense motion between two small luma pictures.
 *
 * Pictures are shrunk by area averaging to at most LK_SMALL_WIDTH columns at display aspect, which
 * removes most coding noise and makes the cost independent of the clip's size.  Camera motion (a
 * similarity: shift, zoom, roll) is fitted robustly to all textured blocks and removed by warping;
 * what still differs is followed by predictive block matching with sub-pixel interpolation.
 *
 * Threads      pure functions over the caller's buffers.
 * Sources      predictive search: Tourapis, "Enhanced predictive zonal search", SPIE 2002, reduced
 *              to spatial, temporal and zero candidates; the rest ours.
 */
#ifndef LK_MOTION_H
#define LK_MOTION_H

#include "kernels/view.h"

#define LK_SMALL_WIDTH  160
#define LK_SMALL_HEIGHT 160
#define LK_SMALL_PIXELS (LK_SMALL_WIDTH * LK_SMALL_HEIGHT)
#define LK_BLOCK        8 /* side of a block */
#define LK_BLOCK_STEP   4 /* distance of block corners */
#define LK_MAX_BLOCKS   ((LK_SMALL_WIDTH / LK_BLOCK_STEP) * (LK_SMALL_HEIGHT / LK_BLOCK_STEP))

typedef struct lk_small_picture {
    int width, height;             /* at least LK_BLOCK each, at most the limits above */
    uint8_t luma[LK_SMALL_PIXELS]; /* [height, width] */
} lk_small_picture;

/* Similarity motion of the background: a point p of the first picture, relative to the centre,
 * lies at p + (dx, dy) + zoom * p + roll * (-p.y, p.x) in the second.  Pixels. */
typedef struct lk_camera_motion {
    float dx, dy, zoom, roll;
} lk_camera_motion;

/* One block's motion from the first picture to the second, camera removed, in pixels. */
typedef struct lk_block_motion {
    float dx, dy;
    float weight; /* 0: nothing there to follow or no convincing match, else up to 1 */
    int still;    /* 1: the block did not change, its motion is known to be zero */
} lk_block_motion;

typedef struct lk_motion_field {
    int columns, rows; /* blocks */
    lk_block_motion block[LK_MAX_BLOCKS];
} lk_motion_field;

/* Size of the small picture for a frame: display aspect kept, at most the limits, never larger
 * than the frame, at least 2 * LK_BLOCK. */
void lk_small_size(const lk_frame_view *frame, int *width, int *height);

/* Area-average the luma of a frame. */
void lk_small_from_frame(const lk_frame_view *frame, int width, int height, lk_small_picture *out);

/* Camera motion from a to b. */
void lk_camera_estimate(const lk_small_picture *a, const lk_small_picture *b,
                        lk_camera_motion *camera);

/* b seen from a's camera: out(p) = b(camera(p)), bilinear, edge pixels repeated. */
void lk_camera_undo(const lk_small_picture *b, const lk_camera_motion *camera,
                    lk_small_picture *out);

/* Blocks of `a` followed into `b` (already in a's camera).  `guess` holds the motion of the same
 * blocks one picture earlier or NULL; field may not alias guess.  noise_floor: mean |difference|
 * per pixel below which a block counts as still. */
void lk_motion_estimate(const lk_small_picture *a, const lk_small_picture *b,
                        const lk_motion_field *guess, float noise_floor, lk_motion_field *field);

/* Drop what the two directions do not agree on.  `forward` holds the blocks of a in b, `back` those
 * of b in a, `camera` the camera's motion from a to b.  A block keeps its vector only when the
 * block it lands on points back to it; a piece of background that has just been uncovered, say,
 * finds some likeness in the other picture, but nothing there points back. */
void lk_motion_agree(lk_motion_field *forward, lk_motion_field *back,
                     const lk_camera_motion *camera, int width, int height);

/* Mean |a - b| over all pixels and, through *typical, the median over blocks (a noise estimate). */
float lk_picture_change(const lk_small_picture *a, const lk_small_picture *b, float *typical);

#endif /* LK_MOTION_H */
