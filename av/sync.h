/* sync.h - one answer per clip: how late is the sound.
 *
 * Every metric that gives an offset is a witness; the answer is the trusted witness with the
 * narrowest interval, and the others are there to be compared with.  Where lips that follow the
 * voice contradict events, the lips are right: a consonant's burst does not fall on the instant at
 * which the lips stop.  Sign: > 0 = sound late.
 */
#ifndef LK_SYNC_H
#define LK_SYNC_H

#include "av/score_clip.h"

typedef struct lk_sync_answer {
    bool trusted;
    double offset_ms, lo, hi; /* NAN when there is no answer */
    double drift_ppm;         /* NAN unless it was measured */
    double p;                 /* of the witness */
    char source[16];          /* "event", "mouth", "beat", or "" */
    char reason[256];         /* why not trusted, or what limits the answer; may be "" */
} lk_sync_answer;

/* Names of the scores that can be witnesses, in order of preference, NULL-ended. */
const char *const *lk_sync_witnesses(void);

/* The answer out of a clip's scores and abstentions. */
void lk_sync_judge(const lk_clip_result *result, lk_sync_answer *answer);

/* Measure one file with the witnesses' metrics.  A file that cannot be read is an error here. */
LK_CHECKED lk_status lk_sync_measure(const char *path, uint64_t seed, lk_sync_answer *answer);

#endif /* LK_SYNC_H */
