/* torch.c - PyTorch checkpoints: from the pickle's tensors to named entries.
 *
 * Zip form: FOLDER/data.pkl is the pickle, FOLDER/data/KEY the numbers of storage KEY and
 * FOLDER/byteorder, where it exists, "little" or "big".
 *
 * The stream before it: pickles of a magic number, a version, facts about the machine, the object,
 * and the list of keys; then for each key an int64 count and the numbers. */
#include "av/import/bytes.h"
#include "av/import/pickle.h"
#include "av/import/weights_impl.h"
#include "av/import/zip.h"
#include "kernels/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_DEPTH 64
#define MAX_NAME  1024
/* A dictionary may stand in several places; each place costs. */
#define MAX_VISITS_PER_VALUE 8

static size_t bytes_of(int raw)
{
    return raw == LK_RAW_UNTYPED ? 1 : lk_raw_types[raw].bytes;
}

/* Whether a value leads to a tensor, found once for each. */
enum { UNKNOWN, LOOKING, NO, YES };

typedef struct walk {
    lk_weights *w;
    const lk_pickle *p;
    bool swapped;
    uint8_t *leads;
    size_t visits;
    char name[MAX_NAME + 1];
} walk;

static bool is_container(const lk_pickle_value *v)
{
    return v->kind == LK_PICKLE_DICT || v->kind == LK_PICKLE_LIST || v->kind == LK_PICKLE_TUPLE;
}

static lk_status find_tensors(walk *k, lk_ref r, int depth)
{
    lk_status st = LK_OK;
    const lk_pickle_value *v = &k->p->at[r];
    LK_REQUIRE(depth < MAX_DEPTH, LK_E_FORMAT, "entries are nested more than %d deep", MAX_DEPTH);
    if (k->leads[r] != UNKNOWN)
        return LK_OK;
    k->leads[r] = LOOKING;
    uint8_t leads = v->kind == LK_PICKLE_TENSOR ? YES : NO;
    for (size_t i = 0; is_container(v) && i < v->list.n; i++) {
        LK_TRY(find_tensors(k, v->list.item[i], depth + 1));
        if (k->leads[v->list.item[i]] == YES)
            leads = YES;
    }
    k->leads[r] = leads;
done:
    return st;
}

static lk_status add_tensor(walk *k, const lk_pickle_value *t)
{
    lk_status st = LK_OK;
    const lk_pickle_value *s = &k->p->at[t->tensor.storage];
    const lk_pickle_value *size = &k->p->at[t->tensor.size], *stride = &k->p->at[t->tensor.stride];
    const size_t n = size->list.n;
    lk_placed placed = {.raw = t->tensor.raw,
                        .swapped = k->swapped,
                        .bytes = s->storage.data,
                        .count =
                            s->storage.count * bytes_of(s->storage.raw) / bytes_of(t->tensor.raw),
                        .offset = t->tensor.offset};
    LK_REQUIRE(n == stride->list.n, LK_E_FORMAT, "'%s' has %zu sizes and %zu strides", k->name, n,
               stride->list.n);
    LK_REQUIRE(n <= LK_MAX_DIMS, LK_E_UNSUPPORTED, "'%s' has %zu dimensions, at most %d are read",
               k->name, n, LK_MAX_DIMS);
    placed.shape.n_dims = (int)n;
    for (size_t d = 0; d < n; d++) {
        placed.shape.dim[d] = k->p->at[size->list.item[d]].integer;
        placed.stride[d] = k->p->at[stride->list.item[d]].integer;
    }
    LK_TRY(lk_weights_add(k->w, k->name, &placed));
done:
    return st;
}

