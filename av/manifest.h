/* manifest.h - a list of clips with what is known about each: CSV or JSON lines.
 *
 *     clip,group,pair,reference,onsets,beats,downbeats,face
 *     a.mp4,ours,prompt 1,track.wav,0.5 1.25 2,beats.txt,,0.3 0.2 0.4 0.5
 *
 * Only `clip` is required.  `group` is the system or split, `pair` the key under which clips of two
 * systems are compared.  `onsets`, `beats`, `downbeats` are seconds (separated by spaces, a list in
 * JSON) or a text file with a time at the start of each line; a second column of a beats file is
 * the position in the bar, and 1 makes a downbeat.  `face` is x y width height in fractions of the
 * picture.  Relative paths start at the manifest's folder.
 *
 * Errors       LK_E_FORMAT with the line number.
 * Threads      pure.
 */
#ifndef LK_MANIFEST_H
#define LK_MANIFEST_H

#include "align/align.h"

typedef struct lk_times {
    int64_t n;
    lk_flick *at; /* sorted */
} lk_times;

typedef struct lk_manifest_row {
    char *clip, *group, *pair; /* the latter two NULL when absent */
    char *track;               /* reference sound, NULL when absent */
    lk_times onsets, beats, downbeats;
    bool has_face;
    lk_box face;
} lk_manifest_row;

typedef struct lk_manifest {
    int64_t n;
    size_t capacity;
    lk_manifest_row *row;
    char *unknown; /* name of the first column that was ignored, NULL when none was */
} lk_manifest;

LK_CHECKED lk_status lk_manifest_read(const char *path, lk_manifest *manifest);

/* The same from memory; `name` stands in messages, `folder` before relative paths. */
LK_CHECKED lk_status lk_manifest_parse(const char *bytes, size_t n, const char *name,
                                       const char *folder, lk_manifest *manifest);

/* Append a clip about which nothing is known. */
LK_CHECKED lk_status lk_manifest_add(lk_manifest *manifest, const char *clip);

void lk_manifest_clear(lk_manifest *manifest);

#endif /* LK_MANIFEST_H */
