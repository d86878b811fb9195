/* report_index.c - the first page: what was found in words, the spread of offsets, every clip.
 *
 * The median's interval is the percentile bootstrap over clips; a group's advantage is the mean of
 * value minus chance over its clips with the same kind of interval.
 */
#include "align/stats.h"
#include "align/tolerances.h"
#include "av/report_impl.h"

#include "kernels/mem.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define RESAMPLES 2000
#define BARS      41

static bool in_group(const lk_report_row *row, const char *group)
{
    return !group || (row->group && strcmp(row->group, group) == 0);
}

/* Offsets of the trusted clips of a group (NULL: all). */
static lk_status gather_offsets(const lk_report *r, const char *group, double **out, int64_t *n)
{
    lk_status st = LK_OK;
    LK_TRY(LK_NEW_ARRAY(out, r->n + 1));
    *n = 0;
    for (int64_t i = 0; i < r->n; i++) {
        if (in_group(&r->row[i], group) && r->row[i].answer.trusted)
            (*out)[(*n)++] = r->row[i].answer.offset_ms;
    }
done:
    return st;
}

static int64_t count_failed(const lk_report *r, const char *group)
{
    int64_t n = 0;
    for (int64_t i = 0; i < r->n; i++)
        n += in_group(&r->row[i], group) && r->row[i].failed;
    return n;
}

static int64_t count_outside(const double *v, int64_t n, const lk_tolerance *t)
{
    int64_t outside = 0;
    for (int64_t i = 0; i < n; i++)
        outside += v[i] < t->early_ms || v[i] > t->late_ms;
    return outside;
}

/* ---- summary --------------------------------------------------------------------------------- */

static lk_status write_summary(const lk_report *r, FILE *f)
{
    lk_status st = LK_OK;
    double *v = NULL, lo = 0, hi = 0;
    char words[96];
    int64_t n = 0;
    LK_TRY(gather_offsets(r, NULL, &v, &n));
    const int64_t failed = count_failed(r, NULL);
    fprintf(f,
            "<div class=\"cards\"><div class=\"card\"><b>%lld</b><span>clip%s</span></div><div "
            "class=\"card\"><b>%lld</b><span>with a trusted offset</span></div><div "
            "class=\"card\"><b>%lld</b><span>scored, offset not answered</span></div><div "
            "class=\"card\"><b>%lld</b><span>could not be read</span></div></div>\n",
            (long long)r->n, r->n == 1 ? "" : "s", (long long)n, (long long)(r->n - n - failed),
            (long long)failed);
    if (r->n == 0) {
        fputs("<p class=\"verdict none\"><strong>No clips.</strong> There is nothing to show.</p>",
              f);
        goto done;
    }
    if (n == 0) {
        fputs("<p class=\"verdict none\"><strong>No clip gave a trusted offset.</strong> The "
              "reasons stand below.</p>\n",
              f);
        goto done;
    }
    LK_TRY(lk_bootstrap_median(v, n, RESAMPLES, 0, 0, &lo, &hi));
    const int64_t outside[] = {count_outside(v, n, &lk_tolerances[0]),
                               count_outside(v, n, &lk_tolerances[2]),
                               count_outside(v, n, &lk_tolerances[3])};
    lk_words_offset(words, sizeof words, lk_median(v, n));
    fprintf(f, "<p class=\"verdict %s\"><strong>Median over %lld trusted clip%s: %s</strong> ",
            outside[0] ? "off" : "good", (long long)n, n == 1 ? "" : "s", words);
    if (isfinite(lo))
        fprintf(f, "95 %% interval %+.1f to %+.1f ms (sound late is positive). ", lo, hi);
    fprintf(f,
            "Outside the limits: %.0f %% of them by ITU-R BT.1359 (detectable), %.0f %% by EBU R "
            "37, %.0f %% by ATSC IS-191.</p>\n",
            100.0 * (double)outside[0] / (double)n, 100.0 * (double)outside[1] / (double)n,
            100.0 * (double)outside[2] / (double)n);
done:
    lk_free(v);
    return st;
}

