/* score_run.c - see score_run.h.
 *
 * Invariants
 * (1) Row i of the file is clip i of the list; rows are appended whole, in order.
 * (2) At most WINDOW clips per worker are finished but not yet written, so memory stays flat.
 * (3) HDF5 and the callbacks are used by the calling thread only.
 */
#include "av/score_run.h"
#include "align/features.h"
#include "av/h5.h"
#include "av/media.h"
#include "av/provenance.h"
#include "av/result_json.h"
#include "av/score_clip.h"

#include "kernels/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#define WINDOW      4
#define MAX_WORKERS 64

typedef enum slot_state { EMPTY, BUSY, READY } slot_state;

typedef struct slot {
    slot_state state;
    lk_clip_result result;
    lk_status st;
    char sentence[256];
} slot;

typedef struct run {
    const lk_score_run_options *o;
    char *part;
    FILE *rows;
    lk_h5_writer *h5;
    int64_t n_have;  /* rows a former run left */
    int64_t n_start; /* first clip to be scored; below n_have when only its curves are missing */
    pthread_mutex_t lock;
    pthread_cond_t changed;
    slot *slots; /* clip i uses slot i % n_slots */
    int64_t n_slots, next, written;
    bool quit;
} run;

/* ---- one clip -------------------------------------------------------------------------------- */

static bool wants_the_references_picture(const lk_score_run_options *o)
{
    for (size_t i = 0; i < o->n_metrics; i++) {
        char name[32];
        snprintf(name, sizeof name, "%.*s", (int)strcspn(o->metrics[i], ":"), o->metrics[i]);
        const lk_metric *m = lk_metric_find(name);
        if (m && (m->needs & LK_NEED_TRACK))
            return true;
    }
    return false;
}

static lk_status read_reference(const char *path, bool with_picture, lk_features *out)
{
    lk_status st = LK_OK;
    lk_media *media = NULL;
    lk_audio_extractor *x = NULL;
    lk_video_extractor *v = NULL;
    lk_media_item item;
    const lk_media_options wish = {.no_video = !with_picture, .threads = 1};
    LK_TRY(lk_media_open(&media, path, &wish));
    LK_TRY(lk_audio_extractor_create(&x, false));
    LK_TRY(lk_video_extractor_create(&v, false));
    for (;;) {
        LK_TRY(lk_media_next(media, &item));
        if (item.kind == LK_MEDIA_END)
            break;
        if (item.kind == LK_MEDIA_PCM)
            LK_TRY(lk_audio_extractor_push(x, &item.pcm));
        else if (item.kind == LK_MEDIA_FRAME)
            LK_TRY(lk_video_extractor_push(v, &item.frame));
    }
    LK_TRY(lk_audio_extractor_finish(x, &out->audio));
    LK_TRY(lk_video_extractor_finish(v, &out->video));
done:
    lk_audio_extractor_free(&x);
    lk_video_extractor_free(&v);
    lk_media_close(&media);
    return st;
}

static lk_status fail_result(lk_clip_result *r, const char *clip)
{
    lk_status st = LK_OK;
    char sentence[512];
    snprintf(sentence, sizeof sentence, "%s", lk_error_text());
    lk_error_clear();
    lk_clip_result_clear(r);
    r->failed = true;
    r->container_offset_ms = (double)NAN;
    LK_TRY(lk_strdup(clip, &r->clip));
    LK_TRY(lk_strdup(sentence, &r->error));
done:
    return st;
}

static lk_status provenance_of(const run *w, const lk_manifest_row *row, char **text)
{
    return lk_provenance_make(w->o->metrics, w->o->n_metrics, w->o->seed, row, text);
}

