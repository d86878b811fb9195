/* motion_beats.h - instants at which a movement turns, stops or lands, from the picture alone.
 *
 * A motion beat is a minimum of movement between two livelier stretches.  Where motion is
 * lost suddenly at its edge (a stamp, a clap) the beat is that impact, for then the minimum is the
 * rest after it.  Times are interpolated between frames.
 *
 * Source       motion beats as minima of speed: Li et al., "AI Choreographer", ICCV 2021, section
 *              5; as sudden decelerations: Davis & Agrawala, "Visual Rhythm and Beat", SIGGRAPH
 *              2018, section 4.  Sub-frame placement is ours.
 * Threads      pure.
 */
#ifndef LK_MOTION_BEATS_H
#define LK_MOTION_BEATS_H

#include "align/onsets.h"

/* Find motion beats; n = 0 for a still or steadily moving picture.  strength is the drop of
 * movement against its surroundings, (0, 1]; clear with lk_onsets_clear. */
LK_CHECKED lk_status lk_motion_beats_find(const lk_video_features *video, lk_onset_list *list);

/* The frame-based definition that papers use: our movement signal at 60 frames a second, smoothed
 * by a Gaussian of sigma frames (0: not; reflected at the ends), and its strict minima among
 * `order` neighbours on each side.  Frame 0 is the start of the clip.  *frames is owned by the
 * caller. AIST++: sigma 0, order 10.  Bailando: sigma 5, order 1. */
LK_CHECKED lk_status lk_motion_minima_60(const lk_video_features *video, double sigma, int order,
                                         double **frames, int64_t *n);

#endif /* LK_MOTION_BEATS_H */
