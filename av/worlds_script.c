/* worlds_script.c - a world's events as a script; see worlds_clip.h. */
#include "av/worlds_clip.h"
#include "kernels/file.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* Of an event in the picture, cut to its length; it may not begin behind it. */
static lk_status put_line(FILE *out, const lk_world_event *e, lk_flick end)
{
    lk_status st = LK_OK;
    const lk_place *p = &e->place;
    const lk_flick until = e->picture.end < end ? e->picture.end : end;
    if (e->picture.start == LK_FLICK_NONE || e->picture.start < 0 || e->picture.start >= end)
        return LK_OK;
    int n = fprintf(out, "%.6f", lk_flick_to_s(e->picture.start));
    if (n > 0 && until > e->picture.start)
        n = fprintf(out, "-%.6f", lk_flick_to_s(until));
    if (n > 0)
        n = fprintf(out, " s %s %s", lk_world_event_kind_name(e->kind), e->label);
    if (n > 0 && p->ends == 1)
        n = fprintf(out, " at %.4f,%.4f", p->x[0], p->y[0]);
    if (n > 0 && p->ends == 2)
        n = fprintf(out, " from %.4f,%.4f to %.4f,%.4f", p->x[0], p->y[0], p->x[1], p->y[1]);
    LK_REQUIRE(n > 0 && fputc('\n', out) != EOF, LK_E_IO, "cannot write a script: %s",
               strerror(errno));
done:
    return st;
}

lk_status lk_world_script_write(const lk_world *w, const char *path)
{
    lk_status st = LK_OK;
    lk_replace file = {0};
    const lk_flick end = lk_world_frame_span(w, lk_world_n_frames(w) - 1).end;
    LK_TRY(lk_replace_open(&file, path));
    LK_REQUIRE(fprintf(file.stream, "# %s\n", lk_world_caption(w)) > 0, LK_E_IO,
               "cannot write '%s': %s", path, strerror(errno));
    for (int64_t i = 0; i < lk_world_n_events(w); i++)
        LK_TRY(put_line(file.stream, &lk_world_events(w)[i], end));
    for (int64_t i = 0; i < lk_world_n_paths(w); i++)
        LK_TRY(put_line(file.stream, &lk_world_paths(w)[i], end));
    LK_TRY(lk_replace_commit(&file));
done:
    lk_replace_drop(&file);
    return st;
}
