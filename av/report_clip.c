/* report_clip.c - the page of one clip: player, everything on one time axis, lags, scores.
 *
 * All rows of the timeline have the width of the axis [0, duration], so a position in percent is a
 * time in every row, and one playhead crosses them all.
 */
#include "align/tolerances.h"
#include "av/png.h"
#include "av/timeline.h"
#include "kernels/file.h"
#include "av/report_impl.h"

#include "kernels/mem.h"

#include <math.h>
#include <string.h>

#define BINS 720

typedef struct page {
    FILE *f;
    const char *dir, *stem;
    const lk_clip_result *r;
    const lk_sync_answer *a;
    lk_report_media media;
    double end_s;
} page;

static double percent(const page *p, double t)
{
    return p->end_s > 0 ? fmin(fmax(100 * t / p->end_s, 0), 100) : 0;
}

static void open_row(const page *p, const char *label, const char *unit)
{
    fputs("<div class=\"row\"><div class=\"label\">", p->f);
    lk_html_text(p->f, label);
    if (unit && *unit) {
        fputs("<small>", p->f);
        lk_html_text(p->f, unit);
        fputs("</small>", p->f);
    }
    fputs("</div><div class=\"plot\">", p->f);
}

static void close_row(const page *p)
{
    fputs("</div></div>\n", p->f);
}

/* ---- curves and marks ------------------------------------------------------------------------ */

static const char *curve_title(const char *name)
{
    static const char *const known[][2] = {{"event.impact", "Sudden stops of motion"},
                                           {"event.speed", "Speed of motion"},
                                           {"beat.onset_strength", "Onset strength of sound"},
                                           {"mouth.opening", "Mouth opening"},
                                           {"mouth.envelope", "Speech envelope"}};
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        if (strcmp(name, known[i][0]) == 0)
            return known[i][1];
    }
    return name;
}

/* Largest and smallest value of each of BINS parts of the axis; NAN where there is none. */
static void bin_curve(const page *p, const lk_result_curve *c, double *low, double *high)
{
    for (int b = 0; b < BINS; b++)
        low[b] = high[b] = (double)NAN;
    for (int64_t i = 0; i < c->n; i++) {
        const double v = (double)c->values[i];
        if (!isfinite(v) || !(c->t_s[i] >= 0) || c->t_s[i] > p->end_s)
            continue;
        int b = (int)(c->t_s[i] / p->end_s * BINS);
        b = b >= BINS ? BINS - 1 : b;
        low[b] = isnan(low[b]) ? v : fmin(low[b], v);
        high[b] = isnan(high[b]) ? v : fmax(high[b], v);
    }
}

static void draw_curve(const page *p, const lk_result_curve *c, bool sound)
{
    double low[BINS], high[BINS], bottom = 0, top = 0;
    if (p->end_s <= 0 || c->n < 2)
        return;
    bin_curve(p, c, low, high);
    for (int b = 0; b < BINS; b++) {
        if (!isnan(high[b])) {
            top = fmax(top, high[b]);
            bottom = fmin(bottom, low[b]);
        }
    }
    const double scale = top > bottom ? 96 / (top - bottom) : 0;
    open_row(p, curve_title(c->name), strcmp(c->unit, "1") == 0 ? "" : c->unit);
    fprintf(p->f,
            "<svg class=\"curve %s\" viewBox=\"0 0 %d 100\" preserveAspectRatio=\"none\" "
            "role=\"img\" aria-label=\"",
            sound ? "sound" : "picture", BINS);
    lk_html_text(p->f, curve_title(c->name));
    fputs(" over time\"><path d=\"", p->f);
    char pen = 'M';
    for (int b = 0; b < BINS; b++) {
        if (isnan(high[b]))
            continue;
        fprintf(p->f, "%c%d %.1f", pen, b, 98 - (high[b] - bottom) * scale);
        if (high[b] - low[b] > 0.005 * (top - bottom))
            fprintf(p->f, "L%d %.1f", b, 98 - (low[b] - bottom) * scale);
        pen = 'L';
    }
    fputs("\"/></svg><span class=\"top\">", p->f);
    lk_html_number(p->f, top);
    fputs("</span>", p->f);
    close_row(p);
}

