/* pickle_globals.c - everything a pickle may name, and what "calling" it means here.
 *
 * A tensor is (storage, offset, size, stride); the storage is known by a key, under which its
 * numbers lie elsewhere in the file. */
#include "av/import/pickle.h"
#include "av/import/weights_impl.h"

#include <stdio.h>
#include <string.h>

typedef enum lk_call {
    CALL_PLAIN,       /* the result is of no use for weights */
    CALL_DICT,        /* dictionary from nothing or from a list of pairs */
    CALL_FIRST,       /* the result is the first argument */
    CALL_TENSOR,      /* storage, offset, size, stride, ... */
    CALL_TYPED_TENSOR /* the same, with the element type as seventh */
} lk_call;

/* `what` says what the result is where it is of no use.  Element types and kinds of storage, which
 * may be named but not called, follow from lk_raw_types. */
static const struct {
    const char *module, *name;
    lk_call call;
    const char *what;
} globals[] = {
    {"collections", "OrderedDict", CALL_DICT, NULL},
    {"torch._utils", "_rebuild_tensor", CALL_TENSOR, NULL},
    {"torch._utils", "_rebuild_tensor_v2", CALL_TENSOR, NULL},
    {"torch._utils", "_rebuild_tensor_v3", CALL_TYPED_TENSOR, NULL},
    {"torch._utils", "_rebuild_parameter", CALL_FIRST, NULL},
    {"torch._utils", "_rebuild_parameter_with_state", CALL_FIRST, NULL},
    {"torch", "Size", CALL_FIRST, NULL},
    {"torch", "device", CALL_PLAIN, "a device"},
    {"torch.serialization", "_get_layout", CALL_PLAIN, "a layout"},
    {"_codecs", "encode", CALL_PLAIN, "bytes"},
    {"builtins", "set", CALL_PLAIN, "a set"},
    {"__builtin__", "set", CALL_PLAIN, "a set"},
    {"builtins", "frozenset", CALL_PLAIN, "a set"},
    {"__builtin__", "frozenset", CALL_PLAIN, "a set"},
    {"builtins", "bytearray", CALL_PLAIN, "bytes"},
    {"__builtin__", "bytearray", CALL_PLAIN, "bytes"},
    {"builtins", "complex", CALL_PLAIN, "a complex number"},
    {"__builtin__", "complex", CALL_PLAIN, "a complex number"},
    {"numpy", "dtype", CALL_PLAIN, "an element type"},
    {"numpy.core.multiarray", "scalar", CALL_PLAIN, "a number"},
    {"numpy._core.multiarray", "scalar", CALL_PLAIN, "a number"},
};
#define N_GLOBALS ((int)(sizeof globals / sizeof globals[0]))

static bool same(lk_pickle_text t, const char *text)
{
    return t.n == strlen(text) && memcmp(t.bytes, text, t.n) == 0;
}

/* "FloatStorage" is the storage of "Float". */
static bool is_storage_of(lk_pickle_text name, const char *type)
{
    const size_t n = type ? strlen(type) : 0;
    return n > 0 && name.n == n + 7 && memcmp(name.bytes, type, n) == 0 &&
           memcmp(name.bytes + n, "Storage", 7) == 0;
}

static lk_status refuse(lk_pickle_text module, lk_pickle_text name)
{
    char text[160];
    const bool is_type = name.n > 7 && memcmp(name.bytes + name.n - 7, "Storage", 7) == 0;
    snprintf(text, sizeof text, "%.*s.%.*s", (int)(module.n < 70 ? module.n : 70), module.bytes,
             (int)(name.n < 70 ? name.n : 70), name.bytes);
    for (char *c = text; *c; c++)
        if (*c < 0x20 || *c == 0x7f)
            *c = '?';
    if (is_type || (same(module, "torch") && name.n > 0 && *name.bytes >= 'a'))
        return LK_FAIL(LK_E_UNSUPPORTED, "it has numbers of type '%s', which are not read", text);
    return LK_FAIL(LK_E_UNSUPPORTED,
                   "it asks for '%s', and only the few things that state dictionaries need are "
                   "read, nothing is executed; save model.state_dict() instead",
                   text);
}