static lk_status score_row(const run *w, const lk_manifest_row *row, lk_clip_result *r)
{
    lk_status st = LK_OK;
    lk_features track = {0};
    lk_reference reference = {.n_onsets = row->onsets.n,
                              .onsets = row->onsets.at,
                              .n_beats = row->beats.n,
                              .beats = row->beats.at,
                              .n_downbeats = row->downbeats.n,
                              .downbeats = row->downbeats.at,
                              .has_face = row->has_face,
                              .face = row->face};
    if (row->track) {
        st = read_reference(row->track, wants_the_references_picture(w->o), &track);
        if (st == LK_E_MEMORY)
            goto done;
        if (st != LK_OK) {
            st = fail_result(r, row->clip);
            goto done;
        }
        reference.track = &track;
    }
    const lk_score_clip_options o = {.metrics = w->o->metrics,
                                     .n_metrics = w->o->n_metrics,
                                     .reference = &reference,
                                     .seed = w->o->seed,
                                     .threads = w->o->threads == 1 || w->o->clips->n > 1 ? 1 : 0};
    LK_TRY(lk_score_clip(row->clip, &o, r));
done:
    if (st == LK_OK && row->group)
        st = lk_strdup(row->group, &r->group);
    if (st == LK_OK && row->pair)
        st = lk_strdup(row->pair, &r->pair);
    if (st == LK_OK)
        st = provenance_of(w, row, &r->provenance);
    lk_features_clear(&track);
    return st;
}

static void *work(void *user)
{
    run *w = user;
    pthread_mutex_lock(&w->lock);
    for (;;) {
        while (!w->quit && w->next < w->o->clips->n && w->next >= w->written + w->n_slots)
            pthread_cond_wait(&w->changed, &w->lock);
        if (w->quit || w->next >= w->o->clips->n || (w->o->stop && *w->o->stop))
            break;
        const int64_t i = w->next++;
        slot *s = &w->slots[i % w->n_slots];
        s->state = BUSY;
        pthread_mutex_unlock(&w->lock);
        memset(&s->result, 0, sizeof s->result);
        s->st = score_row(w, &w->o->clips->row[i], &s->result);
        if (s->st != LK_OK)
            snprintf(s->sentence, sizeof s->sentence, "%s", lk_error_text());
        pthread_mutex_lock(&w->lock);
        s->state = READY;
        pthread_cond_broadcast(&w->changed);
    }
    pthread_cond_broadcast(&w->changed);
    pthread_mutex_unlock(&w->lock);
    return NULL;
}

/* ---- rows ------------------------------------------------------------------------------------ */

static bool is_same_text(const char *a, const char *b)
{
    return a && b ? strcmp(a, b) == 0 : a == b;
}

/* Whether a row of a former run is the one that this run would write for this clip: what both say
 * of themselves passes through the same writer and reader. */
static lk_status is_row_of(const run *w, const lk_manifest_row *row, const lk_clip_result *r,
                           bool *same)
{
    lk_status st = LK_OK;
    char *json = NULL, *provenance = NULL;
    lk_clip_result again;
    memset(&again, 0, sizeof again);
    LK_TRY(provenance_of(w, row, &provenance));
    const lk_clip_result probe = {
        .clip = row->clip, .group = row->group, .pair = row->pair, .provenance = provenance};
    LK_TRY(lk_result_to_json(&probe, &json));
    LK_TRY(lk_result_from_json(json, strlen(json), &again));
    *same = strcmp(again.clip, r->clip) == 0 && is_same_text(again.group, r->group) &&
            is_same_text(again.pair, r->pair) && is_same_text(again.provenance, r->provenance);
done:
    lk_clip_result_clear(&again);
    lk_free(json);
    lk_free(provenance);
    return st;
}

/* Take over the whole rows of a former run: check that they belong to this list and this
 * provenance, hand them out, and cut off a half-written last one. */