static void draw_marks(const page *p, const lk_result_marks *m)
{
    static const char *const known[][3] = {{"event.onsets", "Sound onsets", "sound"},
                                           {"event.motion_peaks", "Motion peaks", "picture"},
                                           {"beat.beats", "Beats", "sound"},
                                           {"beat.downbeats", "Downbeats", "sound"},
                                           {"beat.motion_beats", "Motion beats", "picture"},
                                           {"event.changes", "Change of offset", "other"},
                                           {"reference.onsets", "Reference onsets", "other"},
                                           {"reference.beats", "Reference beats", "other"}};
    const char *title = m->name, *kind = "other";
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        if (strcmp(m->name, known[i][0]) == 0) {
            title = known[i][1];
            kind = known[i][2];
        }
    }
    if (m->n == 0 || p->end_s <= 0)
        return;
    char unit[32];
    snprintf(unit, sizeof unit, "%lld", (long long)m->n);
    open_row(p, title, unit);
    fprintf(p->f,
            "<svg class=\"marks %s\" viewBox=\"0 0 1000 10\" preserveAspectRatio=\"none\" "
            "role=\"img\" aria-label=\"%lld marks: ",
            kind, (long long)m->n);
    lk_html_text(p->f, title);
    fputs("\"><path d=\"", p->f);
    for (int64_t i = 0; i < m->n; i++) {
        if (m->t_s[i] >= 0 && m->t_s[i] <= p->end_s)
            fprintf(p->f, "M%.2f 0V10", 10 * percent(p, m->t_s[i]));
    }
    fputs("\"/></svg>", p->f);
    close_row(p);
}

static void draw_axis(const page *p)
{
    static const double steps[] = {0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1800};
    size_t s = 0;
    while (s + 1 < sizeof steps / sizeof steps[0] && p->end_s / steps[s] > 11)
        s++;
    open_row(p, "Time", "s");
    fputs("<div class=\"axis\">", p->f);
    for (double t = 0; p->end_s > 0 && t <= p->end_s * 0.985; t += steps[s])
        fprintf(p->f, "<span style=\"left:%.3f%%\">%.4g</span>", percent(p, t), t);
    fputs("</div>", p->f);
    close_row(p);
}

/* ---- lags ------------------------------------------------------------------------------------ */

/* The window whose middle is nearest to t. */
static int64_t nearest_window(const lk_result_lag_map *m, double t)
{
    int64_t w = 0;
    while (w + 1 < m->n_times && fabs(m->t_s[w + 1] - t) < fabs(m->t_s[w] - t))
        w++;
    return w;
}

static double strongest_lag(const lk_result_lag_map *m, int64_t w)
{
    int64_t best = 0;
    for (int64_t k = 1; k < m->n_lags; k++)
        best = m->values[w * m->n_lags + k] > m->values[w * m->n_lags + best] ? k : best;
    return m->lag_ms[best];
}

static void paint_map(const page *p, const lk_result_lag_map *m, int columns, int rows,
                      uint8_t *rgb)
{
    double top = 1e-12;
    for (int64_t i = 0; i < m->n_times * m->n_lags; i++)
        top = fmax(top, (double)m->values[i]);
    for (int x = 0; x < columns; x++) {
        const int64_t w = nearest_window(m, (x + 0.5) * p->end_s / columns);
        for (int y = 0; y < rows; y++) {
            const int64_t to = m->n_lags - (int64_t)y * m->n_lags / rows;
            double v = 0;
            for (int64_t k = m->n_lags - (int64_t)(y + 1) * m->n_lags / rows; k < to; k++)
                v = fmax(v, (double)m->values[w * m->n_lags + k]);
            lk_colour(1, v / top, rgb + (y * columns + x) * 3);
        }
    }
}

static lk_status draw_map(page *p, const lk_result_lag_map *m, int number)
{
    lk_status st = LK_OK;
    uint8_t *rgb = NULL;
    char path[4200];
    const int rows = m->n_lags < 201 ? (int)m->n_lags : 201;
    if (rows < 2 || m->n_times < 1 || p->end_s <= 0)
        return LK_OK;
    LK_TRY(LK_NEW_ARRAY(&rgb, rows * BINS * 3));
    paint_map(p, m, BINS, rows, rgb);
    snprintf(path, sizeof path, "%s/%s-lag%d.png", p->dir, p->stem, number);
    LK_TRY(lk_png_write(path, BINS, rows, rgb));
    open_row(p, "Lag over time", "late ↑ early ↓");
    fprintf(p->f,
            "<div class=\"map\"><img src=\"%s-lag%d.png\" alt=\"Agreement of sound and picture by "
            "time and lag; bright is strong\"><svg viewBox=\"0 0 1000 100\" "
            "preserveAspectRatio=\"none\" role=\"img\" aria-label=\"Strongest lag of each "
            "window\"><path d=\"",
            p->stem, number);
    const double lo = m->lag_ms[0], hi = m->lag_ms[m->n_lags - 1];
    for (int64_t w = 0; w < m->n_times; w++) {
        const double y = 100 - 100 * (strongest_lag(m, w) - lo) / (hi - lo);
        const double from = w > 0 ? 0.5 * (m->t_s[w - 1] + m->t_s[w]) : 0;
        const double to = w + 1 < m->n_times ? 0.5 * (m->t_s[w] + m->t_s[w + 1]) : p->end_s;
        fprintf(p->f, "%c%.2f %.2fL%.2f %.2f", w ? 'L' : 'M', 10 * percent(p, from), y,
                10 * percent(p, to), y);
    }
    fprintf(p->f,
            "\"/></svg><span class=\"top\">%+.0f ms</span><span class=\"bottom\">%+.0f ms"
            "</span></div>",
            hi, lo);
    close_row(p);
done:
    lk_free(rgb);
    return st;
}

