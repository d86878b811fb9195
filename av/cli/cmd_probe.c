/* cmd_probe.c - what a file holds and when: the exact timeline, decoded, not guessed. */
#include "av/cli/args.h"
#include "av/cli/cli.h"
#include "av/json.h"
#include "kernels/progress.h"
#include "av/media.h"

#include <math.h>
#include <stdio.h>

typedef struct settings {
    bool json;
    int threads, assume_priming;
    double max_seconds;
} settings;

static const lk_option options[] = {
    LK_OPT_BOOL(settings, json, false, "one JSON object a line and file"),
    LK_OPT_INT(settings, threads, 0, 0, 64, "decoder threads, 0 = all processors"),
    LK_OPT_INT(settings, assume_priming, 0, 0, 10000,
               "drop this many samples at a start whose delay is not signalled"),
    LK_OPT_DOUBLE(settings, max_seconds, 0, 0, 1e9, "look at this much only, 0 = all"), LK_OPT_END};

static const lk_cli_spec spec = {
    "probe",
    "FILE...",
    "Decodes the file and prints its exact timeline: frames, samples, first and last times,\n"
    "priming, variable frame rate, colour, and everything suspicious.",
    options,
    "  lockstep worlds impacts --count 1 -o clips && lockstep probe clips/*.mp4",
    NULL};

static lk_status set_video(json_t *root, const lk_video_info *v)
{
    lk_status st = LK_OK;
    json_t *o = json_object();
    if (!v->present) {
        json_decref(o);
        return lk_json_set(root, "video", json_null());
    }
    const double length = lk_flick_to_s(v->end - v->start);
    LK_TRY(lk_json_set(root, "video", o));
    LK_TRY(lk_json_set(o, "codec", json_string(v->codec)));
    LK_TRY(lk_json_set(o, "pixel_format", json_string(v->pixel_format)));
    LK_TRY(lk_json_set(o, "width", json_integer(v->width)));
    LK_TRY(lk_json_set(o, "height", json_integer(v->height)));
    LK_TRY(lk_json_set(o, "sample_aspect", json_real((double)v->sar.num / (double)v->sar.den)));
    LK_TRY(lk_json_set(o, "rotation_deg", json_integer(v->rotation_deg)));
    LK_TRY(lk_json_set(o, "frames", json_integer(v->n_frames)));
    LK_TRY(lk_json_set(o, "start_s", lk_json_seconds(v->start)));
    LK_TRY(lk_json_set(o, "end_s", lk_json_seconds(v->end)));
    LK_TRY(lk_json_set(o, "fps", lk_json_real(length > 0 ? (double)v->n_frames / length : NAN)));
    LK_TRY(lk_json_set(o, "nominal_fps",
                       lk_json_real(v->nominal_rate.num > 0
                                        ? (double)v->nominal_rate.num / (double)v->nominal_rate.den
                                        : NAN)));
    LK_TRY(lk_json_set(o, "vfr", json_boolean(v->vfr)));
    LK_TRY(lk_json_set(o, "shortest_frame_s", lk_json_seconds(v->shortest)));
    LK_TRY(lk_json_set(o, "longest_frame_s", lk_json_seconds(v->longest)));
    LK_TRY(lk_json_set(o, "interlaced", json_boolean(v->interlaced)));
    LK_TRY(lk_json_set(o, "colour", json_string(v->colour)));
    LK_TRY(lk_json_set(o, "suspect_timestamps", json_integer(v->n_suspect)));
    LK_TRY(lk_json_set(o, "damaged", json_integer(v->n_damaged)));
done:
    return st;
}

static lk_status set_audio(json_t *root, const lk_audio_info *a)
{
    lk_status st = LK_OK;
    json_t *o = json_object();
    if (!a->present) {
        json_decref(o);
        return lk_json_set(root, "audio", json_null());
    }
    LK_TRY(lk_json_set(root, "audio", o));
    LK_TRY(lk_json_set(o, "codec", json_string(a->codec)));
    LK_TRY(lk_json_set(o, "rate_hz", json_integer(a->rate_hz)));
    LK_TRY(lk_json_set(o, "channels", json_integer(a->n_channels)));
    LK_TRY(lk_json_set(o, "samples", json_integer(a->n_samples)));
    LK_TRY(lk_json_set(o, "start_s", lk_json_seconds(a->start)));
    LK_TRY(lk_json_set(o, "end_s", lk_json_seconds(a->end)));
    LK_TRY(lk_json_set(o, "priming_samples", json_integer(a->priming_samples)));
    LK_TRY(lk_json_set(o, "padding_samples", json_integer(a->padding_samples)));
    LK_TRY(lk_json_set(o, "priming_unsignalled", json_boolean(a->priming_unsignalled)));
    LK_TRY(lk_json_set(o, "gaps", json_integer(a->n_gaps)));
    LK_TRY(lk_json_set(o, "overlaps", json_integer(a->n_overlaps)));
    LK_TRY(lk_json_set(o, "damaged", json_integer(a->n_damaged)));
done:
    return st;
}

