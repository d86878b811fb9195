/* gate.c - see gate.h. */
#include "av/cli/gate.h"

#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char *skip(const char *at)
{
    while (isspace((unsigned char)*at))
        at++;
    return at;
}

/* A gate on a misspelt name would never close. */
static lk_status check_name(const char *name)
{
    const char *names[512];
    size_t n = 0;
    for (const lk_metric *const *m = lk_metrics(); *m; m++) {
        for (const char *const *s = (*m)->scores; *s && n < 512; s++) {
            if (strcmp(*s, name) == 0)
                return LK_OK;
            names[n++] = *s;
        }
    }
    const char *near = lk_nearest_name(name, names, n);
    return LK_FAIL(LK_E_ARG, "--fail-if: no score is called '%s'%s%s%s", name,
                   near ? "; did you mean '" : "", near ? near : "",
                   near ? "'?" : "; see --list-metrics");
}

static lk_status parse_row(lk_gate_row *row, const char **text)
{
    lk_status st = LK_OK;
    const char *at = skip(*text), *start = at;
    memset(row, 0, sizeof *row);
    if (strncmp(at, "abs(", 4) == 0) {
        row->absolute = true;
        at = skip(at + 4);
    }
    const size_t n = strspn(at, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._");
    LK_REQUIRE(n > 0 && n < sizeof row->name, LK_E_ARG,
               "--fail-if needs NAME>NUMBER or abs(NAME)>NUMBER, got '%.60s'", start);
    memcpy(row->name, at, n);
    LK_TRY(check_name(row->name));
    at = skip(at + n);
    if (row->absolute) {
        LK_REQUIRE(*at == ')', LK_E_ARG, "--fail-if: 'abs(' is not closed in '%.60s'", start);
        at = skip(at + 1);
    }
    LK_REQUIRE(*at == '>' || *at == '<', LK_E_ARG,
               "--fail-if needs > or < after the name in '%.60s'", start);
    row->direction = *at++ == '>' ? 1 : -1;
    if (*at == '=') {
        row->or_equal = true;
        at++;
    }
    char *end = NULL;
    row->limit = strtod(at, &end);
    LK_REQUIRE(end != at && isfinite(row->limit), LK_E_ARG, "--fail-if needs a number in '%.60s'",
               start);
    *text = skip(end);
done:
    return st;
}

lk_status lk_gate_add(lk_gate *gate, const char *text)
{
    lk_status st = LK_OK;
    LK_REQUIRE(*skip(text), LK_E_ARG, "--fail-if needs a condition, got nothing");
    while (*skip(text)) {
        LK_REQUIRE(gate->n < 16, LK_E_ARG, "--fail-if has more than 16 conditions");
        LK_TRY(parse_row(&gate->row[gate->n++], &text));
        LK_REQUIRE(*text == ';' || *text == '\0', LK_E_ARG, "--fail-if: '%.40s' is left over",
                   text);
        text += *text == ';';
    }
done:
    return st;
}

bool lk_gate_hit(const lk_gate *gate, const lk_clip_result *result)
{
    for (int i = 0; i < gate->n; i++) {
        const lk_gate_row *row = &gate->row[i];
        const lk_result_score *s = lk_clip_result_score(result, row->name);
        if (!s || !isfinite(s->value))
            continue;
        const double x = row->absolute ? fabs(s->value) : s->value;
        if (row->direction * (x - row->limit) > 0 || (row->or_equal && x == row->limit))
            return true;
    }
    return false;
}
