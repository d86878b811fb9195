/* dnn.c - the only file that knows oneDNN.  See dnn.h. */
#include "kernels/cpu/dnn.h"

#include "kernels/mem.h"
#include "kernels/thread.h"

#include <oneapi/dnnl/dnnl.h>
#include <pthread.h>
#include <stdio.h>

#ifdef _OPENMP
#include <omp.h>
#endif

#define ALIGN 64
#define V3    (DNNL_VERSION_MAJOR >= 3)

typedef dnnl_memory_desc_t
    mem_desc; /* version 3: a handle to destroy; version 2: the thing itself */

enum { SLOT_A, SLOT_B, SLOT_BIAS, SLOT_Y, N_SLOTS };

/* One operand: the primitive's memory and, if its layout is not ours, a copy in the work space. */
typedef struct operand {
    int used, arg; /* DNNL_ARG_... */
    dnnl_memory_t ours, theirs;
    dnnl_primitive_t reorder; /* in for a and b, out for y; NULL: same layout */
    size_t at;                /* of the copy in the work space */
} operand;

struct lk_dnn {
    dnnl_primitive_t primitive;
    operand op[N_SLOTS];
    dnnl_memory_t scratch;
    size_t scratch_at, work_bytes, pack_bytes;
};

/* One engine and one stream for the process; they hold no state of ours. */
static dnnl_engine_t engine;
static dnnl_stream_t stream;
static lk_status engine_status = LK_OK;
static pthread_once_t engine_once = PTHREAD_ONCE_INIT;

static void make_engine(void)
{
    if (dnnl_engine_create(&engine, dnnl_cpu, 0) != dnnl_success ||
        dnnl_stream_create(&stream, engine, dnnl_stream_default_flags) != dnnl_success)
        engine_status = LK_E_ENV;
    (void)dnnl_set_primitive_cache_capacity(1024);
}

