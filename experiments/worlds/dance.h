/* dance.h - a choreography on the beats of a piece of music, as joints in time.
 *
 * On every beat the body is in a key pose drawn for that beat; between beats every joint moves from
 * key to key with a speed proportional to sqrt(f (1 - f)), f the fraction of the beat, so all joints
 * stop exactly at the beats and turn there: the kinematic beats of the picture (minima of joint
 * speed) are the beats of the music.  The hips sink once a beat, lowest on it.
 *
 * Coordinates  u to the right of the picture, v down, one unit is the dancer's height; the origin
 * is on the floor in the middle of the stage.  Index 0 is the left of the picture. Threads
 * immutable after create.
 */
#ifndef LK_DANCE_H
#define LK_DANCE_H

#include "experiments/worlds/music.h"
#include "experiments/worlds/raster.h"

typedef struct lk_body {
    lk_point pelvis, neck, head;
    lk_point shoulder[2], elbow[2], hand[2];
    lk_point hip[2], knee[2], foot[2];
    double twist; /* turn of the chest, radians, positive: towards the right of the picture */
    double tilt;  /* of the head, radians */
} lk_body;

/* Every joint of lk_body as a flat list, for measuring. */
#define LK_BODY_JOINTS 15

typedef struct lk_dance {
    uint64_t seed;
    const lk_music *music; /* borrowed, must outlive the dance */
    double room;           /* how far the dancer leaves the middle, units */
    double vigour;         /* 1: normal size of movements */
} lk_dance;

lk_body lk_dance_at(const lk_dance *dance, double t);
void lk_body_joints(const lk_body *body, lk_point joints[LK_BODY_JOINTS]);

#endif /* LK_DANCE_H */
