/* result_csv.c - see result_csv.h. */
#include "av/result_csv.h"
#include "kernels/file.h"

#include <math.h>
#include <string.h>

static void put_text(FILE *f, const char *text)
{
    if (!text)
        return;
    if (!strpbrk(text, ",\"\r\n")) {
        fputs(text, f);
        return;
    }
    fputc('"', f);
    for (const char *c = text; *c; c++) {
        if (*c == '"')
            fputc('"', f);
        fputc(*c, f);
    }
    fputc('"', f);
}

static void put_number(FILE *f, double x)
{
    if (isfinite(x))
        fprintf(f, ",%.12g", x);
    else
        fputc(',', f);
}

static void put_head(FILE *f, const lk_clip_result *r, const char *name)
{
    put_text(f, r->clip);
    fputc(',', f);
    put_text(f, r->group);
    fputc(',', f);
    put_text(f, r->pair);
    fprintf(f, ",%s,", r->failed ? "failed" : "ok");
    put_text(f, name);
}

static void put_reason(FILE *f, const char *reason)
{
    fputs(",,,,,,,,", f);
    put_text(f, reason);
    fputs("\r\n", f);
}

static void put_clip(FILE *f, const lk_clip_result *r)
{
    if (r->failed) {
        put_head(f, r, "");
        put_reason(f, r->error);
    }
    for (int64_t i = 0; i < r->n_scores; i++) {
        const lk_result_score *s = &r->scores[i];
        put_head(f, r, s->name);
        put_number(f, s->value);
        put_number(f, s->lo);
        put_number(f, s->hi);
        put_number(f, s->chance);
        put_number(f, s->p);
        fprintf(f, ",%lld,", (long long)s->n);
        put_text(f, s->unit);
        fputs(",\r\n", f);
    }
    for (int64_t i = 0; i < r->n_abstentions; i++) {
        put_head(f, r, r->abstentions[i].name);
        put_reason(f, r->abstentions[i].reason);
    }
}

lk_status lk_result_csv_write(const char *path, const lk_result_list *list)
{
    lk_status st = LK_OK;
    lk_replace file;
    LK_TRY(lk_replace_open(&file, path));
    fputs("clip,group,pair,status,name,value,lo,hi,chance,p,n,unit,reason\r\n", file.stream);
    for (int64_t i = 0; i < list->n; i++)
        put_clip(file.stream, &list->item[i]);
    LK_TRY(lk_replace_commit(&file));
done:
    lk_replace_drop(&file);
    return st;
}

lk_status lk_result_csv_check(const char *path)
{
    lk_status st = LK_OK;
    lk_replace file;
    LK_TRY(lk_replace_open(&file, path));
done:
    lk_replace_drop(&file);
    return st;
}