static void draw_lag_curve(const page *p, const lk_result_lag_curve *c)
{
    if (c->n < 2 || !(c->lag_ms[c->n - 1] > c->lag_ms[0]))
        return;
    const double lo = c->lag_ms[0], hi = c->lag_ms[c->n - 1];
    double top = 1e-12, bottom = 0;
    const int64_t step = c->n / 800 + 1;
    for (int64_t i = 0; i < c->n; i++) {
        if (!isfinite(c->values[i]))
            continue;
        top = fmax(top, (double)c->values[i]);
        bottom = fmin(bottom, (double)c->values[i]);
    }
    const lk_result_score *s = lk_clip_result_score(p->r, c->name);
    fputs("<figure><figcaption>", p->f);
    lk_html_text(p->f, c->name);
    fputs(" by lag</figcaption><svg class=\"lag\" viewBox=\"0 0 640 240\" role=\"img\" "
          "aria-label=\"Agreement of sound and picture at each lag\">",
          p->f);
#define X(ms) (20 + 600 * ((ms)-lo) / (hi - lo))
#define Y(v)  (200 - 180 * ((v)-bottom) / (top - bottom))
    if (p->a->trusted && isfinite(p->a->lo) && p->a->hi > lo && p->a->lo < hi)
        fprintf(p->f, "<rect class=\"ci\" x=\"%.1f\" y=\"20\" width=\"%.1f\" height=\"180\"/>",
                X(p->a->lo), fmax(1.5, X(p->a->hi) - X(p->a->lo)));
    fprintf(p->f,
            "<path class=\"zero\" d=\"M%.1f 20V200\"/><path class=\"base\" d=\"M20 200H620\"/>",
            X(0.0));
    /* The score is the curve's peak over a norm, which gives the curve's own scale of chance. */
    if (s && isfinite(s->chance) && s->value > 0)
        fprintf(p->f,
                "<path class=\"chance\" d=\"M20 %.1fH620\"/><text class=\"end\" x=\"618\" "
                "y=\"%.1f\">chance level of the best lag</text>",
                Y(top * s->chance / s->value), Y(top * s->chance / s->value) - 5);
    fputs("<path class=\"line\" d=\"", p->f);
    char pen = 'M';
    for (int64_t i = 0; i < c->n; i += step) {
        double v = (double)NAN;
        for (int64_t k = i; k < i + step && k < c->n; k++)
            v = isfinite(c->values[k]) ? fmax(v, (double)c->values[k]) : v;
        if (isnan(v))
            continue;
        fprintf(p->f, "%c%.1f %.1f", pen, X(c->lag_ms[i]), Y(v));
        pen = 'L';
    }
    fputs("\"/>", p->f);
    for (int k = 0; k <= 4; k++)
        fprintf(p->f, "<text class=\"mid\" x=\"%.1f\" y=\"216\">%+.0f</text>", 20 + 150.0 * k,
                lo + k * (hi - lo) / 4);
    fputs("<text x=\"20\" y=\"234\">← sound early</text><text class=\"mid\" x=\"320\" y=\"234\">"
          "lag in ms</text><text class=\"end\" x=\"620\" y=\"234\">sound late →</text></svg>"
          "</figure>\n",
          p->f);
#undef X
#undef Y
}

/* ---- parts of the page ----------------------------------------------------------------------- */

