/* safetensors_header.c - the JSON header of a safetensors file.
 *
 * The header is an object of known form, so a strict reader of just that form does: strings, whole
 * numbers, and the two kinds of objects.  Everything is checked before it is used, because a file
 * may come from anywhere.
 */
#include "kernels/safetensors_impl.h"

#include "kernels/mem.h"
#include "kernels/text.h"

#include <stdlib.h>
#include <string.h>

static const char *const type_names[LK_N_DTYPES] = {
#define LK_DTYPE_ROW(upper, lower, bytes) #upper,
    LK_DTYPES(LK_DTYPE_ROW)
#undef LK_DTYPE_ROW
};

const char *lk_safetensors_type_name(lk_dtype dtype)
{
    return type_names[dtype];
}

typedef struct scan {
    lk_safetensors *f;
    const char *p, *end;
} scan;

static lk_status broken(const scan *s, const char *what)
{
    return LK_FAIL(LK_E_FORMAT, "'%s' is not a safetensors file: %s at byte %lld of its header",
                   s->f->path, what, (long long)(s->p - s->f->header));
}

static void skip_space(scan *s)
{
    while (s->p < s->end && (*s->p == ' ' || *s->p == '\t' || *s->p == '\n' || *s->p == '\r'))
        s->p++;
}

/* Is c next?  Then go past it. */
static int next_is(scan *s, char c)
{
    skip_space(s);
    if (s->p == s->end || *s->p != c)
        return 0;
    s->p++;
    return 1;
}

static lk_status expect(scan *s, char c)
{
    char what[] = "'?' is missing";
    what[1] = c;
    return next_is(s, c) ? LK_OK : broken(s, what);
}

static int hex4(const char *p, unsigned *value)
{
    *value = 0;
    for (int i = 0; i < 4; i++) {
        const char c = p[i];
        const int digit = c >= '0' && c <= '9'   ? c - '0'
                          : c >= 'a' && c <= 'f' ? c - 'a' + 10
                          : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                                 : -1;
        if (digit < 0)
            return 0;
        *value = *value * 16 + (unsigned)digit;
    }
    return 1;
}

/* \uXXXX, or two of them for a character beyond the first 65536; p stands behind the u. */
static lk_status unicode_escape(scan *s, char **to)
{
    lk_status st = LK_OK;
    unsigned c, low;
    LK_REQUIRE(s->end - s->p >= 4 && hex4(s->p, &c) && c != 0, LK_E_FORMAT,
               "'%s' is not a safetensors file: a string of its header holds a broken \\u escape",
               s->f->path);
    s->p += 4;
    if (c >= 0xd800 && c < 0xe000) {
        LK_REQUIRE(c < 0xdc00 && s->end - s->p >= 6 && s->p[0] == '\\' && s->p[1] == 'u' &&
                       hex4(s->p + 2, &low) && low >= 0xdc00 && low < 0xe000,
                   LK_E_FORMAT,
                   "'%s' is not a safetensors file: a string of its header holds half a surrogate "
                   "pair",
                   s->f->path);
        s->p += 6;
        c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
    }
    if (c < 0x80) {
        *(*to)++ = (char)c;
    } else {
        const int more = c < 0x800 ? 1 : c < 0x10000 ? 2 : 3;
        static const unsigned char lead[] = {0, 0xc0, 0xe0, 0xf0};
        *(*to)++ = (char)(lead[more] | c >> (6 * more));
        for (int i = more - 1; i >= 0; i--)
            *(*to)++ = (char)(0x80 | (c >> (6 * i) & 0x3f));
    }
done:
    return st;
}

/* A string, decoded into the pool: it is never longer there than in the header. */
static lk_status read_string(scan *s, const char **out)
{
    static const char plain[] = "\"\\/bfnrt", meant[] = "\"\\/\b\f\n\r\t";
    lk_status st = LK_OK;
    char *to = s->f->pool + s->f->n_pool;
    *out = to;
    LK_TRY(expect(s, '"'));
    for (;;) {
        if (s->p == s->end)
            return broken(s, "a string does not end");
        if (*s->p == '"')
            break;
        if (*s->p == '\\') {
            const char *found = ++s->p < s->end && *s->p ? strchr(plain, *s->p) : NULL;
            if (s->p < s->end && *s->p == 'u') {
                s->p++;
                LK_TRY(unicode_escape(s, &to));
                continue;
            }
            if (!found)
                return broken(s, "a string holds an unknown escape");
            *to++ = meant[found - plain];
            s->p++;
            continue;
        }
        const int bytes = lk_utf8_bytes(s->p, (size_t)(s->end - s->p));
        if (bytes == 0 || (unsigned char)*s->p < 0x20)
            return broken(s, "a string holds bytes that are not text");
        memcpy(to, s->p, (size_t)bytes);
        to += bytes;
        s->p += bytes;
    }
    s->p++;
    *to++ = '\0';
    s->f->n_pool = (size_t)(to - s->f->pool);
done:
    return st;
}