lk_status lk_pickle_global(lk_pickle *p, lk_pickle_text module, lk_pickle_text name, lk_ref *out)
{
    lk_status st = LK_OK;
    *out = 0;
    const bool torch = same(module, "torch");
    int call = -1, raw = LK_RAW_UNTYPED;
    for (int i = 0; i < N_GLOBALS; i++)
        if (same(module, globals[i].module) && same(name, globals[i].name))
            call = i;
    if ((torch || same(module, "torch.storage")) && same(name, "UntypedStorage"))
        call = N_GLOBALS;
    for (int i = 0; i < lk_n_raw_types && call < 0; i++) {
        if (((torch || same(module, "torch.cuda")) &&
             is_storage_of(name, lk_raw_types[i].torch_storage)) ||
            (torch && same(name, lk_raw_types[i].torch_dtype))) {
            call = N_GLOBALS;
            raw = i;
        }
    }
    if (call < 0)
        LK_TRY(refuse(module, name));
    LK_TRY(lk_pickle_new(p, LK_PICKLE_GLOBAL, out));
    p->at[*out].global.call = call;
    p->at[*out].global.raw = raw;
done:
    return st;
}

/* Python 2 hands the pairs of an ordered dictionary over as one list. */
static lk_status make_dict(lk_pickle *p, lk_ref args, lk_ref *out)
{
    lk_status st = LK_OK;
    LK_TRY(lk_pickle_new(p, LK_PICKLE_DICT, out));
    if (p->at[args].list.n == 0)
        return LK_OK;
    const lk_pickle_value pairs = p->at[p->at[args].list.item[0]];
    LK_REQUIRE(p->at[args].list.n == 1 && pairs.kind == LK_PICKLE_LIST, LK_E_FORMAT,
               "an ordered dictionary is made of something other than a list");
    for (size_t i = 0; i < pairs.list.n; i++) {
        const lk_pickle_value *pair = &p->at[pairs.list.item[i]];
        LK_REQUIRE((pair->kind == LK_PICKLE_LIST || pair->kind == LK_PICKLE_TUPLE) &&
                       pair->list.n == 2,
                   LK_E_FORMAT, "an ordered dictionary is made of something other than pairs");
        LK_TRY(lk_pickle_push_item(&p->at[*out], pair->list.item[0]));
        LK_TRY(lk_pickle_push_item(&p->at[*out], pair->list.item[1]));
    }
done:
    return st;
}

static bool are_integers(const lk_pickle *p, lk_ref r)
{
    const lk_pickle_value *v = &p->at[r];
    if (v->kind != LK_PICKLE_TUPLE && v->kind != LK_PICKLE_LIST)
        return false;
    for (size_t i = 0; i < v->list.n; i++)
        if (p->at[v->list.item[i]].kind != LK_PICKLE_INT)
            return false;
    return true;
}

static lk_status make_tensor(lk_pickle *p, lk_ref args, bool typed, lk_ref *out)
{
    lk_status st = LK_OK;
    int raw;
    LK_REQUIRE(p->at[args].list.n >= (typed ? 7 : 4), LK_E_FORMAT, "a tensor lacks arguments");
    const lk_ref *a = p->at[args].list.item;
    LK_REQUIRE(p->at[a[0]].kind == LK_PICKLE_STORAGE && p->at[a[1]].kind == LK_PICKLE_INT &&
                   are_integers(p, a[2]) && are_integers(p, a[3]),
               LK_E_FORMAT, "a tensor's storage, offset, size or stride is something else");
    raw = p->at[a[0]].storage.raw;
    if (typed) {
        LK_REQUIRE(p->at[a[6]].kind == LK_PICKLE_GLOBAL && raw == LK_RAW_UNTYPED, LK_E_FORMAT,
                   "a tensor's element type is none");
        raw = p->at[a[6]].global.raw;
    }
    LK_REQUIRE(raw != LK_RAW_UNTYPED, LK_E_FORMAT, "a tensor has no element type");
    LK_TRY(lk_pickle_new(p, LK_PICKLE_TENSOR, out));
    p->at[*out].tensor.storage = a[0];
    p->at[*out].tensor.offset = p->at[a[1]].integer;
    p->at[*out].tensor.size = a[2];
    p->at[*out].tensor.stride = a[3];
    p->at[*out].tensor.raw = raw;
done:
    return st;
}

