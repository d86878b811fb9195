/* gate.h - `--fail-if`: a condition on the numbers of a clip.
 *
 *     event.offset_ms>40        abs(event.offset_ms)>40        beat.bas_music<=0.2
 *     several, separated by ';': any of them
 *
 * A clip that has no such number does not hit the gate; its abstention says why. */
#ifndef LK_GATE_H
#define LK_GATE_H

#include "av/result.h"

typedef struct lk_gate_row {
    char name[64];
    bool absolute, or_equal;
    int direction; /* +1: greater, -1: less */
    double limit;
} lk_gate_row;

typedef struct lk_gate {
    int n;
    lk_gate_row row[16];
} lk_gate;

/* Add the conditions in text to a gate; a zeroed gate is never hit. */
LK_CHECKED lk_status lk_gate_add(lk_gate *gate, const char *text);
bool lk_gate_hit(const lk_gate *gate, const lk_clip_result *result);

#endif /* LK_GATE_H */
