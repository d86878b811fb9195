/* crops.c - see crops.h.
 *
 * Crop j of batch i draws from random stream (j, i): where among all frames or samples it begins,
 * then gain and sign, or place, stride and mirror.
 */
#include "av/crops.h"

#include "av/loader.h"
#include "kernels/mem.h"
#include "kernels/rng.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define GAIN_DB 6.0

struct lk_crops {
    lk_dataset *data;
    lk_loader *loader;
    lk_sound_crops_config sound;
    lk_picture_crops_config picture;
    int64_t *before; /* [n_clips + 1]: starting points in the clips before this one */
    void *batch;
    char *labels;       /* names, separated by spaces */
    const char **label; /* [n_labels], sorted */
    char *label_text;
    int n_labels;
    double first_asked_s;
};

static double now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

void lk_crops_free(lk_crops **crops)
{
    if (!crops || !*crops)
        return;
    lk_crops *c = *crops;
    lk_loader_free(&c->loader); /* its threads read the data */
    lk_dataset_close(&c->data);
    lk_free(c->before);
    lk_free(c->batch);
    lk_free(c->labels);
    lk_free(c->label);
    lk_free(c->label_text);
    lk_free(c);
    *crops = NULL;
}

const char *lk_crops_labels(const lk_crops *c)
{
    return c->labels ? c->labels : "";
}

double lk_crops_waiting(const lk_crops *c)
{
    const double all = now_s() - c->first_asked_s;
    return c->first_asked_s > 0 && all > 0 ? lk_loader_waited_s(c->loader) / all : 0;
}

/* Points are frames or samples; a clip counts with as many as it has, at least one. */
static lk_status count_points(lk_crops *c, int pictures)
{
    lk_status st = LK_OK;
    const int64_t n = lk_dataset_n_clips(c->data);
    LK_TRY(LK_NEW_ARRAY(&c->before, n + 1));
    for (int64_t i = 0; i < n; i++) {
        const lk_dataset_clip clip = lk_dataset_get_clip(c->data, i);
        c->before[i + 1] = c->before[i] + (pictures ? clip.n_frames : clip.n_samples);
    }
    LK_REQUIRE(c->before[n] > 0, LK_E_EMPTY, "the datasets hold no %s",
               pictures ? "pictures" : "sound");
done:
    return st;
}

/* The clip that point p lies in. */
static int64_t clip_of(const lk_crops *c, int64_t p)
{
    int64_t lo = 0, hi = lk_dataset_n_clips(c->data);
    while (hi - lo > 1) {
        const int64_t mid = lo + (hi - lo) / 2;
        if (c->before[mid] <= p)
            lo = mid;
        else
            hi = mid;
    }
    return lo;
}

/* Number of the draw `what` in [0, n) of a crop. */
static int64_t draw(uint64_t seed, int64_t index, int64_t crop, int what, int64_t n)
{
    const lk_rng_block b =
        lk_rng_philox(seed, ((uint64_t)crop << 8) + (uint64_t)what, (uint64_t)index);
    const uint64_t x = ((uint64_t)b.v[0] << 32) | b.v[1];
    return (int64_t)(x % (uint64_t)n);
}

/* A random start of a piece of n points: within its clip where that is long enough. */
static int64_t draw_piece(const lk_crops *c, uint64_t seed, int64_t index, int64_t crop, int64_t n,
                          int64_t *start)
{
    const int64_t clip =
        clip_of(c, draw(seed, index, crop, 0, c->before[lk_dataset_n_clips(c->data)]));
    const int64_t room = c->before[clip + 1] - c->before[clip] - n;
    *start = room > 0 ? draw(seed, index, crop, 1, room + 1) : 0;
    return clip;
}

/* ---- sound ----------------------------------------------------------------------------------- */

static size_t sound_bytes(const lk_crops *c)
{
    return (size_t)(c->sound.n_crops * c->sound.n_samples * c->sound.channels) * sizeof(float);
}