#define DNN(call)                                                                                  \
    do {                                                                                           \
        const dnnl_status_t dnn_ = (call);                                                         \
        LK_REQUIRE(dnn_ == dnnl_success, dnn_ == dnnl_out_of_memory ? LK_E_MEMORY : LK_E_INTERNAL, \
                   "oneDNN: %s gave %d", #call, (int)dnn_);                                        \
    } while (0)

static dnnl_data_type_t type_of(lk_dtype t)
{
    return t == LK_BF16 ? dnnl_bf16 : dnnl_f32;
}

const char *lk_dnn_version(void)
{
    static char text[32];
    const dnnl_version_t *v = dnnl_version();
    snprintf(text, sizeof text, "%d.%d.%d", v->major, v->minor, v->patch);
    return text;
}

/* ---- the two versions' ways of saying the same ---- */

static dnnl_status_t desc_strided(mem_desc *d, int n, const dnnl_dims_t dims, lk_dtype t,
                                  const dnnl_dims_t strides)
{
#if V3
    return dnnl_memory_desc_create_with_strides(d, n, dims, type_of(t), strides);
#else
    return dnnl_memory_desc_init_by_strides(d, n, dims, type_of(t), strides);
#endif
}

static dnnl_status_t desc_any(mem_desc *d, int n, const dnnl_dims_t dims, lk_dtype t)
{
#if V3
    return dnnl_memory_desc_create_with_tag(d, n, dims, type_of(t), dnnl_format_tag_any);
#else
    return dnnl_memory_desc_init_by_tag(d, n, dims, type_of(t), dnnl_format_tag_any);
#endif
}

#if V3
#define DESC(d) (d)
typedef const_dnnl_memory_desc_t desc_ref;
static void desc_free(mem_desc *d)
{
    if (*d)
        dnnl_memory_desc_destroy(*d);
    *d = NULL;
}
#else
#define DESC(d) (&(d))
typedef const dnnl_memory_desc_t *desc_ref;
static void desc_free(mem_desc *d)
{
    (void)d;
}
#endif

typedef struct geometry {
    dnnl_dims_t stride, dilation, lo, hi;
} geometry;

static dnnl_status_t conv_pd(dnnl_primitive_desc_t *pd, desc_ref x, desc_ref w, desc_ref bias,
                             desc_ref y, const geometry *g, dnnl_primitive_attr_t attr)
{
#if V3
    return dnnl_convolution_forward_primitive_desc_create(
        pd, engine, dnnl_forward_training, dnnl_convolution_direct, x, w, bias, y, g->stride,
        g->dilation, g->lo, g->hi, attr);
#else
    dnnl_convolution_desc_t d;
    const dnnl_status_t st = dnnl_dilated_convolution_forward_desc_init(
        &d, dnnl_forward_training, dnnl_convolution_direct, x, w, bias, y, g->stride, g->dilation,
        g->lo, g->hi);
    return st == dnnl_success ? dnnl_primitive_desc_create(pd, &d, attr, engine, NULL) : st;
#endif
}

static dnnl_status_t conv_dx_pd(dnnl_primitive_desc_t *pd, desc_ref x, desc_ref w, desc_ref y,
                                const geometry *g, dnnl_primitive_attr_t attr,
                                dnnl_primitive_desc_t hint)
{
#if V3
    return dnnl_convolution_backward_data_primitive_desc_create(pd, engine, dnnl_convolution_direct,
                                                                x, w, y, g->stride, g->dilation,
                                                                g->lo, g->hi, hint, attr);
#else
    dnnl_convolution_desc_t d;
    const dnnl_status_t st = dnnl_dilated_convolution_backward_data_desc_init(
        &d, dnnl_convolution_direct, x, w, y, g->stride, g->dilation, g->lo, g->hi);
    return st == dnnl_success ? dnnl_primitive_desc_create(pd, &d, attr, engine, hint) : st;
#endif
}

static dnnl_status_t conv_dw_pd(dnnl_primitive_desc_t *pd, desc_ref x, desc_ref w, desc_ref y,
                                const geometry *g, dnnl_primitive_attr_t attr,
                                dnnl_primitive_desc_t hint)
{
#if V3
    return dnnl_convolution_backward_weights_primitive_desc_create(
        pd, engine, dnnl_convolution_direct, x, w, NULL, y, g->stride, g->dilation, g->lo, g->hi,
        hint, attr);
#else
    dnnl_convolution_desc_t d;
    const dnnl_status_t st = dnnl_dilated_convolution_backward_weights_desc_init(
        &d, dnnl_convolution_direct, x, w, NULL, y, g->stride, g->dilation, g->lo, g->hi);
    return st == dnnl_success ? dnnl_primitive_desc_create(pd, &d, attr, engine, hint) : st;
#endif
}

/* ---- building ---- */

/* oneDNN plans for as many threads as OpenMP has when the primitive is made. */
static int threads_for(int n)
{
#ifdef _OPENMP
    const int before = omp_get_max_threads();
    omp_set_num_threads(n);
    return before;
#else
    (void)n;
    return 1;
#endif
}

static void threads_back(int before)
{
#ifdef _OPENMP
    omp_set_num_threads(before);
#else
    (void)before;
#endif
}

static size_t take(lk_dnn *d, size_t bytes)
{
    const size_t at = d->work_bytes;
    d->work_bytes += (bytes + ALIGN - 1) / ALIGN * ALIGN;
    return at;
}

/* Tie operand `slot` of our layout to what the primitive asks for. */
static lk_status bind(lk_dnn *d, int slot, int arg, desc_ref ours, dnnl_primitive_desc_t pd,
                      dnnl_query_t query, int index)
{
    lk_status st = LK_OK;
    operand *o = &d->op[slot];
    const desc_ref theirs = dnnl_primitive_desc_query_md(pd, query, index);
    dnnl_primitive_desc_t rpd = NULL;
    o->used = 1;
    o->arg = arg;
    DNN(dnnl_memory_create(&o->ours, ours, engine, DNNL_MEMORY_NONE));
    if (!dnnl_memory_desc_equal(ours, theirs)) {
        DNN(dnnl_memory_create(&o->theirs, theirs, engine, DNNL_MEMORY_NONE));
        if (slot == SLOT_B && arg == DNNL_ARG_WEIGHTS)
            d->pack_bytes = dnnl_memory_desc_get_size(theirs);
        else
            o->at = take(d, dnnl_memory_desc_get_size(theirs));
        if (slot == SLOT_B)
            threads_for(lk_threads()); /* moving numbers gives the same on any number of threads */
        DNN(dnnl_reorder_primitive_desc_create(&rpd, slot == SLOT_Y ? theirs : ours, engine,
                                               slot == SLOT_Y ? ours : theirs, engine, NULL));
        DNN(dnnl_primitive_create(&o->reorder, rpd));
        threads_for(1);
    }
done:
    if (rpd)
        dnnl_primitive_desc_destroy(rpd);
    return st;
}

static lk_status finish(lk_dnn *d, dnnl_primitive_desc_t pd)
{
    lk_status st = LK_OK;
    const desc_ref scratch = dnnl_primitive_desc_query_md(pd, dnnl_query_scratchpad_md, 0);
    DNN(dnnl_primitive_create(&d->primitive, pd));
    DNN(dnnl_memory_create(&d->scratch, scratch, engine, DNNL_MEMORY_NONE));
    d->scratch_at = take(d, dnnl_memory_desc_get_size(scratch));
done:
    return st;
}

static lk_status new_attr(dnnl_primitive_attr_t *attr)
{
    lk_status st = LK_OK;
    DNN(dnnl_primitive_attr_create(attr));
    DNN(dnnl_primitive_attr_set_scratchpad_mode(*attr, dnnl_scratchpad_mode_user));
done:
    return st;
}

/* Dimensions and strides of channels-last maps [B, C, S..] and of filters [G, O, I, K..]. */
static int map_desc(mem_desc *d, int64_t batch, int64_t ch, const int64_t *size, int skip,
                    lk_dtype t)
{
    dnnl_dims_t dims = {batch, ch}, strides = {0, 1};
    int n = 2;
    int64_t step = ch;
    for (int i = skip; i < 3; i++)
        dims[n++] = size[i];
    for (int i = n - 1; i >= 2; i--) {
        strides[i] = step;
        step *= dims[i];
    }
    strides[0] = step;
    return desc_strided(d, n, dims, t, strides) == dnnl_success;
}

static int filter_desc(mem_desc *d, mem_desc *any, const lk_dnn_conv *c, int skip, lk_dtype t)
{
    const int64_t out_g = c->out_ch / c->groups, in_g = c->in_ch / c->groups;
    dnnl_dims_t dims = {c->groups, out_g, in_g}, strides = {0, 0, 1};
    const int first = c->groups == 1 ? 1 : 0;
    int n = 3;
    int64_t step = in_g;
    for (int i = skip; i < 3; i++)
        dims[n++] = c->taps[i];
    for (int i = n - 1; i >= 3; i--) {
        strides[i] = step;
        step *= dims[i];
    }
    strides[1] = step;
    strides[0] = step * out_g;
    return desc_strided(d, n - first, dims + first, t, strides + first) == dnnl_success &&
           desc_any(any, n - first, dims + first, t) == dnnl_success;
}

static lk_status convolution(lk_dnn *d, const lk_dnn_conv *c, dnnl_primitive_attr_t attr)
{
    lk_status st = LK_OK;
    mem_desc x = {0}, w = {0}, w_any = {0}, bias = {0}, y = {0};
    dnnl_primitive_desc_t pd = NULL, hint = NULL;
    geometry g = {{0}, {0}, {0}, {0}};
    int skip = 0;
    const dnnl_dims_t dbias = {c->out_ch}, sbias = {1};
    while (skip < 2 && c->in[skip] == 1 && c->out[skip] == 1 && c->taps[skip] == 1)
        skip++;
    for (int i = skip; i < 3; i++) {
        g.stride[i - skip] = c->stride[i];
        g.dilation[i - skip] = c->dilation[i] - 1;
        g.lo[i - skip] = c->lo[i];
        /* what oneDNN calls the right padding must fit the sizes exactly */
        g.hi[i - skip] = (c->out[i] - 1) * c->stride[i] + c->dilation[i] * (c->taps[i] - 1) + 1 -
                         c->in[i] - c->lo[i];
    }
    LK_REQUIRE(map_desc(&x, c->n_batch, c->in_ch, c->in, skip, c->dtype) &&
                   map_desc(&y, c->n_batch, c->out_ch, c->out, skip, c->dtype) &&
                   filter_desc(&w, &w_any, c, skip, c->kind == LK_DNN_CONV_DW ? LK_F32 : c->dtype),
               LK_E_INTERNAL, "oneDNN refused the shape of a convolution");
    DNN(desc_strided(&bias, 1, dbias, LK_F32, sbias));
    if (c->kind == LK_DNN_CONV) {
        DNN(conv_pd(&pd, DESC(x), DESC(w_any), c->has_bias ? DESC(bias) : NULL, DESC(y), &g, attr));
        LK_TRY(bind(d, SLOT_A, DNNL_ARG_SRC, DESC(x), pd, dnnl_query_src_md, 0));
        LK_TRY(bind(d, SLOT_B, DNNL_ARG_WEIGHTS, DESC(w), pd, dnnl_query_weights_md, 0));
        if (c->has_bias)
            LK_TRY(bind(d, SLOT_BIAS, DNNL_ARG_BIAS, DESC(bias), pd, dnnl_query_weights_md, 1));
        LK_TRY(bind(d, SLOT_Y, DNNL_ARG_DST, DESC(y), pd, dnnl_query_dst_md, 0));
    } else if (c->kind == LK_DNN_CONV_DX) {
        DNN(conv_pd(&hint, DESC(x), DESC(w_any), NULL, DESC(y), &g, NULL));
        DNN(conv_dx_pd(&pd, DESC(x), DESC(w_any), DESC(y), &g, attr, hint));
        LK_TRY(bind(d, SLOT_A, DNNL_ARG_DIFF_DST, DESC(y), pd, dnnl_query_diff_dst_md, 0));
        LK_TRY(bind(d, SLOT_B, DNNL_ARG_WEIGHTS, DESC(w), pd, dnnl_query_weights_md, 0));
        LK_TRY(bind(d, SLOT_Y, DNNL_ARG_DIFF_SRC, DESC(x), pd, dnnl_query_diff_src_md, 0));
    } else {
        mem_desc w_in = {0}, w_in_any = {0};
        const int ok = filter_desc(&w_in, &w_in_any, c, skip, c->dtype);
        const dnnl_status_t made =
            ok ? conv_pd(&hint, DESC(x), DESC(w_in_any), NULL, DESC(y), &g, NULL)
               : dnnl_runtime_error;
        desc_free(&w_in);
        desc_free(&w_in_any);
        DNN(made);
        DNN(conv_dw_pd(&pd, DESC(x), DESC(w_any), DESC(y), &g, attr, hint));
        LK_TRY(bind(d, SLOT_A, DNNL_ARG_SRC, DESC(x), pd, dnnl_query_src_md, 0));
        LK_TRY(bind(d, SLOT_B, DNNL_ARG_DIFF_DST, DESC(y), pd, dnnl_query_diff_dst_md, 0));
        LK_TRY(bind(d, SLOT_Y, DNNL_ARG_DIFF_WEIGHTS, DESC(w), pd, dnnl_query_diff_weights_md, 0));
    }
    LK_TRY(finish(d, pd));
done:
    if (pd)
        dnnl_primitive_desc_destroy(pd);
    if (hint)
        dnnl_primitive_desc_destroy(hint);
    desc_free(&x);
    desc_free(&w);
    desc_free(&w_any);
    desc_free(&bias);
    desc_free(&y);
    return st;
}

lk_status lk_dnn_new_conv(lk_dnn **out, const lk_dnn_conv *c)
{
    lk_status st = LK_OK;
    lk_dnn *d = NULL;
    dnnl_primitive_attr_t attr = NULL;
    int before;
    *out = NULL;
    pthread_once(&engine_once, make_engine);
    before = threads_for(1);
    LK_REQUIRE(engine_status == LK_OK, LK_E_ENV, "oneDNN cannot start on this machine");
    LK_TRY(LK_NEW(&d));
    LK_TRY(new_attr(&attr));
    LK_TRY(convolution(d, c, attr));
    *out = d;
    d = NULL;
done:
    threads_back(before);
    if (attr)
        dnnl_primitive_attr_destroy(attr);
    lk_dnn_free(&d);
    return st;
}

size_t lk_dnn_work_bytes(const lk_dnn *d)
{
    return d->work_bytes;
}

void lk_dnn_free(lk_dnn **pd)
{
    lk_dnn *d = *pd;
    if (!d)
        return;
    for (int i = 0; i < N_SLOTS; i++) {
        if (d->op[i].ours)
            dnnl_memory_destroy(d->op[i].ours);
        if (d->op[i].theirs)
            dnnl_memory_destroy(d->op[i].theirs);
        if (d->op[i].reorder)
            dnnl_primitive_destroy(d->op[i].reorder);
    }
    if (d->scratch)
        dnnl_memory_destroy(d->scratch);
    if (d->primitive)
        dnnl_primitive_destroy(d->primitive);
    lk_free(d);
    *pd = NULL;
}

static lk_status reorder(operand *o, dnnl_memory_t from, dnnl_memory_t to)
{
    lk_status st = LK_OK;
    const dnnl_exec_arg_t args[2] = {{DNNL_ARG_FROM, from}, {DNNL_ARG_TO, to}};
    DNN(dnnl_primitive_execute(o->reorder, stream, 2, args));
done:
    return st;
}

size_t lk_dnn_pack_bytes(const lk_dnn *d)
{
    return d->pack_bytes;
}

static desc_ref desc_of(dnnl_memory_t m)
{
    desc_ref d = NULL;
    return dnnl_memory_get_memory_desc(m, &d) == dnnl_success ? d : NULL;
}

int lk_dnn_same_pack(const lk_dnn *d, const lk_dnn *e)
{
    const operand *a = &d->op[SLOT_B], *b = &e->op[SLOT_B];
    return d->pack_bytes && e->pack_bytes &&
           dnnl_memory_desc_equal(desc_of(a->theirs), desc_of(b->theirs));
}

static void *mutable(const void *p)
{
    union {
        const void *c;
        void *v;
    } u = {.c = p};
    return u.v;
}

lk_status lk_dnn_pack(lk_dnn *d, const void *b, void *packed)
{
    lk_status st = LK_OK;
    operand *o = &d->op[SLOT_B];
    DNN(dnnl_memory_set_data_handle(o->ours, mutable(b)));
    DNN(dnnl_memory_set_data_handle(o->theirs, packed));
    LK_TRY(reorder(o, o->ours, o->theirs));
done:
    return st;
}

lk_status lk_dnn_run(lk_dnn *d, const void *a, const void *b, const void *bias, void *y, void *work)
{
    lk_status st = LK_OK;
    const void *const data[N_SLOTS] = {a, b, bias, y};
    dnnl_exec_arg_t args[N_SLOTS + 1];
    int n = 0;
    for (int i = 0; i < N_SLOTS; i++) {
        operand *o = &d->op[i];
        const int packed = i == SLOT_B && o->reorder && o->arg == DNNL_ARG_WEIGHTS;
        if (!o->used)
            continue;
        DNN(dnnl_memory_set_data_handle(packed ? o->theirs : o->ours, mutable(data[i])));
        if (o->reorder && !packed)
            DNN(dnnl_memory_set_data_handle(o->theirs, (char *)work + o->at));
        if (o->reorder && !packed && i != SLOT_Y)
            LK_TRY(reorder(o, o->ours, o->theirs));
        args[n++] = (dnnl_exec_arg_t){o->arg, o->reorder ? o->theirs : o->ours};
    }
    DNN(dnnl_memory_set_data_handle(d->scratch, work ? (char *)work + d->scratch_at : NULL));
    args[n++] = (dnnl_exec_arg_t){DNNL_ARG_SCRATCHPAD, d->scratch};
    DNN(dnnl_primitive_execute(d->primitive, stream, n, args));
    if (d->op[SLOT_Y].reorder)
        LK_TRY(reorder(&d->op[SLOT_Y], d->op[SLOT_Y].theirs, d->op[SLOT_Y].ours));
done:
    return st;
}
