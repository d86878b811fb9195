/* beat_scores.h - how well two lists of instants agree, by the field's definitions.
 *
 * All times are in seconds, sorted, finite.  The functions reproduce mir_eval 0.8 on sorted input,
 * its edge cases included: an empty list scores 0, and so do single beats where an interval is
 * needed.
 *
 * Sources      Davies, Degara & Plumbley, "Evaluation methods for musical audio beat tracking
 *              algorithms", QMUL C4DM-TR-09-06, 2009 (all beat measures); Raffel et al.,
 * "mir_eval", ISMIR 2014; Beat Alignment Score: Li et al., "AI Choreographer", ICCV 2021 (over
 *              motion beats), and Siyao et al., "Bailando", CVPR 2022 (over music beats); coverage
 *              and hit: Yu et al., "Long-term rhythmic video soundtracker", ICML 2023, section 4.
 * Threads      pure.
 */
#ifndef LK_BEAT_SCORES_H
#define LK_BEAT_SCORES_H

#include "kernels/status.h"

#include <stdint.h>

/* The part of the field's evaluations that is left out: beats before this time. */
#define LK_BEAT_TRIM_S 5.0

typedef struct lk_beat_scores {
    double f_measure, precision, recall; /* one-to-one within +-70 ms */
    double cemgil, cemgil_best;          /* sigma 40 ms; best over five metrical variants */
    double goto_score;                   /* 0 or 1 */
    double p_score;
    double cml_c, cml_t, aml_c, aml_t; /* continuity, 17.5 % */
    double information_gain;           /* 41 bins, 0..1 */
} lk_beat_scores;

/* Beats of both lists before trim_s are dropped first.  Only LK_E_MEMORY can fail. */
LK_CHECKED lk_status lk_beat_scores_find(const double *reference, int64_t n_reference,
                                         const double *estimate, int64_t n_estimate, double trim_s,
                                         lk_beat_scores *scores);

/* The same measures by the definitions of madmom 0.17, which reads them otherwise in places
 * (formulas at the top of beat_scores_madmom.c): errors of the estimates, not of the reference;
 * Goto's run wherever it lies; five more metrical levels; information gain over 40 bins in bits, up
 * to log2 40. It knows no cemgil_best: there stands cemgil.  Two empty lists agree perfectly. */
LK_CHECKED lk_status lk_beat_scores_madmom(const double *reference, int64_t n_reference,
                                           const double *estimate, int64_t n_estimate,
                                           double trim_s, lk_beat_scores *scores);

/* F-measure of a one-to-one matching within +-window_s inclusive (onsets: 0.05).  precision and
 * recall may be NULL. */
double lk_match_f(const double *reference, int64_t n_reference, const double *estimate,
                  int64_t n_estimate, double window_s, double *precision, double *recall);

/* Beat Alignment Score: the mean over `from` of exp(-d^2 / (2 sigma^2)), d the distance to the
 * nearest of `to`.  With from = music and to = motion this is Bailando's form, the other way round
 * that of AIST++; sigma = 0.05 s, or 3 when times are in frames at 60 per second.  0 when either
 * list is empty. */
double lk_beat_alignment(const double *from, int64_t n_from, const double *to, int64_t n_to,
                         double sigma);

/* Bins of one second that hold an instant of both lists, over the bins of the estimate (coverage)
 * and of the reference (hit).  Times must be >= 0; 0 when a list is empty. */
void lk_beat_coverage(const double *reference, int64_t n_reference, const double *estimate,
                      int64_t n_estimate, double *coverage, double *hit);

#endif /* LK_BEAT_SCORES_H */