static lk_status write_histogram(const lk_report *r, FILE *f)
{
    lk_status st = LK_OK;
    double *v = NULL, reach = 150;
    int64_t n = 0, count[BARS] = {0}, most = 1;
    LK_TRY(gather_offsets(r, NULL, &v, &n));
    if (n == 0)
        goto done;
    for (int64_t i = 0; i < n; i++)
        reach = fmax(reach, fabs(v[i]));
    reach = 50 * ceil(reach * 1.02 / 50);
    for (int64_t i = 0; i < n; i++) {
        const int b = (int)((v[i] + reach) / (2 * reach) * BARS);
        const int64_t now = ++count[b < 0 ? 0 : b >= BARS ? BARS - 1 : b];
        most = now > most ? now : most;
    }
    fputs(
        "<h2>Offsets</h2><figure><svg viewBox=\"0 0 900 230\" role=\"img\" aria-label=\"Histogram "
        "of signed offsets: sound early on the left, sound late on the right\">",
        f);
    const lk_tolerance *t = &lk_tolerances[0];
    fprintf(f, "<rect class=\"limit\" x=\"%.1f\" y=\"20\" width=\"%.1f\" height=\"160\"/>",
            450 + 420 * t->early_ms / reach, 420 * (t->late_ms - t->early_ms) / reach);
    for (int b = 0; b < BARS; b++) {
        const double h = 155.0 * (double)count[b] / (double)most, w = 840.0 / BARS;
        if (count[b] > 0)
            fprintf(f,
                    "<rect class=\"bar\" x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\">"
                    "<title>%+.0f to %+.0f ms: %lld</title></rect>",
                    30 + b * w + 1, 180 - h, w - 2, h, -reach + b * 2 * reach / BARS,
                    -reach + (b + 1) * 2 * reach / BARS, (long long)count[b]);
    }
    fputs("<path class=\"base\" d=\"M30 180H870\"/><path class=\"zero\" d=\"M450 14V180\"/>", f);
    for (int k = -2; k <= 2; k++)
        fprintf(f, "<text class=\"mid\" x=\"%d\" y=\"197\">%+.0f</text>", 450 + 210 * k,
                reach * k / 2);
    fprintf(f,
            "<text x=\"30\" y=\"218\">← sound early</text><text class=\"mid\" x=\"450\" "
            "y=\"218\">offset in ms; shaded: not detectable by ITU-R BT.1359</text><text "
            "class=\"end\" x=\"870\" y=\"218\">sound late →</text><text x=\"30\" y=\"16\">tallest "
            "bar: %lld clip%s</text></svg></figure>\n",
            (long long)most, most == 1 ? "" : "s");
done:
    lk_free(v);
    return st;
}

/* ---- groups ---------------------------------------------------------------------------------- */

typedef struct group_sum {
    double value, chance, lo, hi;
    int64_t n;
} group_sum;

static lk_status sum_up(const lk_report *r, const char *group, const char *name, group_sum *out)
{
    lk_status st = LK_OK;
    double *gain = NULL;
    memset(out, 0, sizeof *out);
    LK_TRY(LK_NEW_ARRAY(&gain, r->n + 1));
    for (int64_t i = 0; i < r->n; i++) {
        if (!in_group(&r->row[i], group))
            continue;
        for (int k = 0; k < r->row[i].n_chances; k++) {
            const lk_report_chance *x = &r->row[i].chance[k];
            if (strcmp(x->name, name) != 0)
                continue;
            out->value += x->value;
            out->chance += x->chance;
            gain[out->n++] = x->value - x->chance;
        }
    }
    if (out->n > 0) {
        out->value /= (double)out->n;
        out->chance /= (double)out->n;
        LK_TRY(lk_bootstrap_mean(gain, out->n, RESAMPLES, 0, 1, &out->lo, &out->hi));
    }
done:
    lk_free(gain);
    return st;
}

static lk_status write_group(const lk_report *r, const char *group, FILE *f)
{
    lk_status st = LK_OK;
    double *v = NULL, lo = NAN, hi = NAN;
    const char *seen[64];
    char words[96];
    int64_t n = 0, clips = 0;
    size_t n_seen = 0;
    LK_TRY(gather_offsets(r, group, &v, &n));
    if (n > 0)
        LK_TRY(lk_bootstrap_median(v, n, RESAMPLES, 0, 0, &lo, &hi));
    for (int64_t i = 0; i < r->n; i++)
        clips += in_group(&r->row[i], group);
    lk_words_offset(words, sizeof words, n > 0 ? lk_median(v, n) : (double)NAN);
    fputs("<tr><td>", f);
    lk_html_text(f, group ? group : "all clips");
    fprintf(f, "<td class=\"n\">%lld<td class=\"n\">%lld<td class=\"n\">%lld<td>%s%s",
            (long long)clips, (long long)n, (long long)count_failed(r, group),
            n > 0 ? "median " : "", words);
    if (isfinite(lo))
        fprintf(f, " [%+.1f, %+.1f]", lo, hi);
    fputs("<td>", f);
    for (int64_t i = 0; i < r->n; i++) {
        for (int k = 0; in_group(&r->row[i], group) && k < r->row[i].n_chances; k++) {
            const char *name = r->row[i].chance[k].name;
            group_sum s;
            bool known = n_seen == sizeof seen / sizeof seen[0];
            for (size_t j = 0; j < n_seen; j++)
                known = known || strcmp(seen[j], name) == 0;
            if (known)
                continue;
            LK_TRY(sum_up(r, group, name, &s));
            fputs(n_seen ? "<br>" : "", f);
            seen[n_seen++] = name;
            lk_html_text(f, name);
            fprintf(f, " %.3f, chance %.3f", s.value, s.chance);
            if (isfinite(s.lo))
                fprintf(f, " (%s: difference %+.3f to %+.3f)",
                        s.lo > 0 ? "above chance" : "not told apart from chance", s.lo, s.hi);
        }
    }
    fputs("</tr>\n", f);
done:
    lk_free(v);
    return st;
}