static void write_verdict(const page *p)
{
    char words[96];
    const lk_sync_answer *a = p->a;
    if (p->r->failed) {
        fputs("<p class=\"verdict bad\"><strong>Could not be scored.</strong> ", p->f);
        lk_html_text(p->f, p->r->error);
    } else if (a->trusted) {
        lk_words_offset(words, sizeof words, a->offset_ms);
        words[0] = 'S';
        fprintf(p->f, "<p class=\"verdict %s\"><strong>%s</strong> ",
                a->offset_ms < lk_tolerances[0].early_ms || a->offset_ms > lk_tolerances[0].late_ms
                    ? "off"
                    : "good",
                words);
        if (isfinite(a->lo))
            fprintf(p->f, "95 %% interval %+.1f to %+.1f ms", a->lo, a->hi);
        if (isfinite(a->p))
            fprintf(p->f, ", p = %.2g against unrelated sound", a->p);
        fputs(", measured by ", p->f);
        lk_html_text(p->f, a->source);
        fputs(a->reason[0] ? "; " : ".", p->f);
        lk_html_text(p->f, a->reason);
    } else {
        fputs("<p class=\"verdict none\"><strong>No trusted offset.</strong> ", p->f);
        lk_html_text(p->f, a->reason);
    }
    fputs("</p>\n", p->f);
}

static void write_player(const page *p)
{
    const lk_report_media *m = &p->media;
    fputs("<section class=\"two\"><div>", p->f);
    if (m->playable) {
        fprintf(p->f, "<%s controls preload=\"auto\" src=\"%s\"></%s>",
                m->has_video ? "video playsinline" : "audio", m->play,
                m->has_video ? "video" : "audio");
        fprintf(p->f, "<p class=\"note\">%s%s</p>",
                m->is_copy ? "The file as it is." : "A smaller copy with the same times.",
                m->shortened ? " Its first ten minutes." : "");
    }
    if (m->why[0]) {
        fputs("<p class=\"note\">The file could not be shown: ", p->f);
        lk_html_text(p->f, m->why);
        fputs("</p>", p->f);
    }
    fputs("</div><dl>", p->f);
    fprintf(p->f, "<dt>Duration</dt><dd>%.3f s</dd>", p->r->duration_s);
    if (isfinite(p->r->container_offset_ms))
        fprintf(p->f, "<dt>Sound starts after picture, as the file states</dt><dd>%+.1f ms</dd>",
                p->r->container_offset_ms);
    if (m->facts[0]) {
        fputs("<dt>Streams</dt><dd>", p->f);
        lk_html_text(p->f, m->facts);
        fputs("</dd>", p->f);
    }
    if (p->r->group) {
        fputs("<dt>Group</dt><dd>", p->f);
        lk_html_text(p->f, p->r->group);
        fputs("</dd>", p->f);
    }
    fputs("</dl></section>\n", p->f);
}

static lk_status write_timeline(page *p)
{
    lk_status st = LK_OK;
    const lk_report_media *m = &p->media;
    fprintf(p->f,
            "<h2>On one time axis</h2>\n<p class=\"note\">Click to go there. <span class=\"key "
            "sound\">sound</span> <span class=\"key picture\">picture</span></p><div "
            "class=\"scroll\"><div class=\"timeline\" data-end=\"%.6f\" tabindex=\"0\" "
            "role=\"slider\" aria-label=\"Position in the clip in seconds\" aria-valuemin=\"0\" "
            "aria-valuemax=\"%.3f\" aria-valuenow=\"0\">\n",
            p->end_s, p->end_s);
    if (m->strip[0]) {
        open_row(p, "Frames", "");
        fprintf(p->f,
                "<img class=\"strip\" src=\"%s\" alt=\"%d frames of the clip at their "
                "times\">",
                m->strip, m->n_tiles);
        close_row(p);
    }
    for (int64_t i = 0; i < p->r->n_curves; i++) {
        if (strncmp(p->r->curves[i].name, "beat.onset", 10) != 0)
            draw_curve(p, &p->r->curves[i], false);
    }
    for (int64_t i = 0; i < p->r->n_marks; i++)
        draw_marks(p, &p->r->marks[i]);
    for (int64_t i = 0; i < p->r->n_curves; i++) {
        if (strncmp(p->r->curves[i].name, "beat.onset", 10) == 0)
            draw_curve(p, &p->r->curves[i], true);
    }
    if (m->spectrogram[0]) {
        open_row(p, "Spectrogram", "mel, 70 dB");
        fprintf(p->f,
                "<img class=\"spectrogram\" src=\"%s\" alt=\"Log mel spectrogram of the sound, 40 "
                "Hz to %.0f Hz\"><span class=\"top\">%.0f kHz</span>",
                m->spectrogram, m->high_hz, m->high_hz / 1000);
        close_row(p);
    }
    for (int64_t i = 0; i < p->r->n_lag_maps; i++)
        LK_TRY(draw_map(p, &p->r->lag_maps[i], (int)i));
    draw_axis(p);
    fputs("<div class=\"playhead\" aria-hidden=\"true\"></div></div></div>\n", p->f);
done:
    return st;
}