lk_status lk_pickle_call(lk_pickle *p, lk_ref function, lk_ref args, lk_ref *out)
{
    lk_status st = LK_OK;
    *out = 0;
    LK_REQUIRE(p->at[function].kind == LK_PICKLE_GLOBAL && p->at[function].global.call < N_GLOBALS,
               LK_E_FORMAT, "the pickle calls something that is no function");
    LK_REQUIRE(p->at[args].kind == LK_PICKLE_TUPLE, LK_E_FORMAT,
               "the pickle calls something with arguments that are no tuple");
    const int which = p->at[function].global.call;
    switch (globals[which].call) {
    case CALL_DICT:
        LK_TRY(make_dict(p, args, out));
        break;
    case CALL_FIRST:
        LK_REQUIRE(p->at[args].list.n > 0, LK_E_FORMAT, "%s lacks its argument",
                   globals[which].name);
        *out = p->at[args].list.item[0];
        break;
    case CALL_TENSOR:
    case CALL_TYPED_TENSOR:
        LK_TRY(make_tensor(p, args, globals[which].call == CALL_TYPED_TENSOR, out));
        break;
    case CALL_PLAIN:
        LK_TRY(lk_pickle_new(p, LK_PICKLE_OTHER, out));
        p->at[*out].what = globals[which].what;
        break;
    }
done:
    return st;
}

static bool unsigned_of(const lk_pickle *p, lk_ref r, uint64_t *value)
{
    if (p->at[r].kind != LK_PICKLE_INT || p->at[r].integer < 0)
        return false;
    *value = (uint64_t)p->at[r].integer;
    return true;
}

/* ('storage', class, key, device, count) and in old files a sixth: None, or (key, offset, count) of
 * the part of the stored array that this storage is. */
lk_status lk_pickle_storage(lk_pickle *p, lk_ref id, lk_ref *out)
{
    lk_status st = LK_OK;
    *out = 0;
    uint64_t count, skip = 0, part;
    const lk_pickle_value *v = &p->at[id];
    LK_REQUIRE(v->kind == LK_PICKLE_TUPLE && v->list.n >= 5 &&
                   lk_pickle_is_text(&p->at[v->list.item[0]], "storage"),
               LK_E_UNSUPPORTED, "the pickle refers to something stored that is no tensor storage");
    const lk_ref *a = v->list.item;
    LK_REQUIRE(p->at[a[1]].kind == LK_PICKLE_GLOBAL && p->at[a[2]].kind == LK_PICKLE_TEXT &&
                   unsigned_of(p, a[4], &count),
               LK_E_FORMAT, "a storage's class, key or length is something else");
    part = count;
    if (v->list.n > 5 && p->at[a[5]].kind == LK_PICKLE_TUPLE) {
        const lk_pickle_value *view = &p->at[a[5]];
        LK_REQUIRE(view->list.n == 3 && unsigned_of(p, view->list.item[1], &skip) &&
                       unsigned_of(p, view->list.item[2], &part) && skip <= count &&
                       part <= count - skip,
                   LK_E_FORMAT, "a view of a storage reaches beyond it");
    }
    const int raw = p->at[a[1]].global.raw;
    const lk_pickle_text key = p->at[a[2]].text;
    LK_TRY(lk_pickle_new(p, LK_PICKLE_STORAGE, out));
    p->at[*out].storage.raw = raw;
    p->at[*out].storage.key = key;
    p->at[*out].storage.count = part;
    p->at[*out].storage.skip = skip;
    p->at[*out].storage.whole = count;
done:
    return st;
}
