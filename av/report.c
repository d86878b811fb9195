/* report.c - the folder, the summary that is kept, and the whole report from files. */
#include "av/h5.h"
#include "kernels/file.h"
#include "av/report_impl.h"
#include "av/result_json.h"

#include "kernels/mem.h"

#include <errno.h>
#include <math.h>
#include <string.h>
#include <sys/stat.h>

lk_status lk_report_open(lk_report **report, const char *dir, const char *title)
{
    lk_status st = LK_OK;
    lk_report *r = NULL;
    LK_TRY(LK_NEW(&r));
    LK_TRY(lk_make_folders(dir));
    LK_TRY(lk_strdup(dir, &r->dir));
    LK_TRY(lk_strdup(title, &r->title));
    LK_TRY(LK_NEW_ARRAY(&r->clips_dir, strlen(dir) + 8));
    sprintf(r->clips_dir, "%s/clips", dir);
    LK_TRY(lk_make_folders(r->clips_dir));
    *report = r;
    r = NULL;
done:
    lk_report_free(&r);
    return st;
}

static lk_status keep_summary(lk_report *r, const lk_clip_result *c)
{
    lk_status st = LK_OK;
    LK_TRY(LK_GROW(&r->row, &r->capacity, r->n + 1));
    lk_report_row *row = &r->row[r->n++];
    row->failed = c->failed;
    row->duration_s = c->duration_s;
    row->n_warnings = c->n_warnings;
    LK_TRY(lk_strdup(c->clip ? c->clip : "", &row->clip));
    if (c->group)
        LK_TRY(lk_strdup(c->group, &row->group));
    if (c->failed)
        LK_TRY(lk_strdup(c->error ? c->error : "failed", &row->error));
    lk_sync_judge(c, &row->answer);
    for (int64_t i = 0; i < c->n_scores && row->n_chances < LK_REPORT_CHANCES; i++) {
        const lk_result_score *s = &c->scores[i];
        if (!isfinite(s->chance) || !isfinite(s->value))
            continue;
        lk_report_chance *x = &row->chance[row->n_chances++];
        snprintf(x->name, sizeof x->name, "%s", s->name);
        x->value = s->value;
        x->chance = s->chance;
        x->p = s->p;
    }
    if (c->provenance && !r->provenance)
        LK_TRY(lk_strdup(c->provenance, &r->provenance));
    else if (c->provenance && strcmp(c->provenance, r->provenance) != 0)
        r->mixed = true;
done:
    return st;
}

lk_status lk_report_clip(lk_report *r, const lk_clip_result *c)
{
    lk_status st = LK_OK;
    char stem[32];
    snprintf(stem, sizeof stem, "%06lld", (long long)r->n);
    LK_TRY(keep_summary(r, c));
    LK_TRY(lk_report_clip_page(r->clips_dir, stem, c, &r->row[r->n - 1].answer));
done:
    return st;
}

lk_status lk_report_finish(lk_report *r)
{
    lk_status st = LK_OK;
    lk_replace file = {0};
    char path[4200];
    snprintf(path, sizeof path, "%s/index.html", r->dir);
    LK_TRY(lk_replace_open(&file, path));
    LK_TRY(lk_report_write_index(r, file.stream));
    LK_TRY(lk_replace_commit(&file));
done:
    lk_replace_drop(&file);
    return st;
}

void lk_report_free(lk_report **report)
{
    lk_report *r = report ? *report : NULL;
    if (!r)
        return;
    for (int64_t i = 0; i < r->n; i++) {
        lk_free(r->row[i].clip);
        lk_free(r->row[i].group);
        lk_free(r->row[i].error);
    }
    lk_free(r->row);
    lk_free(r->dir);
    lk_free(r->clips_dir);
    lk_free(r->title);
    lk_free(r->provenance);
    lk_free(r);
    *report = NULL;
}

lk_status lk_report_from_files(const char *dir, const char *title, const char *rows, const char *h5,
                               void (*progress)(void *user, double done, double total), void *user)
{
    lk_status st = LK_OK;
    lk_result_list list = {0};
    lk_report *r = NULL;
    LK_TRY(lk_result_list_read(rows, &list));
    LK_TRY(lk_report_open(&r, dir, title));
    for (int64_t i = 0; i < list.n; i++) {
        if (h5 && !list.item[i].failed)
            LK_TRY(lk_h5_read_clip(h5, i, &list.item[i]));
        LK_TRY(lk_report_clip(r, &list.item[i]));
        lk_clip_result_clear(&list.item[i]);
        if (progress)
            progress(user, (double)(i + 1), (double)list.n);
    }
    LK_TRY(lk_report_finish(r));
done:
    lk_report_free(&r);
    lk_result_list_clear(&list);
    return st;
}
