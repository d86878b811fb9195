/* tolerances.h - how far apart sound and picture may be, by the standards that say so.
 *
 * Sign: > 0 = sound late.  Sources: ITU-R BT.1359-1 (thresholds of detectability and of
 * acceptability), EBU R 37 (2007, end of chain), ATSC IS-191 (2003).
 */
#ifndef LK_TOLERANCES_H
#define LK_TOLERANCES_H

typedef struct lk_tolerance {
    const char *score; /* name of the score that says how much of the time is outside */
    const char *title;
    double early_ms, late_ms; /* the allowed range */
} lk_tolerance;

#define LK_N_TOLERANCES 4

static const lk_tolerance lk_tolerances[LK_N_TOLERANCES] = {
    {"event.outside_bt1359_detectable", "ITU-R BT.1359, detectable", -45, 125},
    {"event.outside_bt1359_acceptable", "ITU-R BT.1359, acceptable", -90, 185},
    {"event.outside_ebu_r37", "EBU R 37", -40, 60},
    {"event.outside_atsc_is191", "ATSC IS-191", -15, 45}};

#endif /* LK_TOLERANCES_H */