static int compare_texts(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static int class_of(const lk_crops *c, const char *label)
{
    const char **found =
        bsearch(&label, c->label, (size_t)c->n_labels, sizeof *c->label, compare_texts);
    return found ? (int)(found - c->label) : -1;
}

/* All different labels of the kind, sorted. */
static lk_status find_labels(lk_crops *c)
{
    lk_status st = LK_OK;
    const int most = c->sound.most_labels;
    size_t used = 0;
    LK_TRY(LK_NEW_ARRAY(&c->label, most + 1));
    LK_TRY(LK_NEW_ARRAY(&c->label_text, (size_t)most * 32 + 1));
    LK_TRY(LK_NEW_ARRAY(&c->labels, (size_t)most * 33 + 1));
    for (int64_t i = 0; c->sound.event_kind && i < lk_dataset_n_clips(c->data); i++) {
        const lk_dataset_event *e = lk_dataset_events(c->data, i);
        for (int64_t k = 0; k < lk_dataset_get_clip(c->data, i).n_events; k++) {
            if (strcmp(e[k].kind, c->sound.event_kind) != 0 || class_of(c, e[k].label) >= 0)
                continue;
            LK_REQUIRE(c->n_labels < most, LK_E_ARG,
                       "the datasets have more than %d different labels of '%s'", most,
                       c->sound.event_kind);
            char *text = c->label_text + (size_t)c->n_labels * 32;
            snprintf(text, 32, "%s", e[k].label);
            c->label[c->n_labels++] = text;
            qsort(c->label, (size_t)c->n_labels, sizeof *c->label, compare_texts);
        }
    }
    for (int i = 0; i < c->n_labels; i++)
        used += (size_t)sprintf(c->labels + used, i ? " %s" : "%s", c->label[i]);
done:
    return st;
}

/* Classes of the latents of a crop: the event at the middle of each. */
static void label_latents(const lk_crops *c, int64_t clip, int64_t start, int32_t *labels)
{
    const lk_dataset_clip facts = lk_dataset_get_clip(c->data, clip);
    const lk_dataset_event *e = lk_dataset_events(c->data, clip);
    const int64_t n = c->sound.n_latents;
    for (int64_t l = 0; l < n; l++) {
        const int64_t middle = start + (2 * l + 1) * c->sound.n_samples / (2 * n);
        const lk_flick t = facts.audio_start + lk_flick_from_samples(middle, c->sound.rate_hz);
        labels[l] = -1;
        for (int64_t k = 0; k < facts.n_events; k++) {
            if (e[k].span.start <= t && t < e[k].span.end &&
                strcmp(e[k].kind, c->sound.event_kind) == 0)
                labels[l] = class_of(c, e[k].label);
        }
    }
}

static lk_status make_sound(void *user, uint64_t seed, int64_t index, void *batch)
{
    lk_status st = LK_OK;
    const lk_crops *c = user;
    const int64_t n = c->sound.n_samples, channels = c->sound.channels;
    float *sound = batch;
    int32_t *labels = (int32_t *)(void *)((char *)batch + sound_bytes(c));
    for (int64_t j = 0; j < c->sound.n_crops; j++, sound += n * channels) {
        int64_t start;
        const int64_t clip = draw_piece(c, seed, index, j, n, &start);
        const int64_t there = lk_dataset_get_clip(c->data, clip).n_samples;
        const int64_t got = there < n ? there : n;
        LK_TRY(lk_dataset_samples(c->data, clip, start, got, sound));
        memset(sound + got * channels, 0, (size_t)((n - got) * channels) * sizeof *sound);
        const double db =
            lk_rng_range(seed, ((uint64_t)j << 8) + 2, (uint64_t)index, -GAIN_DB, GAIN_DB);
        const float gain = (float)pow(10, db / 20) * (draw(seed, index, j, 3, 2) ? 1.0f : -1.0f);
        for (int64_t i = 0; i < got * channels; i++) {
            const float y = gain * sound[i];
            sound[i] = y > 1 ? 1 : y < -1 ? -1 : y;
        }
        if (c->sound.event_kind)
            label_latents(c, clip, start, labels + j * c->sound.n_latents);
    }
done:
    return st;
}

static lk_status start_loader(lk_crops *c, size_t bytes, int64_t step,
                              lk_status (*make)(void *, uint64_t, int64_t, void *))
{
    lk_status st = LK_OK;
    LK_TRY(lk_alloc_(1, bytes, &c->batch));
    LK_TRY(lk_loader_new(
        &c->loader, &(lk_loader_config){.bytes = bytes, .step = step, .make = make, .user = c}));
done:
    return st;
}

lk_status lk_sound_crops_new(lk_crops **out, const lk_sound_crops_config *config)
{
    lk_status st = LK_OK;
    lk_crops *c = NULL;
    LK_REQUIRE(config->n_crops > 0 && config->n_samples > 0 && config->n_latents >= 0, LK_E_ARG,
               "a batch needs crops and samples");
    LK_TRY(LK_NEW(&c));
    c->sound = *config;
    LK_TRY(lk_dataset_open(&c->data, config->paths, config->n_paths));
    const lk_dataset_format f = lk_dataset_get_format(c->data);
    LK_REQUIRE(f.rate_hz == config->rate_hz && f.n_channels == config->channels, LK_E_ARG,
               "the datasets have %d channels at %d Hz, wanted are %d at %d: pack them so",
               f.n_channels, f.rate_hz, config->channels, config->rate_hz);
    LK_TRY(count_points(c, 0));
    LK_TRY(find_labels(c));
    LK_TRY(start_loader(
        c, sound_bytes(c) + (size_t)(config->n_crops * config->n_latents) * sizeof(int32_t) + 4,
        config->step, make_sound));
    *out = c;
    c = NULL;
done:
    lk_crops_free(&c);
    return st;
}

static lk_status next_batch(lk_crops *c, uint64_t seed, int64_t index)
{
    if (c->first_asked_s == 0)
        c->first_asked_s = now_s();
    return lk_loader_get(c->loader, seed, index, c->batch);
}

lk_status lk_sound_crops_fill(void *crops, uint64_t seed, int64_t index, int64_t n_crops,
                              int64_t n_samples, float *sound, int32_t *labels)
{
    lk_status st = LK_OK;
    lk_crops *c = crops;
    LK_REQUIRE(n_crops == c->sound.n_crops && n_samples == c->sound.n_samples, LK_E_ARG,
               "batches are made of %lld crops of %lld samples", (long long)c->sound.n_crops,
               (long long)c->sound.n_samples);
    LK_TRY(next_batch(c, seed, index));
    memcpy(sound, c->batch, sound_bytes(c));
    if (labels && c->sound.event_kind)
        memcpy(labels, (char *)c->batch + sound_bytes(c),
               (size_t)(n_crops * c->sound.n_latents) * sizeof *labels);
done:
    return st;
}

/* ---- pictures -------------------------------------------------------------------------------- */

/* Frame `i` of a clip of n shown forwards and backwards without end. */
static int64_t to_and_fro(int64_t i, int64_t n)
{
    const int64_t period = n > 1 ? 2 * (n - 1) : 1;
    const int64_t at = i % period;
    return at < n ? at : period - at;
}

typedef struct window {
    int x, y;
    bool mirror;
} window;

static void copy_window(const lk_crops *c, window w, const uint8_t *from, int full_width, float *to)
{
    const int width = c->picture.width;
    for (int y = 0; y < c->picture.height; y++) {
        for (int x = 0; x < width; x++, to += 3) {
            const int at = w.x + (w.mirror ? width - 1 - x : x);
            const uint8_t *p = from + ((size_t)(w.y + y) * (size_t)full_width + (size_t)at) * 3;
            for (int k = 0; k < 3; k++)
                to[k] = (float)p[k] * (2.0f / 255) - 1;
        }
    }
}

static lk_status make_crop(const lk_crops *c, uint64_t seed, int64_t index, int64_t j, float *rgb)
{
    lk_status st = LK_OK;
    const lk_dataset_format f = lk_dataset_get_format(c->data);
    const size_t frame = (size_t)(f.width * f.height) * 3;
    const int64_t n = c->picture.n_frames;
    int64_t stride = 1 + draw(seed, index, j, 4, c->picture.most_stride), start;
    const int64_t clip = draw_piece(c, seed, index, j, (n - 1) * stride + 1, &start);
    const int64_t there = lk_dataset_get_clip(c->data, clip).n_frames;
    const window w = {(int)draw(seed, index, j, 5, f.width - c->picture.width + 1),
                      (int)draw(seed, index, j, 6, f.height - c->picture.height + 1),
                      draw(seed, index, j, 7, 2) != 0};
    const int64_t reach = (n - 1) * stride + 1, held = there < reach ? there : reach;
    uint8_t *raw = NULL;
    LK_TRY(LK_NEW_ARRAY(&raw, (size_t)held * frame));
    LK_TRY(lk_dataset_frames(c->data, clip, start, held, raw, NULL));
    for (int64_t i = 0; i < n; i++)
        copy_window(c, w, raw + (size_t)to_and_fro(i * stride, held) * frame, f.width,
                    rgb + i * c->picture.height * c->picture.width * 3);
done:
    lk_free(raw);
    return st;
}

static int64_t crop_numbers(const lk_crops *c)
{
    return c->picture.n_frames * c->picture.height * c->picture.width * 3;
}

static lk_status make_pictures(void *user, uint64_t seed, int64_t index, void *batch)
{
    lk_status st = LK_OK;
    const lk_crops *c = user;
    for (int64_t j = 0; j < c->picture.n_crops; j++)
        LK_TRY(make_crop(c, seed, index, j, (float *)batch + j * crop_numbers(c)));
done:
    return st;
}

lk_status lk_picture_crops_new(lk_crops **out, const lk_picture_crops_config *config)
{
    lk_status st = LK_OK;
    lk_crops *c = NULL;
    LK_REQUIRE(config->n_crops > 0 && config->n_frames > 0 && config->most_stride > 0, LK_E_ARG,
               "a batch needs crops and frames");
    LK_TRY(LK_NEW(&c));
    c->picture = *config;
    LK_TRY(lk_dataset_open(&c->data, config->paths, config->n_paths));
    const lk_dataset_format f = lk_dataset_get_format(c->data);
    LK_REQUIRE(f.width >= config->width && f.height >= config->height && config->width > 0 &&
                   config->height > 0,
               LK_E_ARG, "the datasets' pictures are %dx%d, too small for crops of %dx%d", f.width,
               f.height, config->width, config->height);
    LK_TRY(count_points(c, 1));
    LK_TRY(start_loader(c, (size_t)(config->n_crops * crop_numbers(c)) * sizeof(float),
                        config->step, make_pictures));
    *out = c;
    c = NULL;
done:
    lk_crops_free(&c);
    return st;
}

lk_status lk_picture_crops_fill(void *crops, uint64_t seed, int64_t index, float *rgb)
{
    lk_status st = LK_OK;
    lk_crops *c = crops;
    LK_TRY(next_batch(c, seed, index));
    memcpy(rgb, c->batch, (size_t)(c->picture.n_crops * crop_numbers(c)) * sizeof *rgb);
done:
    return st;
}
