/* cmd_fidelity.c - how close copies are to their original. */
#include "av/cli/args.h"
#include "av/cli/cli.h"
#include "av/fidelity_run.h"
#include "av/json.h"

#include <math.h>
#include <stdio.h>

typedef struct settings {
    int rate, group;
    double seconds;
    const char *size;
    bool json;
} settings;

static const lk_option options[] = {
    LK_OPT_INT(settings, rate, 0, 0, 192000, "compare sound at this rate, 0 = the original's"),
    LK_OPT_TEXT(settings, size, NULL, "compare pictures at this size, like 128x128"),
    LK_OPT_DOUBLE(settings, seconds, 60, 0.01, 3600, "compare at most this much"),
    LK_OPT_INT(settings, group, 1, 1, LK_FIDELITY_MOST_GROUP,
               "also PSNR by the place of frames in groups of this many"),
    LK_OPT_BOOL(settings, json, false, "one JSON object a copy"),
    LK_OPT_END};

static lk_status set_real(json_t *o, const char *key, double value)
{
    return lk_json_set(o, key, lk_json_real(value));
}

static lk_status print_json(const char *copy, const lk_fidelity *f, int group)
{
    lk_status st = LK_OK;
    json_t *o = json_object(), *places = NULL;
    LK_REQUIRE(o, LK_E_MEMORY, "out of memory");
    LK_TRY(lk_json_set(o, "copy", lk_json_text(copy)));
    LK_TRY(lk_json_set(o, "samples", json_integer(f->n_samples)));
    if (f->n_samples > 0) {
        LK_TRY(lk_json_set(o, "lag_samples", json_integer(f->lag_samples)));
        LK_TRY(set_real(o, "si_sdr_db", f->si_sdr_db));
        LK_TRY(set_real(o, "mel", f->mel));
        LK_TRY(set_real(o, "mel_low", f->mel_low));
        LK_TRY(set_real(o, "stft", f->stft));
        LK_TRY(set_real(o, "stft_low", f->stft_low));
        LK_TRY(set_real(o, "stoi", f->stoi));
    }
    LK_TRY(lk_json_set(o, "frames", json_integer(f->n_frames)));
    if (f->n_frames > 0) {
        LK_TRY(set_real(o, "psnr_db", f->psnr_db));
        LK_TRY(set_real(o, "psnr_worst_db", f->psnr_worst_db));
        LK_TRY(set_real(o, "ssim", f->ssim));
        LK_TRY(set_real(o, "ms_ssim", f->ms_ssim));
        LK_TRY(set_real(o, "flicker_levels", f->flicker));
        places = json_array();
        LK_TRY(lk_json_set(o, "psnr_by_place_db", places));
        for (int k = 0; k < group; k++)
            LK_REQUIRE(json_array_append_new(places, lk_json_real(f->place_db[k])) == 0,
                       LK_E_MEMORY, "out of memory");
    }
    LK_TRY(lk_json_print_line(o));
    o = NULL;
done:
    json_decref(o);
    return st;
}

static void print_text(const char *copy, const lk_fidelity *f)
{
    printf("%s\n", copy);
    if (f->n_samples > 0)
        printf("  sound    SI-SDR %.2f dB, mel distance %.3f (below 3.5 kHz %.3f), STOI %.3f, "
               "undone lag %lld samples\n",
               f->si_sdr_db, f->mel, f->mel_low, f->stoi, (long long)f->lag_samples);
    if (f->n_frames > 0)
        printf("  picture  PSNR %.2f dB (worst frame %.2f), SSIM %.4f, flicker %.2f levels\n",
               f->psnr_db, f->psnr_worst_db, f->ssim, f->flicker);
}

static lk_status compare(const settings *s, const char *original, const char *copy)
{
    lk_status st = LK_OK;
    lk_fidelity f;
    lk_fidelity_options o = {.rate_hz = s->rate, .seconds = s->seconds, .group = s->group};
    if (s->size)
        LK_TRY(lk_args_size(s->size, "128x128", &o.width, &o.height));
    LK_TRY(lk_fidelity_of(original, copy, &o, &f));
    if (s->json)
        LK_TRY(print_json(copy, &f, s->group));
    else
        print_text(copy, &f);
done:
    return st;
}

int lk_cmd_fidelity(int argc, char **argv)
{
    settings s;
    lk_args args;
    int code = LK_EXIT_OK;
    const lk_cli_spec spec = {"fidelity",
                              "ORIGINAL COPY...",
                              "How close copies are to their original: SI-SDR, mel and STFT "
                              "distance and STOI of the sound,\n"
                              "PSNR, SSIM, MS-SSIM and flicker of the picture.",
                              options,
                              "  lockstep fidelity clip.mkv decoded.mkv --json",
                              NULL};
    if (!lk_args_parse(&spec, &s, argc, argv, &args, &code))
        return code;
    if (args.n_files < 2)
        code = lk_cli_usage("fidelity", "name the original and at least one copy");
    for (int i = 1; i < args.n_files && args.n_files >= 2; i++) {
        const lk_status st = compare(&s, args.file[0], args.file[i]);
        if (st != LK_OK) { /* the others go on */
            const int failed = lk_cli_failed(st);
            code = code == LK_EXIT_OK ? failed : code;
        }
    }
    lk_args_clear(&args);
    return code;
}
