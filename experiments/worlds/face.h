/* face.h - draws a shaded face whose mouth is given by lk_mouth.
 *
 * Face coordinates: u to the right of the picture, v down, origin between the eyes and the nose,
 * one unit is half the height of the head: crown at v = -1, chin at v = 1 when the mouth is closed.
 *
 * Threads      pure functions of their arguments and the canvas.
 */
#ifndef LK_FACE_H
#define LK_FACE_H

#include "experiments/worlds/raster.h"
#include "experiments/worlds/voice.h"

typedef enum lk_hair { LK_HAIR_SHORT, LK_HAIR_LONG, LK_HAIR_CURLY, LK_HAIR_BUN } lk_hair;

typedef struct lk_face_look {
    lk_colour skin, hair, iris, lips, shirt;
    lk_hair style;
    bool beard, glasses;
    double eye; /* size of the eyes, 1 an adult's */
    double jaw; /* width of the jaw, about 1 */
} lk_face_look;

typedef struct lk_face_pose {
    double x, y;       /* origin of the face, canvas units */
    double body_x;     /* middle of the shoulders */
    double size;       /* canvas units per face unit */
    double roll;       /* radians, clockwise on screen */
    double yaw, pitch; /* -1..1: features slide over the head */
    double lid;        /* 0 open .. 1 shut */
    double gaze_x, gaze_y;
    double brow; /* raised by 0..1 */
    lk_mouth mouth;
} lk_face_pose;

void lk_face_draw(lk_canvas *c, const lk_face_look *look, const lk_face_pose *pose);

#endif /* LK_FACE_H */