/* Append ".key" to the name. */
static lk_status extend_name(walk *k, size_t length, const lk_pickle_value *key, size_t index)
{
    lk_status st = LK_OK;
    char number[32];
    lk_pickle_text text = {number, 0};
    const char *dot = length > 0 ? "." : "";
    if (key && key->kind == LK_PICKLE_TEXT) {
        text = key->text;
        LK_REQUIRE(!memchr(text.bytes, '\0', text.n), LK_E_FORMAT, "a name holds a zero byte");
    } else {
        LK_REQUIRE(!key || key->kind == LK_PICKLE_INT, LK_E_UNSUPPORTED,
                   "'%s' has a key that is neither text nor a number", k->name);
        text.n = (size_t)snprintf(number, sizeof number, "%lld",
                                  key ? (long long)key->integer : (long long)index);
    }
    LK_REQUIRE(text.n + 1 <= MAX_NAME - length, LK_E_UNSUPPORTED, "a name is longer than %d bytes",
               MAX_NAME);
    snprintf(k->name + length, sizeof k->name - length, "%s%.*s", dot, (int)text.n, text.bytes);
done:
    return st;
}

static const char *describe(const lk_pickle_value *v)
{
    switch (v->kind) {
    case LK_PICKLE_OTHER:
        return v->what;
    case LK_PICKLE_INT:
        return "a number";
    case LK_PICKLE_TEXT:
        return "text";
    case LK_PICKLE_TUPLE:
    case LK_PICKLE_LIST:
        return "a list without tensors";
    case LK_PICKLE_DICT:
        return "a dictionary without tensors";
    case LK_PICKLE_STORAGE:
        return "a bare storage";
    default:
        return "a class or an element type";
    }
}

/* Entries in the order of the file; what leads to no tensor is noted as one. */
static lk_status visit(walk *k, lk_ref r, int depth)
{
    lk_status st = LK_OK;
    const lk_pickle_value *v = &k->p->at[r];
    const size_t length = strlen(k->name), step = v->kind == LK_PICKLE_DICT ? 2 : 1;
    LK_REQUIRE(depth < MAX_DEPTH, LK_E_FORMAT,
               "entries are nested more than %d deep, or one holds itself", MAX_DEPTH);
    LK_REQUIRE(++k->visits <= MAX_VISITS_PER_VALUE * k->p->n, LK_E_FORMAT,
               "the same entries stand in too many places");
    if (k->leads[r] != YES)
        return lk_weights_skip(k->w, k->name, describe(v));
    if (v->kind == LK_PICKLE_TENSOR)
        return add_tensor(k, v);
    for (size_t i = 0; i + step <= v->list.n; i += step) {
        const lk_pickle_value *key = step == 2 ? &k->p->at[v->list.item[i]] : NULL;
        LK_TRY(extend_name(k, length, key, i));
        LK_TRY(visit(k, v->list.item[i + step - 1], depth + 1));
        k->name[length] = '\0';
    }
done:
    return st;
}

static lk_status name_tensors(lk_weights *w, const lk_pickle *p, bool swapped, const char *lone)
{
    lk_status st = LK_OK;
    walk k = {.w = w, .p = p, .swapped = swapped};
    LK_TRY(LK_NEW_ARRAY(&k.leads, p->n));
    LK_TRY(find_tensors(&k, p->root, 0));
    if (!is_container(&p->at[p->root]))
        snprintf(k.name, sizeof k.name, "%s", lone);
    LK_TRY(visit(&k, p->root, 0));
done:
    lk_free(k.leads);
    return st;
}

/* "FOLDER/data/KEY" or, without a key, "FOLDER/NAME". */
static const lk_zip_member *member_of(const lk_zip *zip, const char *pickle_name,
                                      const char *inside, lk_pickle_text key)
{
    char name[MAX_NAME];
    const int folder = (int)(strchr(pickle_name, '/') - pickle_name);
    const int n = snprintf(name, sizeof name, "%.*s/%s%.*s", folder, pickle_name, inside,
                           (int)(key.n < MAX_NAME ? key.n : MAX_NAME), key.bytes);
    return n < MAX_NAME ? lk_zip_find(zip, name) : NULL;
}