static void write_scores(const page *p)
{
    char words[160];
    const lk_clip_result *r = p->r;
    if (r->n_scores > 0)
        fputs("<h2>Scores</h2><div class=\"scroll\"><table><thead><tr><th>Score<th>In words<th "
              "class=\"n\">Value<th>Unit<th class=\"n\">95 % interval<th class=\"n\">Chance<th "
              "class=\"n\">p<th class=\"n\">n</tr></thead><tbody>\n",
              p->f);
    for (int64_t i = 0; i < r->n_scores; i++) {
        const lk_result_score *s = &r->scores[i];
        lk_words_score(words, sizeof words, s);
        fputs("<tr><td>", p->f);
        lk_html_text(p->f, s->name);
        fprintf(p->f, "<td>%s<td class=\"n\">", words);
        lk_html_number(p->f, s->value);
        fputs("<td>", p->f);
        lk_html_text(p->f, strcmp(s->unit, "1") == 0 ? "" : s->unit);
        fputs("<td class=\"n\">", p->f);
        if (isfinite(s->lo)) {
            lk_html_number(p->f, s->lo);
            fputs(" to ", p->f);
            lk_html_number(p->f, s->hi);
        }
        fputs("<td class=\"n\">", p->f);
        if (isfinite(s->chance))
            lk_html_number(p->f, s->chance);
        fputs("<td class=\"n\">", p->f);
        if (isfinite(s->p))
            lk_html_number(p->f, s->p);
        fprintf(p->f, "<td class=\"n\">%lld</tr>\n", (long long)s->n);
    }
    if (r->n_scores > 0)
        fputs("</tbody></table></div>\n", p->f);
    if (r->n_abstentions > 0)
        fputs("<h2>Not answered, and why</h2><dl class=\"wide\">", p->f);
    for (int64_t i = 0; i < r->n_abstentions; i++) {
        fputs("<dt>", p->f);
        lk_html_text(p->f, r->abstentions[i].name);
        fputs("</dt><dd>", p->f);
        lk_html_text(p->f, r->abstentions[i].reason);
        fputs("</dd>", p->f);
    }
    fputs(r->n_abstentions > 0 ? "</dl>\n" : "", p->f);
    fputs(r->n_warnings > 0 ? "<h2>Warnings about the file</h2><ul>" : "", p->f);
    for (int i = 0; i < r->n_warnings; i++) {
        fputs("<li>", p->f);
        lk_html_text(p->f, r->warnings[i]);
        fputs("</li>", p->f);
    }
    fputs(r->n_warnings > 0 ? "</ul>\n" : "", p->f);
}

lk_status lk_report_clip_page(const char *dir, const char *stem, const lk_clip_result *r,
                              const lk_sync_answer *answer)
{
    lk_status st = LK_OK;
    lk_replace file = {0};
    char path[4200];
    page p = {.dir = dir, .stem = stem, .r = r, .a = answer, .end_s = r->duration_s};
    if (!r->failed)
        LK_TRY(lk_report_media_make(dir, stem, r->clip, r->duration_s, &p.media));
    snprintf(path, sizeof path, "%s/%s.html", dir, stem);
    LK_TRY(lk_replace_open(&file, path));
    p.f = file.stream;
    const char *slash = strrchr(r->clip, '/');
    lk_html_head(p.f, slash && slash[1] ? slash + 1 : r->clip);
    fputs("<nav><a href=\"../index.html\">← All clips</a></nav>\n<h1><bdi>", p.f);
    lk_html_text(p.f, slash && slash[1] ? slash + 1 : r->clip);
    fputs("</bdi></h1>\n<p class=\"path\"><bdi>", p.f);
    lk_html_text(p.f, r->clip);
    fputs("</bdi></p>\n", p.f);
    write_verdict(&p);
    if (!r->failed) {
        write_player(&p);
        LK_TRY(write_timeline(&p));
        fputs(r->n_lag_curves > 0 ? "<h2>Which lag fits best</h2><div class=\"lags\">\n" : "", p.f);
        for (int64_t i = 0; i < r->n_lag_curves; i++)
            draw_lag_curve(&p, &r->lag_curves[i]);
        fputs(r->n_lag_curves > 0 ? "</div>\n" : "", p.f);
        write_scores(&p);
    }
    if (r->provenance) {
        fputs("<h2>Provenance</h2><pre>", p.f);
        lk_html_text(p.f, r->provenance);
        fputs("</pre>\n", p.f);
    }
    lk_html_tail(p.f);
    LK_TRY(lk_replace_commit(&file));
done:
    lk_replace_drop(&file);
    return st;
}