static lk_status take_former_rows(run *w, lk_score_run_counts *counts)
{
    lk_status st = LK_OK;
    char *line = NULL;
    size_t room = 0;
    long good = 0;
    lk_clip_result r;
    memset(&r, 0, sizeof r);
    FILE *f = fopen(w->part, "rb");
    LK_REQUIRE(f, LK_E_IO, "cannot read '%s': %s", w->part, strerror(errno));
    for (ssize_t n = 0; (n = getline(&line, &room, f)) > 0 && line[n - 1] == '\n';) {
        bool same = w->n_have < w->o->clips->n;
        LK_REQUIRE(same, LK_E_ARG,
                   "'%s' has more rows than there are clips; it is from another run", w->o->out);
        if (lk_result_from_json(line, (size_t)n, &r) != LK_OK) {
            lk_error_clear(); /* a torn row: it and what follows is done again */
            break;
        }
        LK_TRY(is_row_of(w, &w->o->clips->row[w->n_have], &r, &same));
        LK_REQUIRE(
            same, LK_E_ARG,
            "'%s' is from a run with other clips, metrics, truth, seed or version; remove it "
            "or give another output",
            w->o->out);
        line[n - 1] = '\0';
        r.failed ? counts->n_failed++ : counts->n_ok++;
        if (w->o->on_row)
            LK_TRY(w->o->on_row(w->o->user, w->n_have, &r, line));
        lk_clip_result_clear(&r);
        w->n_have++;
        good = ftell(f);
    }
    LK_REQUIRE(truncate(w->part, good) == 0, LK_E_IO, "cannot write '%s': %s", w->part,
               strerror(errno));
done:
    lk_clip_result_clear(&r);
    free(line);
    if (f)
        fclose(f);
    return st;
}