static lk_status place_in_zip(lk_weights *w, const lk_zip *zip, const char *pickle_name,
                              lk_pickle_value *v)
{
    lk_status st = LK_OK;
    const int shown = (int)(v->storage.key.n < 40 ? v->storage.key.n : 40);
    const lk_zip_member *m = member_of(zip, pickle_name, "data/", v->storage.key);
    void *owned;
    uint64_t bytes;
    LK_REQUIRE(m, LK_E_FORMAT, "the numbers of storage '%.*s' are missing", shown,
               v->storage.key.bytes);
    LK_REQUIRE(!__builtin_mul_overflow(v->storage.whole, bytes_of(v->storage.raw), &bytes) &&
                   bytes == m->size,
               LK_E_FORMAT, "storage '%.*s' should have %llu numbers, and has %llu bytes", shown,
               v->storage.key.bytes, (unsigned long long)v->storage.whole,
               (unsigned long long)m->size);
    LK_REQUIRE(m->method == 0, LK_E_UNSUPPORTED,
               "its numbers are compressed, which PyTorch never does; unpack and store them");
    LK_TRY(lk_zip_read(m, w->limit, &v->storage.data, &owned));
    v->storage.data += v->storage.skip * bytes_of(v->storage.raw);
done:
    return st;
}

lk_status lk_weights_torch_zip(lk_weights *w, const lk_zip *zip, const char *pickle_name,
                               const char *name)
{
    lk_status st = LK_OK;
    lk_pickle p = {0};
    const lk_zip_member *m = lk_zip_find(zip, pickle_name);
    const lk_zip_member *order = member_of(zip, pickle_name, "byteorder", (lk_pickle_text){"", 0});
    const uint8_t *data;
    void *packed = NULL, *packed_order = NULL;
    bool swapped = false;
    size_t used;
    if (order) {
        LK_TRY(lk_zip_read(order, 64, &data, &packed_order));
        swapped = order->size == 3 && memcmp(data, "big", 3) == 0;
        LK_REQUIRE(swapped || (order->size == 6 && memcmp(data, "little", 6) == 0), LK_E_FORMAT,
                   "the byte order is neither little nor big");
    }
    LK_TRY(lk_zip_read(m, w->limit, &data, &packed));
    LK_TRY(lk_pickle_read(&p, data, (size_t)m->size, &used));
    for (size_t i = 0; i < p.n; i++)
        if (p.at[i].kind == LK_PICKLE_STORAGE)
            LK_TRY(place_in_zip(w, zip, pickle_name, &p.at[i]));
    LK_TRY(name_tensors(w, &p, swapped, name));
done:
    lk_pickle_free(&p);
    lk_free(packed);
    lk_free(packed_order);
    return st;
}

static int compare_text(lk_pickle_text a, lk_pickle_text b)
{
    const int c = memcmp(a.bytes, b.bytes, a.n < b.n ? a.n : b.n);
    return c ? c : (a.n > b.n) - (a.n < b.n);
}

static int by_key(const void *a, const void *b)
{
    return compare_text((*(lk_pickle_value *const *)a)->storage.key,
                        (*(lk_pickle_value *const *)b)->storage.key);
}

