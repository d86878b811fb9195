/* cmd_compare.c - two systems on the same prompts. */
#include "av/cli/args.h"
#include "av/cli/cli.h"
#include "av/compare.h"
#include "av/json.h"

#include <math.h>
#include <stdio.h>

typedef struct settings {
    bool json;
    const char *group_a, *group_b;
    int seed;
} settings;

static const lk_option options[] = {
    LK_OPT_BOOL(settings, json, false, "one JSON object"),
    LK_OPT_TEXT(settings, group_a, NULL, "only clips of this group of A"),
    LK_OPT_TEXT(settings, group_b, NULL, "only clips of this group of B"),
    LK_OPT_INT(settings, seed, 0, 0, 2147483647, "of the bootstrap and of the random exchanges"),
    LK_OPT_END};

static const lk_cli_spec spec = {
    "compare",
    "A.jsonl B.jsonl",
    "Compares two result files of `lockstep score`, pair by pair: mean of B - A for every score\n"
    "with a 95 % interval, and how likely chance alone gives so much.  Clips are paired by the\n"
    "manifest's pair key, else by file name; several clips of a pair count as their mean.",
    options,
    "  lockstep score a/ -o a.jsonl; lockstep score b/ -o b.jsonl; lockstep compare a.jsonl "
    "b.jsonl",
    NULL};

static json_t *keys_of(char *const *key, int64_t n)
{
    json_t *list = json_array();
    for (int64_t i = 0; i < n; i++)
        json_array_append_new(list, lk_json_text(key[i]));
    return list;
}

static void label_of(const lk_comparison_row *row, char *out, size_t bytes)
{
    snprintf(out, bytes, row->absolute ? "abs(%s)" : "%s", row->name);
}

static lk_status set_row(json_t *scores, const lk_comparison_row *row)
{
    lk_status st = LK_OK;
    char label[128];
    json_t *o = json_object(), *ci = json_array();
    label_of(row, label, sizeof label);
    LK_TRY(lk_json_set(scores, label, o));
    LK_TRY(lk_json_set(o, "unit", json_string(row->unit)));
    LK_TRY(lk_json_set(o, "n", json_integer(row->n)));
    LK_TRY(lk_json_set(o, "answered_a", json_integer(row->answered_a)));
    LK_TRY(lk_json_set(o, "answered_b", json_integer(row->answered_b)));
    LK_TRY(lk_json_set(o, "mean_a", lk_json_real(row->mean_a)));
    LK_TRY(lk_json_set(o, "mean_b", lk_json_real(row->mean_b)));
    LK_TRY(lk_json_set(o, "difference", lk_json_real(row->difference)));
    json_array_append_new(ci, lk_json_real(row->lo));
    json_array_append_new(ci, lk_json_real(row->hi));
    json_t *const interval = ci;
    ci = NULL;
    LK_TRY(lk_json_set(o, "ci95", interval));
    LK_TRY(lk_json_set(o, "p", lk_json_real(row->p)));
    LK_TRY(lk_json_set(o, "p_holm", lk_json_real(row->p_holm)));
done:
    json_decref(ci);
    return st;
}

static lk_status print_json(const lk_comparison *c, const char *a, const char *b)
{
    lk_status st = LK_OK;
    json_t *root = json_object(), *scores = json_object();
    LK_TRY(lk_json_set(root, "a", lk_json_text(a)));
    LK_TRY(lk_json_set(root, "b", lk_json_text(b)));
    LK_TRY(lk_json_set(root, "pairs", json_integer(c->n_pairs)));
    LK_TRY(lk_json_set(root, "failed_a", json_integer(c->failed_a)));
    LK_TRY(lk_json_set(root, "failed_b", json_integer(c->failed_b)));
    LK_TRY(lk_json_set(root, "only_a", keys_of(c->only_a, c->n_only_a)));
    LK_TRY(lk_json_set(root, "only_b", keys_of(c->only_b, c->n_only_b)));
    for (int64_t r = 0; r < c->n_rows; r++)
        LK_TRY(set_row(scores, &c->row[r]));
    json_t *const all = scores;
    scores = NULL;
    LK_TRY(lk_json_set(root, "scores", all));
    json_t *const line = root;
    root = NULL;
    LK_TRY(lk_json_print_line(line));
done:
    json_decref(scores);
    json_decref(root);
    return st;
}

static void print_row(const lk_comparison_row *row)
{
    char label[128], interval[64] = "-";
    label_of(row, label, sizeof label);
    printf("%-38s %5lld ", label, (long long)row->n);
    if (row->n == 0) {
        printf("  no pair is answered by both (%lld by A, %lld by B)\n", (long long)row->answered_a,
               (long long)row->answered_b);
        return;
    }
    if (isfinite(row->lo))
        snprintf(interval, sizeof interval, "[%+.4g, %+.4g]", row->lo, row->hi);
    printf("%10.4g %10.4g %+11.4g  %-24s", row->mean_a, row->mean_b, row->difference, interval);
    if (isfinite(row->p))
        printf(" %-8.2g %-8.2g", row->p, row->p_holm);
    printf("\n");
}

static void print_unpaired(const char *who, char *const *key, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        printf("only in %s: %s\n", who, key[i]);
}

static void print_words(const lk_comparison *c, const char *a, const char *b)
{
    printf("A: %s\nB: %s\n%lld pair%s", a, b, (long long)c->n_pairs, c->n_pairs == 1 ? "" : "s");
    if (c->failed_a + c->failed_b > 0)
        printf("; unreadable clips: %lld in A, %lld in B", (long long)c->failed_a,
               (long long)c->failed_b);
    printf("\n\n%-38s %5s %10s %10s %11s  %-24s %-8s %-8s\n", "score", "pairs", "mean A", "mean B",
           "B - A", "95 % interval", "p", "p (Holm)");
    for (int64_t r = 0; r < c->n_rows; r++)
        print_row(&c->row[r]);
    print_unpaired("A", c->only_a, c->n_only_a);
    print_unpaired("B", c->only_b, c->n_only_b);
}

static lk_status compare(const settings *s, const char *a, const char *b)
{
    lk_status st = LK_OK;
    lk_result_list list_a = {0}, list_b = {0};
    lk_comparison c = {0};
    LK_TRY(lk_result_list_read(a, &list_a));
    LK_TRY(lk_result_list_read(b, &list_b));
    LK_TRY(lk_compare(&list_a, s->group_a, &list_b, s->group_b, (uint64_t)s->seed, &c));
    if (s->json)
        LK_TRY(print_json(&c, a, b));
    else
        print_words(&c, a, b);
done:
    lk_comparison_clear(&c);
    lk_result_list_clear(&list_a);
    lk_result_list_clear(&list_b);
    return st;
}

int lk_cmd_compare(int argc, char **argv)
{
    settings s;
    lk_args args;
    int code = LK_EXIT_OK;
    if (!lk_args_parse(&spec, &s, argc, argv, &args, &code))
        return code;
    if (args.n_files != 2)
        code = lk_cli_usage("compare", "two result files are needed, got %d", args.n_files);
    else {
        const lk_status st = compare(&s, args.file[0], args.file[1]);
        if (st != LK_OK)
            code = lk_cli_failed(st);
    }
    lk_args_clear(&args);
    return code;
}