static lk_status read_whole(scan *s, int64_t *out)
{
    int n_digits = 0;
    *out = 0;
    skip_space(s);
    for (; s->p < s->end && *s->p >= '0' && *s->p <= '9'; s->p++, n_digits++)
        if (__builtin_mul_overflow(*out, 10, out) || __builtin_add_overflow(*out, *s->p - '0', out))
            return broken(s, "a number is too large");
    return n_digits > 0 ? LK_OK : broken(s, "a whole number is missing");
}

static lk_status read_type(scan *s, lk_safetensor *t)
{
    lk_status st = LK_OK;
    const char *name = NULL;
    LK_TRY(read_string(s, &name));
    for (int i = 0; i < LK_N_DTYPES; i++)
        if (strcmp(name, type_names[i]) == 0) {
            t->dtype = (lk_dtype)i;
            return LK_OK;
        }
    st = LK_FAIL(LK_E_UNSUPPORTED,
                 "'%s': tensor '%s' holds elements of type '%s', which is not "
                 "supported",
                 s->f->path, t->name, name);
done:
    return st;
}

static lk_status read_shape(scan *s, lk_safetensor *t)
{
    lk_status st = LK_OK;
    LK_TRY(expect(s, '['));
    if (next_is(s, ']'))
        return LK_OK;
    do {
        LK_REQUIRE(t->shape.n_dims < LK_MAX_DIMS, LK_E_UNSUPPORTED,
                   "'%s': tensor '%s' has more than %d dimensions", s->f->path, t->name,
                   LK_MAX_DIMS);
        LK_TRY(read_whole(s, &t->shape.dim[t->shape.n_dims++]));
    } while (next_is(s, ','));
    LK_TRY(expect(s, ']'));
done:
    return st;
}

static lk_status read_entry(scan *s, const char *name)
{
    static const char *const fields[] = {"dtype", "shape", "data_offsets"};
    lk_status st = LK_OK;
    lk_safetensors *f = s->f;
    lk_safetensors_entry e = {.t = {.name = name}};
    int seen[3] = {0};
    LK_REQUIRE(name[0], LK_E_FORMAT, "'%s': a tensor has no name", f->path);
    LK_TRY(expect(s, '{'));
    do {
        const char *field = NULL;
        int k = 0;
        LK_TRY(read_string(s, &field));
        while (k < 3 && strcmp(field, fields[k]) != 0)
            k++;
        LK_REQUIRE(k < 3 && !seen[k], LK_E_FORMAT, "'%s': tensor '%s' has %s field '%s'", f->path,
                   name, k < 3 ? "twice the" : "the unknown", field);
        seen[k] = 1;
        LK_TRY(expect(s, ':'));
        if (k == 0) {
            LK_TRY(read_type(s, &e.t));
        } else if (k == 1) {
            LK_TRY(read_shape(s, &e.t));
        } else {
            LK_TRY(expect(s, '['));
            LK_TRY(read_whole(s, &e.begin));
            LK_TRY(expect(s, ','));
            LK_TRY(read_whole(s, &e.end));
            LK_TRY(expect(s, ']'));
        }
    } while (next_is(s, ','));
    LK_TRY(expect(s, '}'));
    for (int k = 0; k < 3; k++)
        LK_REQUIRE(seen[k], LK_E_FORMAT, "'%s': tensor '%s' lacks its %s", f->path, name,
                   fields[k]);
    LK_TRY(LK_GROW(&f->entries, &f->cap, f->n + 1));
    f->entries[f->n++] = e;
done:
    return st;
}