/* The numbers of one listed key, at *at of the stream, for every storage of that key. */
static lk_status place_in_stream(lk_pickle_text key, lk_pickle_value **stores, size_t n_stores,
                                 const uint8_t *bytes, size_t n, size_t *at)
{
    lk_status st = LK_OK;
    const int shown = (int)(key.n < 40 ? key.n : 40);
    size_t lo = 0, hi = n_stores;
    uint64_t count, size = 0;
    while (lo < hi) {
        const size_t mid = lo + (hi - lo) / 2;
        if (compare_text(stores[mid]->storage.key, key) < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    LK_REQUIRE(lo < n_stores && compare_text(stores[lo]->storage.key, key) == 0, LK_E_FORMAT,
               "storage '%.*s' is listed, but no tensor lies in it", shown, key.bytes);
    LK_REQUIRE(n - *at >= 8, LK_E_FORMAT, "the numbers are cut off");
    count = lk_le(bytes + *at, 8);
    *at += 8;
    for (; lo < n_stores && compare_text(stores[lo]->storage.key, key) == 0; lo++) {
        lk_pickle_value *v = stores[lo];
        uint64_t own;
        LK_REQUIRE(!v->storage.data && count == v->storage.whole &&
                       !__builtin_mul_overflow(count, bytes_of(v->storage.raw), &own) &&
                       (size == 0 || size == own),
                   LK_E_FORMAT, "storage '%.*s' has two lengths", shown, key.bytes);
        LK_REQUIRE(own <= n - *at, LK_E_FORMAT, "the numbers are cut off");
        size = own;
        v->storage.data = bytes + *at + v->storage.skip * bytes_of(v->storage.raw);
    }
    *at += (size_t)size;
done:
    return st;
}

static lk_status place_all_in_stream(lk_pickle *p, const lk_pickle *keys, const uint8_t *bytes,
                                     size_t n, size_t at)
{
    lk_status st = LK_OK;
    const lk_pickle_value *list = &keys->at[keys->root];
    lk_pickle_value **stores = NULL;
    size_t n_stores = 0;
    LK_REQUIRE(list->kind == LK_PICKLE_LIST, LK_E_FORMAT, "the list of storages is none");
    LK_TRY(LK_NEW_ARRAY(&stores, p->n));
    for (size_t i = 0; i < p->n; i++)
        if (p->at[i].kind == LK_PICKLE_STORAGE)
            stores[n_stores++] = &p->at[i];
    qsort(stores, n_stores, sizeof *stores, by_key);
    for (size_t i = 0; i < list->list.n; i++) {
        const lk_pickle_value *key = &keys->at[list->list.item[i]];
        LK_REQUIRE(key->kind == LK_PICKLE_TEXT, LK_E_FORMAT, "a storage's key is no text");
        LK_TRY(place_in_stream(key->text, stores, n_stores, bytes, n, &at));
    }
    for (size_t i = 0; i < n_stores; i++)
        LK_REQUIRE(stores[i]->storage.data, LK_E_FORMAT, "the numbers of a storage are missing");
    LK_REQUIRE(at == n, LK_E_FORMAT, "%zu bytes follow the last storage", n - at);
done:
    lk_free(stores);
    return st;
}

/* The magic number is too large for an integer here, so the pickle's bytes are compared. */
static bool is_magic(const uint8_t *bytes, size_t used)
{
    static const uint8_t magic[] = {0x8a, 10,   0x6c, 0xfc, 0x9c, 0x46, 0xf9,
                                    0x20, 0x6a, 0xa8, 0x50, 0x19, '.'};
    return used >= sizeof magic + 2 &&
           memcmp(bytes + used - sizeof magic, magic, sizeof magic) == 0;
}

lk_status lk_weights_torch_stream(lk_weights *w, const uint8_t *bytes, size_t n, const char *name)
{
    lk_status st = LK_OK;
    enum { MAGIC, VERSION, MACHINE, OBJECT, KEYS, N_PICKLES };
    lk_pickle p[N_PICKLES] = {{0}};
    size_t at = 0, used;
    for (int i = 0; i < N_PICKLES; i++) {
        LK_TRY(lk_pickle_read(&p[i], bytes + at, n - at, &used));
        LK_REQUIRE(i > MAGIC || is_magic(bytes, used), LK_E_UNSUPPORTED,
                   "a pickle, but no PyTorch checkpoint");
        at += used;
    }
    const lk_pickle_value *version = &p[VERSION].at[p[VERSION].root];
    LK_REQUIRE(version->kind == LK_PICKLE_INT && version->integer == 1001, LK_E_UNSUPPORTED,
               "a PyTorch stream of an unknown version");
    const lk_pickle_value *little =
        lk_pickle_get(&p[MACHINE], &p[MACHINE].at[p[MACHINE].root], "little_endian");
    const bool swapped =
        little && little->kind == LK_PICKLE_OTHER && strcmp(little->what, "False") == 0;
    LK_TRY(place_all_in_stream(&p[OBJECT], &p[KEYS], bytes, n, at));
    LK_TRY(name_tensors(w, &p[OBJECT], swapped, name));
done:
    for (int i = 0; i < N_PICKLES; i++)
        lk_pickle_free(&p[i]);
    return st;
}
