/* report_impl.h - what the files of the report share. */
#ifndef LK_REPORT_IMPL_H
#define LK_REPORT_IMPL_H

#include "av/report.h"
#include "av/sync.h"

#include <stdio.h>

/* ---- text (report_html.c) -------------------------------------------------------------------- */

/* Escaped for content and for quoted attributes; bytes that are not UTF-8 and control characters
 * become U+FFFD.  NULL writes nothing. */
void lk_html_text(FILE *f, const char *text);

/* Page start up to <main>, and the end with the script.  up: "" or "../". */
void lk_html_head(FILE *f, const char *title);
void lk_html_tail(FILE *f);

/* "sound late by 42 ms", "sound early by 12 ms", "in time within 0.4 ms". */
void lk_words_offset(char *out, size_t bytes, double offset_ms);

/* One sentence about a score for a person; "" when the numbers say everything. */
void lk_words_score(char *out, size_t bytes, const lk_result_score *s);

/* Number with about four significant digits, "-" when it is not finite. */
void lk_html_number(FILE *f, double x);

/* ---- what is taken from the file itself (report_media.c) ------------------------------------- */

typedef struct lk_report_media {
    bool opened, playable, is_copy, shortened;
    char why[256]; /* when it is not opened or not playable */
    bool has_video, has_audio;
    char play[64], strip[64], spectrogram[64]; /* file names beside the page; "" when absent */
    int n_tiles, strip_width, strip_height;
    double high_hz; /* top of the spectrogram */
    char facts[400];
} lk_report_media;

/* dir is the folder of the clip pages, stem the name without ending, [0, duration_s] the axis. */
LK_CHECKED lk_status lk_report_media_make(const char *dir, const char *stem, const char *clip,
                                          double duration_s, lk_report_media *media);

/* ---- the page of a clip (report_clip.c) ------------------------------------------------------ */

LK_CHECKED lk_status lk_report_clip_page(const char *dir, const char *stem,
                                         const lk_clip_result *result,
                                         const lk_sync_answer *answer);

/* ---- the index (report_index.c) -------------------------------------------------------------- */

typedef struct lk_report_chance {
    char name[48];
    double value, chance, p;
} lk_report_chance;

#define LK_REPORT_CHANCES 6 /* scores with a chance level kept of a clip */

typedef struct lk_report_row {
    char *clip, *group, *error;
    bool failed;
    double duration_s;
    int n_warnings, n_chances;
    lk_report_chance chance[LK_REPORT_CHANCES];
    lk_sync_answer answer;
} lk_report_row;

struct lk_report {
    char *dir, *clips_dir, *title;
    lk_report_row *row;
    int64_t n;
    size_t capacity;
    char *provenance; /* of the first clip that has one */
    bool mixed;       /* others differ */
};

LK_CHECKED lk_status lk_report_write_index(const lk_report *report, FILE *f);

#endif /* LK_REPORT_IMPL_H */