static lk_status read_texts(scan *s)
{
    lk_status st = LK_OK;
    lk_safetensors *f = s->f;
    LK_REQUIRE(!f->has_texts, LK_E_FORMAT, "'%s': the header has two " LK_SAFETENSORS_TEXTS,
               f->path);
    f->has_texts = 1;
    LK_TRY(expect(s, '{'));
    if (next_is(s, '}'))
        return LK_OK;
    do {
        lk_safetensors_text t = {0};
        LK_TRY(read_string(s, &t.key));
        LK_TRY(expect(s, ':'));
        skip_space(s);
        if (!f->checksums && strcmp(t.key, LK_SAFETENSORS_CHECKSUMS) == 0)
            f->checksums = s->p + 1;
        LK_TRY(read_string(s, &t.value));
        LK_TRY(LK_GROW(&f->texts, &f->cap_texts, f->n_texts + 1));
        f->texts[f->n_texts++] = t;
    } while (next_is(s, ','));
    LK_TRY(expect(s, '}'));
done:
    return st;
}

static int by_begin(const void *a, const void *b)
{
    const lk_safetensors_entry *x = a, *y = b;
    if (x->begin != y->begin)
        return x->begin < y->begin ? -1 : 1;
    if (x->end != y->end)
        return x->end < y->end ? -1 : 1;
    return strcmp(x->t.name, y->t.name);
}

static int by_name(const void *a, const void *b, void *entries)
{
    const lk_safetensors_entry *e = entries;
    return strcmp(e[*(const int *)a].t.name, e[*(const int *)b].t.name);
}

/* Sizes agree with shapes; byte ranges follow each other from the first byte to the last. */
static lk_status check_layout(lk_safetensors *f)
{
    lk_status st = LK_OK;
    int64_t at = 0;
    if (f->n)
        qsort(f->entries, f->n, sizeof *f->entries, by_begin);
    for (size_t i = 0; i < f->n; i++) {
        const lk_safetensors_entry *e = &f->entries[i];
        LK_REQUIRE(lk_shape_check(&e->t.shape, e->t.dtype) == LK_OK, LK_E_FORMAT,
                   "'%s': the sizes of tensor '%s' multiply to more bytes than can be addressed",
                   f->path, e->t.name);
        const int64_t bytes = lk_shape_count(&e->t.shape) * (int64_t)lk_dtype_bytes(e->t.dtype);
        LK_REQUIRE(e->end - e->begin == bytes, LK_E_FORMAT,
                   "'%s': tensor '%s' needs %lld bytes and has bytes %lld to %lld", f->path,
                   e->t.name, (long long)bytes, (long long)e->begin, (long long)e->end);
        LK_REQUIRE(e->begin == at, LK_E_FORMAT,
                   "'%s': tensor '%s' starts at byte %lld, where %lld was due", f->path, e->t.name,
                   (long long)e->begin, (long long)at);
        LK_REQUIRE(e->end <= f->data_bytes, LK_E_FORMAT,
                   "'%s' is cut off: tensor '%s' ends at byte %lld of %lld", f->path, e->t.name,
                   (long long)e->end, (long long)f->data_bytes);
        at = e->end;
    }
    LK_REQUIRE(at == f->data_bytes, LK_E_FORMAT, "'%s' has %lld bytes that belong to no tensor",
               f->path, (long long)(f->data_bytes - at));
done:
    return st;
}

static lk_status check_names(lk_safetensors *f)
{
    lk_status st = LK_OK;
    LK_TRY(LK_NEW_ARRAY(&f->by_name, f->n));
    for (size_t i = 0; i < f->n; i++)
        f->by_name[i] = (int)i;
    qsort_r(f->by_name, f->n, sizeof *f->by_name, by_name, f->entries);
    for (size_t i = 1; i < f->n; i++)
        LK_REQUIRE(by_name(&f->by_name[i - 1], &f->by_name[i], f->entries) != 0, LK_E_FORMAT,
                   "'%s' has two tensors named '%s'", f->path, f->entries[f->by_name[i]].t.name);
done:
    return st;
}

lk_status lk_safetensors_parse(lk_safetensors *f)
{
    lk_status st = LK_OK;
    scan s = {f, f->header, f->header + f->n_header};
    LK_TRY(LK_NEW_ARRAY(&f->pool, f->n_header + 1));
    LK_TRY(expect(&s, '{'));
    if (!next_is(&s, '}')) {
        do {
            const char *key = NULL;
            LK_TRY(read_string(&s, &key));
            LK_TRY(expect(&s, ':'));
            if (strcmp(key, LK_SAFETENSORS_TEXTS) == 0)
                LK_TRY(read_texts(&s));
            else
                LK_TRY(read_entry(&s, key));
        } while (next_is(&s, ','));
        LK_TRY(expect(&s, '}'));
    }
    skip_space(&s);
    if (s.p != s.end)
        LK_TRY(broken(&s, "something follows the end"));
    LK_TRY(check_layout(f));
    LK_TRY(check_names(f));
done:
    return st;
}