static double start_difference_ms(const lk_media_info *info)
{
    if (!info->video.present || !info->audio.present)
        return NAN;
    return lk_flick_to_ms(info->audio.start - info->video.start);
}

static lk_status print_json(const char *path, const lk_media_info *info, const char *error)
{
    lk_status st = LK_OK;
    json_t *root = json_object(), *warnings = json_array();
    LK_TRY(lk_json_set(root, "file", lk_json_text(path)));
    LK_TRY(lk_json_set(root, "status", json_string(error ? "failed" : "ok")));
    LK_TRY(lk_json_set(root, "error", error ? lk_json_text(error) : json_null()));
    if (info && !error) {
        LK_TRY(lk_json_set(root, "container", json_string(info->container)));
        LK_TRY(set_video(root, &info->video));
        LK_TRY(set_audio(root, &info->audio));
        LK_TRY(lk_json_set(root, "audio_minus_video_start_ms",
                           lk_json_real(start_difference_ms(info))));
        LK_TRY(lk_json_set(root, "file_zero_shift_s", lk_json_seconds(info->file_zero_shift)));
        for (int i = 0; i < info->n_warnings; i++)
            json_array_append_new(warnings, lk_json_text(info->warnings[i]));
    }
    LK_TRY(lk_json_set(root, "warnings", warnings));
    warnings = NULL;
    json_t *const line = root;
    root = NULL;
    LK_TRY(lk_json_print_line(line));
done:
    json_decref(warnings);
    json_decref(root);
    return st;
}

static void print_words(const char *path, const lk_media_info *info)
{
    const lk_video_info *v = &info->video;
    const lk_audio_info *a = &info->audio;
    printf("%s: %s\n", path, info->container);
    if (v->present) {
        const double length = lk_flick_to_s(v->end - v->start);
        printf("  picture  %s %dx%d, %lld frames, %.6f s to %.6f s, %.4f fps%s%s, colour %s\n",
               v->codec, v->width, v->height, (long long)v->n_frames, lk_flick_to_s(v->start),
               lk_flick_to_s(v->end), length > 0 ? (double)v->n_frames / length : 0.0,
               v->vfr ? ", variable" : "", v->interlaced ? ", interlaced" : "", v->colour);
        if (v->rotation_deg)
            printf("           rotated by %d degrees for display\n", v->rotation_deg);
    }
    if (a->present) {
        printf("  sound    %s %d Hz, %d channel%s, %lld samples, %.6f s to %.6f s", a->codec,
               a->rate_hz, a->n_channels, a->n_channels == 1 ? "" : "s", (long long)a->n_samples,
               lk_flick_to_s(a->start), lk_flick_to_s(a->end));
        printf(", priming %lld, padding %lld\n", (long long)a->priming_samples,
               (long long)a->padding_samples);
    }
    const double d = start_difference_ms(info);
    if (isfinite(d))
        printf("  start    the sound starts %.3f ms %s the picture\n", fabs(d),
               d < 0 ? "before" : "after");
    for (int i = 0; i < info->n_warnings; i++)
        printf("  warning  %s\n", info->warnings[i]);
}

static lk_status read_all(lk_media *media, lk_progress *bar)
{
    lk_status st = LK_OK;
    lk_media_item item;
    do {
        LK_TRY(lk_media_next(media, &item));
        lk_progress_set(bar, lk_media_progress(media));
    } while (item.kind != LK_MEDIA_END);
done:
    return st;
}

static lk_status probe_one(const char *path, const settings *s, bool *ok)
{
    lk_status st = LK_OK;
    lk_media *media = NULL;
    lk_progress bar;
    char sentence[512];
    const lk_media_options wish = {.threads = s->threads,
                                   .assume_priming_samples = s->assume_priming,
                                   .max_seconds = s->max_seconds};
    lk_progress_start(&bar, path, 1);
    lk_status why = lk_media_open(&media, path, &wish);
    if (why == LK_OK)
        why = read_all(media, &bar);
    lk_progress_end(&bar);
    *ok = why == LK_OK;
    if (why == LK_OK) {
        if (s->json)
            LK_TRY(print_json(path, lk_media_get_info(media), NULL));
        else
            print_words(path, lk_media_get_info(media));
    } else {
        snprintf(sentence, sizeof sentence, "%s", lk_error_text());
        fprintf(stderr, "lockstep: %s\n", sentence);
        lk_error_clear();
        if (s->json)
            LK_TRY(print_json(path, NULL, sentence));
    }
done:
    lk_media_close(&media);
    return st;
}

int lk_cmd_probe(int argc, char **argv)
{
    settings s;
    lk_args args;
    int code = LK_EXIT_OK;
    if (!lk_args_parse(&spec, &s, argc, argv, &args, &code))
        return code;
    if (args.n_files == 0)
        code = lk_cli_usage("probe", "no file given");
    for (int i = 0; i < args.n_files; i++) {
        bool ok = false;
        const lk_status st = probe_one(args.file[i], &s, &ok);
        if (st != LK_OK) {
            code = lk_cli_failed(st);
            break;
        }
        if (!ok)
            code = LK_EXIT_SOME_FAILED;
    }
    lk_args_clear(&args);
    return code;
}