/* Open the partial file for appending, alone: two runs into one file would mix their rows. */
static lk_status open_rows(run *w)
{
    lk_status st = LK_OK;
    const int fd = open(w->part, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    LK_REQUIRE(fd >= 0, LK_E_IO, "cannot create '%s': %s", w->o->out, strerror(errno));
    w->rows = fdopen(fd, "ab");
    if (!w->rows) {
        close(fd);
        return LK_FAIL(LK_E_MEMORY, "out of memory");
    }
    LK_REQUIRE(flock(fd, LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK, LK_E_IO,
               "another run is writing '%s'", w->o->out);
    LK_REQUIRE(w->o->resume || ftruncate(fd, 0) == 0 || errno == EINVAL, LK_E_IO,
               "cannot write '%s': %s", w->o->out, strerror(errno));
done:
    return st;
}

static lk_status open_outputs(run *w, lk_score_run_counts *counts)
{
    lk_status st = LK_OK;
    LK_TRY(LK_NEW_ARRAY(&w->part, strlen(w->o->out) + 6));
    sprintf(w->part, "%s.part", w->o->out);
    /* A whole file is a run with nothing left to do, or one whose list has grown. */
    const bool whole =
        w->o->resume && access(w->part, F_OK) != 0 && rename(w->o->out, w->part) == 0;
    LK_TRY(open_rows(w));
    if (w->o->resume) {
        st = take_former_rows(w, counts);
        if (st != LK_OK && whole && rename(w->part, w->o->out) != 0)
            lk_log(1, "'%s' is now called '%s'", w->o->out, w->part);
        LK_TRY(st);
    }
    w->n_start = w->n_have;
    if (w->o->h5) {
        LK_TRY(lk_h5_create(&w->h5, w->o->h5, w->o->resume));
        /* Rows whose curves were lost are scored again for the curves alone. */
        while (w->n_start > 0 && !lk_h5_has_clip(w->h5, w->n_start - 1))
            w->n_start--;
    }
    w->next = w->written = w->n_start;
done:
    return st;
}

static lk_status write_row(run *w, int64_t i, const slot *s, lk_score_run_counts *counts)
{
    lk_status st = LK_OK;
    char *json = NULL;
    const lk_clip_result *r = &s->result;
    if (s->st != LK_OK)
        return LK_FAIL(s->st, "%s", s->sentence);
    if (w->h5)
        LK_TRY(lk_h5_add_clip(w->h5, i, r));
    if (i < w->n_have)
        return LK_OK;
    LK_TRY(lk_result_to_json(r, &json));
    const bool good = fprintf(w->rows, "%s\n", json) > 0 && fflush(w->rows) == 0;
    LK_REQUIRE(good, LK_E_IO, "cannot write '%s': %s", w->part, strerror(errno));
    r->failed ? counts->n_failed++ : counts->n_ok++;
    if (w->o->on_row)
        LK_TRY(w->o->on_row(w->o->user, i, r, json));
done:
    lk_free(json);
    return st;
}

/* The calling thread writes rows in order while the workers score. */
static lk_status write_all(run *w, lk_score_run_counts *counts)
{
    lk_status st = LK_OK;
    pthread_mutex_lock(&w->lock);
    while (w->written < w->o->clips->n) {
        slot *s = &w->slots[w->written % w->n_slots];
        const bool stopped = w->o->stop && *w->o->stop && w->next == w->written;
        if (stopped) {
            st = LK_FAIL(LK_E_INTERRUPTED, "stopped after %lld of %lld clips; go on with --resume",
                         (long long)w->written, (long long)w->o->clips->n);
            break;
        }
        if (s->state != READY) {
            pthread_cond_wait(&w->changed, &w->lock);
            continue;
        }
        pthread_mutex_unlock(&w->lock);
        st = write_row(w, w->written, s, counts);
        lk_clip_result_clear(&s->result);
        if (w->o->on_progress)
            w->o->on_progress(w->o->user, (double)(w->written + 1),
                              w->o->clips->row[w->written].clip);
        pthread_mutex_lock(&w->lock);
        s->state = EMPTY;
        w->written++;
        pthread_cond_broadcast(&w->changed);
        if (st != LK_OK)
            break;
    }
    w->quit = true;
    pthread_cond_broadcast(&w->changed);
    pthread_mutex_unlock(&w->lock);
    return st;
}

static lk_status run_workers(run *w, lk_score_run_counts *counts)
{
    lk_status st = LK_OK;
    pthread_t thread[MAX_WORKERS];
    int n = 0;
    int64_t wanted = w->o->threads > 0 ? w->o->threads : sysconf(_SC_NPROCESSORS_ONLN);
    wanted = wanted > MAX_WORKERS ? MAX_WORKERS : wanted;
    wanted = wanted > w->o->clips->n ? w->o->clips->n : wanted;
    w->n_slots = WINDOW * wanted;
    LK_TRY(LK_NEW_ARRAY(&w->slots, w->n_slots));
    for (; n < wanted; n++) {
        if (pthread_create(&thread[n], NULL, work, w) != 0)
            break;
    }
    LK_REQUIRE(n > 0, LK_E_ENV, "cannot start a worker thread");
    st = write_all(w, counts);
done:
    for (int i = 0; i < n; i++)
        pthread_join(thread[i], NULL);
    for (int64_t i = 0; w->slots && i < w->n_slots; i++)
        lk_clip_result_clear(&w->slots[i].result);
    lk_free(w->slots);
    return st;
}

lk_status lk_score_run(const lk_score_run_options *options, lk_score_run_counts *counts)
{
    lk_status st = LK_OK;
    run w;
    memset(&w, 0, sizeof w);
    memset(counts, 0, sizeof *counts);
    w.o = options;
    pthread_mutex_init(&w.lock, NULL);
    pthread_cond_init(&w.changed, NULL);
    LK_REQUIRE(options->clips->n > 0, LK_E_EMPTY, "no clip to score");
    LK_TRY(open_outputs(&w, counts));
    if (w.n_start < options->clips->n)
        LK_TRY(run_workers(&w, counts));
    LK_REQUIRE(fflush(w.rows) == 0 && (fsync(fileno(w.rows)) == 0 || errno == EINVAL), LK_E_IO,
               "cannot write '%s': %s", w.part, strerror(errno));
    if (w.h5)
        LK_TRY(lk_h5_finish(w.h5));
    LK_REQUIRE(rename(w.part, options->out) == 0, LK_E_IO, "cannot write '%s': %s", options->out,
               strerror(errno));
done:
    if (w.rows)
        fclose(w.rows);
    lk_h5_close(&w.h5);
    lk_free(w.part);
    pthread_cond_destroy(&w.changed);
    pthread_mutex_destroy(&w.lock);
    return st;
}