static lk_status write_groups(const lk_report *r, FILE *f)
{
    lk_status st = LK_OK;
    if (r->n == 0)
        return LK_OK;
    fputs(
        "<h2>Against chance</h2><div class=\"scroll\"><table><thead><tr><th>Group<th "
        "class=\"n\">Clips<th class=\"n\">Trusted<th class=\"n\">Failed<th>Offset [95 %]<th>Means, "
        "with the 95 % interval of the difference</tr></thead><tbody>\n",
        f);
    LK_TRY(write_group(r, NULL, f));
    for (int64_t i = 0; i < r->n; i++) {
        bool first = r->row[i].group != NULL;
        for (int64_t k = 0; first && k < i; k++)
            first = !in_group(&r->row[k], r->row[i].group);
        if (first)
            LK_TRY(write_group(r, r->row[i].group, f));
    }
    fputs("</tbody></table></div>\n", f);
done:
    return st;
}

/* ---- clips ----------------------------------------------------------------------------------- */

/* Worst first: offsets by size, then the unanswered, then the failed. */
static double badness(const lk_report_row *row)
{
    return row->failed ? -2 : row->answer.trusted ? fabs(row->answer.offset_ms) : -1;
}

static int worst_first(const void *a, const void *b, void *user)
{
    const lk_report_row *row = user;
    const int64_t i = *(const int64_t *)a, k = *(const int64_t *)b;
    const double x = badness(&row[i]), y = badness(&row[k]);
    return x != y ? (x < y ? 1 : -1) : (i > k) - (i < k);
}

static void write_clip_row(const lk_report_row *row, int64_t index, FILE *f)
{
    char words[96];
    const lk_sync_answer *a = &row->answer;
    fprintf(f, "<tr><td><a href=\"clips/%06lld.html\"><bdi>", (long long)index);
    const char *slash = strrchr(row->clip, '/');
    const char *name = slash && slash[1] ? slash + 1 : row->clip;
    lk_html_text(f, name[0] ? name : "(no name)");
    fputs("</bdi></a>", f);
    if (name != row->clip) {
        fputs("<small><bdi>", f);
        lk_html_text(f, row->clip);
        fputs("</bdi></small>", f);
    }
    fputs("<td>", f);
    lk_html_text(f, row->group);
    if (a->trusted) {
        lk_words_offset(words, sizeof words, a->offset_ms);
        fprintf(f, "<td>%s<td class=\"n\" data-v=\"%.6f\">%+.1f<td class=\"n\" data-v=\"%.6f\">",
                words, a->offset_ms, a->offset_ms, isfinite(a->lo) ? a->hi - a->lo : 1e9);
        if (isfinite(a->lo))
            fprintf(f, "%+.1f to %+.1f", a->lo, a->hi);
        fputs("<td>", f);
        lk_html_text(f, a->source);
    } else {
        fputs(row->failed ? "<td>failed: " : "<td>no answer: ", f);
        lk_html_text(f, row->failed ? row->error : a->reason);
        fputs("<td class=\"n\" data-v=\"\">–<td class=\"n\" data-v=\"\"><td>", f);
    }
    fprintf(f, "<td class=\"n\" data-v=\"%d\">%d<td class=\"n\" data-v=\"%.3f\">%.2f</tr>\n",
            row->n_warnings, row->n_warnings, row->duration_s, row->duration_s);
}

static lk_status write_clips(const lk_report *r, FILE *f)
{
    lk_status st = LK_OK;
    int64_t *order = NULL;
    if (r->n == 0)
        return LK_OK;
    LK_TRY(LK_NEW_ARRAY(&order, r->n));
    for (int64_t i = 0; i < r->n; i++)
        order[i] = i;
    qsort_r(order, (size_t)r->n, sizeof order[0], worst_first, r->row);
    fputs("<h2>Clips, worst first</h2><div class=\"scroll\"><table class=\"sortable\"><thead><tr>"
          "<th><button>Clip</button><th><button>Group</button><th><button>In words</button><th "
          "class=\"n\"><button>Offset, ms</button><th class=\"n\"><button>95 % "
          "interval</button><th><button>By</button><th "
          "class=\"n\"><button>Warnings</button><th class=\"n\"><button>Seconds</button></tr>"
          "</thead><tbody>\n",
          f);
    for (int64_t i = 0; i < r->n; i++)
        write_clip_row(&r->row[order[i]], order[i], f);
    fputs("</tbody></table></div>\n", f);
done:
    lk_free(order);
    return st;
}

lk_status lk_report_write_index(const lk_report *r, FILE *f)
{
    lk_status st = LK_OK;
    lk_html_head(f, r->title);
    fputs("<h1>", f);
    lk_html_text(f, r->title);
    fputs("</h1>\n", f);
    LK_TRY(write_summary(r, f));
    LK_TRY(write_histogram(r, f));
    LK_TRY(write_groups(r, f));
    LK_TRY(write_clips(r, f));
    if (r->provenance) {
        fprintf(f, "<h2>Provenance%s</h2><pre>",
                r->mixed ? " of the first clip; others differ and say so on their page" : "");
        lk_html_text(f, r->provenance);
        fputs("</pre>\n", f);
    }
    lk_html_tail(f);
done:
    return st;
}
