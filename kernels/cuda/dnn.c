/* dnn.c - CONV, CONV_DX, CONV_DW by cuDNN's graph interface; kernels/ops/conv.c says what they are.
 *
 * One operation makes a graph; the heuristics offer engines, best first, and the first is taken
 * that is deterministic, computes in the precision we promise (f32 sums, no Winograd or FFT) and
 * needs no more than MAX_WORK_BYTES.  Sizes for which there is none go to our own kernels, as does
 * everything where cuDNN is not installed, and f32: of cuDNN 9's engines without TF32 the one for
 * gradients of filters misreads padding that differs at its two ends, and on an H200 those for 1-D
 * and 3-D reach 0.5 TFLOP/s where ours reach 10 to 20.
 *
 * Tensors are described as [N, C, spatial..] with strides that say channels-last; one spatial
 * dimension becomes two, the first of size 1.
 */
#include "kernels/cuda/libraries.h"

#include "kernels/mem.h"
#include "kernels/ops/ops_impl.h"

#include <cudnn.h>
#include <dlfcn.h>
#include <stdio.h>

#define MAX_WORK_BYTES ((int64_t)256 << 20)
#define MAX_OFFERS     16
#define MAX_NOTES      CUDNN_NUMERICAL_NOTE_TYPE_COUNT

#define FUNCTIONS(X)                                                                               \
    X(cudnnCreate)                                                                                 \
    X(cudnnSetStream)                                                                              \
    X(cudnnGetVersion)                                                                             \
    X(cudnnGetErrorString)                                                                         \
    X(cudnnBackendCreateDescriptor)                                                                \
    X(cudnnBackendDestroyDescriptor)                                                               \
    X(cudnnBackendFinalize)                                                                        \
    X(cudnnBackendSetAttribute)                                                                    \
    X(cudnnBackendGetAttribute)                                                                    \
    X(cudnnBackendExecute)

static struct {
    int tried, usable;
    cudnnHandle_t handle;
#define FIELD(name) __typeof__(&name) name;
    FUNCTIONS(FIELD)
#undef FIELD
} dnn;

#define TEXT_(x) #x
#define TEXT(x)  TEXT_(x)
#define LIBRARY  "libcudnn.so." TEXT(CUDNN_MAJOR)

lk_status lk_cuda_dnn_symbols(void)
{
    lk_status st = LK_OK;
    void *library = lk_cuda_open_library(LIBRARY);
    LK_REQUIRE(library, LK_E_ENV, "%s is not installed; convolutions use slower kernels", LIBRARY);
#define FIND(name)                                                                                 \
    *(void **)&dnn.name = dlsym(library, #name);                                                   \
    LK_REQUIRE(dnn.name, LK_E_ENV, "%s lacks %s", LIBRARY, #name);
    FUNCTIONS(FIND)
#undef FIND
done:
    return st;
}

static int usable(void)
{
    if (!dnn.tried) {
        dnn.tried = 1;
        if (lk_cuda_dnn_symbols() != LK_OK)
            lk_error_clear();
        else
            dnn.usable = dnn.cudnnCreate(&dnn.handle) == CUDNN_STATUS_SUCCESS;
    }
    return dnn.usable;
}

const char *lk_cuda_dnn_text(void)
{
    static char text[128];
    if (usable())
        snprintf(text, sizeof text, "cuDNN %zu", dnn.cudnnGetVersion());
    else
        snprintf(text, sizeof text, "no %s: convolutions use our own, slower kernels", LIBRARY);
    return text;
}

static lk_status check(cudnnStatus_t status, const char *what)
{
    if (status == CUDNN_STATUS_SUCCESS)
        return LK_OK;
    return LK_FAIL(LK_E_ENV, "cuDNN failed at %s: %s", what, dnn.cudnnGetErrorString(status));
}
#define DNN_TRY(expr) LK_TRY(check((expr), #expr))

typedef cudnnBackendDescriptor_t descriptor;

static void destroy(descriptor *d)
{
    if (*d)
        dnn.cudnnBackendDestroyDescriptor(*d);
    *d = NULL;
}

static lk_status set(descriptor d, cudnnBackendAttributeName_t name,
                     cudnnBackendAttributeType_t type, int64_t n, const void *values)
{
    lk_status st = LK_OK;
    DNN_TRY(dnn.cudnnBackendSetAttribute(d, name, type, n, values));
done:
    return st;
}

/* ---- the operation ---- */

enum { X, W, Y }; /* operands of the underlying convolution, and their ids */

typedef struct sizes {
    int n_spatial;
    int64_t dim[3][5], step[3][5]; /* of X, W, Y */
    int64_t stride[3], dilation[3], lo[3], hi[3];
} sizes;

static void describe(sizes *z, int which, int64_t batch, int64_t channels, const int64_t *spatial)
{
    int64_t step = channels;
    z->dim[which][0] = batch;
    z->dim[which][1] = channels;
    z->step[which][1] = 1;
    for (int i = z->n_spatial - 1; i >= 0; i--) {
        z->dim[which][2 + i] = spatial[i];
        z->step[which][2 + i] = step;
        step *= spatial[i];
    }
    z->step[which][0] = step;
}

static sizes sizes_of(const lk_call *c)
{
    const lk_conv_sizes s = lk_conv_sizes_of(c);
    sizes z = {.n_spatial = c->node->attr.conv.n_spatial < 3 ? 2 : 3};
    const int skip = 3 - z.n_spatial;
    describe(&z, X, s.n_batch, s.in_ch, s.in + skip);
    describe(&z, W, s.out_ch, s.in_ch / s.groups, s.taps + skip);
    describe(&z, Y, s.n_batch, s.out_ch, s.out + skip);
    for (int i = 0; i < z.n_spatial; i++) {
        z.stride[i] = s.stride[skip + i];
        z.dilation[i] = s.dilation[skip + i];
        z.lo[i] = s.lo[skip + i];
        z.hi[i] = s.hi[skip + i];
    }
    return z;
}

static lk_status new_tensor(descriptor *d, const sizes *z, int which, lk_dtype dtype)
{
    lk_status st = LK_OK;
    const int64_t id = which, alignment = 16, n = z->n_spatial + 2;
    const cudnnDataType_t type = dtype == LK_BF16 ? CUDNN_DATA_BFLOAT16 : CUDNN_DATA_FLOAT;
    DNN_TRY(dnn.cudnnBackendCreateDescriptor(CUDNN_BACKEND_TENSOR_DESCRIPTOR, d));
    LK_TRY(set(*d, CUDNN_ATTR_TENSOR_DATA_TYPE, CUDNN_TYPE_DATA_TYPE, 1, &type));
    LK_TRY(set(*d, CUDNN_ATTR_TENSOR_DIMENSIONS, CUDNN_TYPE_INT64, n, z->dim[which]));
    LK_TRY(set(*d, CUDNN_ATTR_TENSOR_STRIDES, CUDNN_TYPE_INT64, n, z->step[which]));
    LK_TRY(set(*d, CUDNN_ATTR_TENSOR_UNIQUE_ID, CUDNN_TYPE_INT64, 1, &id));
    LK_TRY(set(*d, CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, CUDNN_TYPE_INT64, 1, &alignment));
    DNN_TRY(dnn.cudnnBackendFinalize(*d));
done:
    return st;
}

static lk_status new_convolution(descriptor *d, const sizes *z)
{
    lk_status st = LK_OK;
    const cudnnDataType_t type = CUDNN_DATA_FLOAT;
    const cudnnConvolutionMode_t mode = CUDNN_CROSS_CORRELATION;
    const int64_t n = z->n_spatial;
    DNN_TRY(dnn.cudnnBackendCreateDescriptor(CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR, d));
    LK_TRY(set(*d, CUDNN_ATTR_CONVOLUTION_COMP_TYPE, CUDNN_TYPE_DATA_TYPE, 1, &type));
    LK_TRY(set(*d, CUDNN_ATTR_CONVOLUTION_CONV_MODE, CUDNN_TYPE_CONVOLUTION_MODE, 1, &mode));
    LK_TRY(set(*d, CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, CUDNN_TYPE_INT64, 1, &n));
    LK_TRY(set(*d, CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, CUDNN_TYPE_INT64, n, z->lo));
    LK_TRY(set(*d, CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, CUDNN_TYPE_INT64, n, z->hi));
    LK_TRY(set(*d, CUDNN_ATTR_CONVOLUTION_DILATIONS, CUDNN_TYPE_INT64, n, z->dilation));
    LK_TRY(set(*d, CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, CUDNN_TYPE_INT64, n, z->stride));
    DNN_TRY(dnn.cudnnBackendFinalize(*d));
done:
    return st;
}

/* The attribute names of the three operations: descriptor, convolution, X, W, Y, alpha, beta. */
typedef struct names {
    cudnnBackendDescriptorType_t type;
    cudnnBackendAttributeName_t convolution, tensor[3], alpha, beta;
} names;

static names names_of(lk_op op)
{
    if (op == LK_OP_CONV)
        return (names){CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR,
                       CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC,
                       {CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X,
                        CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W,
                        CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y},
                       CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA,
                       CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA};
    if (op == LK_OP_CONV_DX)
        return (names){CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR,
                       CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_CONV_DESC,
                       {CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DX,
                        CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_W,
                        CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DY},
                       CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_ALPHA,
                       CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_BETA};
    return (names){CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_FILTER_DESCRIPTOR,
                   CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_CONV_DESC,
                   {CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_X,
                    CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DW,
                    CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DY},
                   CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_ALPHA,
                   CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_BETA};
}

/* The tensors of a call as X, W, Y. */
static void operands(const lk_call *c, const lk_tensor **t)
{
    const lk_op op = c->node->op;
    t[X] = op == LK_OP_CONV_DX ? &c->out[0] : &c->in[0];
    t[W] = op == LK_OP_CONV_DW ? &c->out[0] : &c->in[1];
    t[Y] = op == LK_OP_CONV ? &c->out[0] : op == LK_OP_CONV_DX ? &c->in[0] : &c->in[1];
}

/* What an execution plan refers to; all of it lives as long as the plan. */
typedef struct made {
    descriptor tensor[3], convolution, operation, graph, engine_config, plan;
    int64_t work_bytes;
} made;

static void made_free(made **pm)
{
    made *m = *pm;
    if (!m)
        return;
    destroy(&m->plan);
    destroy(&m->engine_config);
    destroy(&m->graph);
    destroy(&m->operation);
    destroy(&m->convolution);
    for (int i = 0; i < 3; i++)
        destroy(&m->tensor[i]);
    lk_free(m);
    *pm = NULL;
}

/* Everything that needs no device: tensors, convolution, operation. */
static lk_status new_operation(made *m, const lk_call *c)
{
    lk_status st = LK_OK;
    const sizes z = sizes_of(c);
    const names n = names_of(c->node->op);
    const float one = 1, zero = 0;
    const lk_tensor *t[3];
    operands(c, t);
    for (int i = 0; i < 3; i++)
        LK_TRY(new_tensor(&m->tensor[i], &z, i, t[i]->dtype));
    LK_TRY(new_convolution(&m->convolution, &z));
    DNN_TRY(dnn.cudnnBackendCreateDescriptor(n.type, &m->operation));
    LK_TRY(set(m->operation, n.convolution, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &m->convolution));
    for (int i = 0; i < 3; i++)
        LK_TRY(set(m->operation, n.tensor[i], CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &m->tensor[i]));
    LK_TRY(set(m->operation, n.alpha, CUDNN_TYPE_FLOAT, 1, &one));
    LK_TRY(set(m->operation, n.beta, CUDNN_TYPE_FLOAT, 1, &zero));
    DNN_TRY(dnn.cudnnBackendFinalize(m->operation));
done:
    return st;
}

/* ---- the choice of an engine ---- */

/* Is this engine deterministic, and are its sums those of f32? */
static lk_status keeps_promises(descriptor config, int *keeps)
{
    lk_status st = LK_OK;
    descriptor engine = NULL;
    cudnnBackendNumericalNote_t notes[MAX_NOTES];
    int64_t n = 0;
    *keeps = 0;
    DNN_TRY(dnn.cudnnBackendCreateDescriptor(CUDNN_BACKEND_ENGINE_DESCRIPTOR, &engine));
    DNN_TRY(dnn.cudnnBackendGetAttribute(config, CUDNN_ATTR_ENGINECFG_ENGINE,
                                         CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &n, &engine));
    DNN_TRY(dnn.cudnnBackendGetAttribute(engine, CUDNN_ATTR_ENGINE_NUMERICAL_NOTE,
                                         CUDNN_TYPE_NUMERICAL_NOTE, MAX_NOTES, &n, notes));
    *keeps = 1;
    for (int64_t i = 0; i < n && i < MAX_NOTES; i++)
        if (notes[i] != CUDNN_NUMERICAL_NOTE_STRICT_NAN_PROP &&
            notes[i] != CUDNN_NUMERICAL_NOTE_TENSOR_CORE)
            *keeps = 0;
done:
    destroy(&engine);
    return st;
}

/* A plan from this configuration; *fits stays 0 when the engine declines. */
static lk_status try_plan(made *m, descriptor config, int *fits)
{
    lk_status st = LK_OK;
    int64_t n = 0;
    *fits = 0;
    DNN_TRY(dnn.cudnnBackendCreateDescriptor(CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR, &m->plan));
    LK_TRY(set(m->plan, CUDNN_ATTR_EXECUTION_PLAN_HANDLE, CUDNN_TYPE_HANDLE, 1, &dnn.handle));
    LK_TRY(set(m->plan, CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1,
               &config));
    if (dnn.cudnnBackendFinalize(m->plan) != CUDNN_STATUS_SUCCESS) {
        destroy(&m->plan);
        goto done;
    }
    DNN_TRY(dnn.cudnnBackendGetAttribute(m->plan, CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE,
                                         CUDNN_TYPE_INT64, 1, &n, &m->work_bytes));
    *fits = m->work_bytes <= MAX_WORK_BYTES;
    if (!*fits)
        destroy(&m->plan);
done:
    return st;
}

/* The first engine of this heuristic that will do; m->plan stays NULL when there is none. */
static lk_status search(made *m, cudnnBackendHeurMode_t mode)
{
    lk_status st = LK_OK;
    descriptor heuristic = NULL, offer[MAX_OFFERS] = {NULL};
    int64_t n = 0;
    DNN_TRY(dnn.cudnnBackendCreateDescriptor(CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR, &heuristic));
    LK_TRY(set(heuristic, CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1,
               &m->graph));
    LK_TRY(set(heuristic, CUDNN_ATTR_ENGINEHEUR_MODE, CUDNN_TYPE_HEUR_MODE, 1, &mode));
    if (dnn.cudnnBackendFinalize(heuristic) != CUDNN_STATUS_SUCCESS)
        goto done; /* it has nothing for these sizes */
    for (int i = 0; i < MAX_OFFERS; i++)
        DNN_TRY(dnn.cudnnBackendCreateDescriptor(CUDNN_BACKEND_ENGINECFG_DESCRIPTOR, &offer[i]));
    DNN_TRY(dnn.cudnnBackendGetAttribute(heuristic, CUDNN_ATTR_ENGINEHEUR_RESULTS,
                                         CUDNN_TYPE_BACKEND_DESCRIPTOR, MAX_OFFERS, &n, offer));
    for (int64_t i = 0; i < n && i < MAX_OFFERS && !m->plan; i++) {
        int keeps = 0, fits = 0;
        LK_TRY(keeps_promises(offer[i], &keeps));
        if (keeps)
            LK_TRY(try_plan(m, offer[i], &fits));
        if (fits) {
            m->engine_config = offer[i];
            offer[i] = NULL;
        }
    }
done:
    for (int i = 0; i < MAX_OFFERS; i++)
        destroy(&offer[i]);
    destroy(&heuristic);
    return st;
}

static lk_status choose(made *m, const lk_call *c)
{
    lk_status st = LK_OK;
    LK_TRY(new_operation(m, c));
    DNN_TRY(dnn.cudnnBackendCreateDescriptor(CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR, &m->graph));
    LK_TRY(set(m->graph, CUDNN_ATTR_OPERATIONGRAPH_HANDLE, CUDNN_TYPE_HANDLE, 1, &dnn.handle));
    LK_TRY(set(m->graph, CUDNN_ATTR_OPERATIONGRAPH_OPS, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1,
               &m->operation));
    if (dnn.cudnnBackendFinalize(m->graph) != CUDNN_STATUS_SUCCESS)
        goto done; /* not a convolution cuDNN knows: ours */
    LK_TRY(search(m, CUDNN_HEUR_MODE_A));
    if (!m->plan)
        LK_TRY(search(m, CUDNN_HEUR_MODE_FALLBACK));
done:
    return st;
}

/* ---- the kernels ---- */

static const lk_cuda_kernel *own(const lk_call *c)
{
    return c->node->op == LK_OP_CONV      ? &lk_cuda_own_conv
           : c->node->op == LK_OP_CONV_DX ? &lk_cuda_own_conv_dx
                                          : &lk_cuda_own_conv_dw;
}

static lk_status conv_prepare(lk_call *c, size_t *work_bytes)
{
    lk_status st = LK_OK;
    made *m = NULL;
    if (!lk_cuda_libraries_wanted() || lk_tensor_count(&c->in[0]) == 0 ||
        lk_tensor_count(&c->in[1]) == 0 || lk_tensor_count(&c->out[0]) == 0 ||
        c->in[0].dtype != LK_BF16 || c->in[1].dtype != LK_BF16 || !usable())
        return own(c)->prepare(c, work_bytes);
    LK_TRY(LK_NEW(&m));
    LK_TRY(choose(m, c));
    if (m->plan) {
        *work_bytes = (size_t)m->work_bytes;
        c->state = m;
        m = NULL;
    } else {
        LK_TRY(own(c)->prepare(c, work_bytes));
    }
done:
    made_free(&m);
    return st;
}

static void conv_release(lk_call *c)
{
    made *m = c->state;
    made_free(&m);
    c->state = NULL;
}

static lk_status conv_launch(const lk_call *c, lk_cuda_stream stream)
{
    lk_status st = LK_OK;
    const made *m = c->state;
    const int64_t ids[3] = {X, W, Y};
    const lk_tensor *t[3];
    void *data[3];
    descriptor pack = NULL;
    if (!m)
        return own(c)->launch(c, stream);
    operands(c, t);
    for (int i = 0; i < 3; i++)
        data[i] = t[i]->data;
    DNN_TRY(dnn.cudnnSetStream(dnn.handle, stream));
    DNN_TRY(dnn.cudnnBackendCreateDescriptor(CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR, &pack));
    LK_TRY(set(pack, CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, CUDNN_TYPE_INT64, 3, ids));
    LK_TRY(set(pack, CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, CUDNN_TYPE_VOID_PTR, 3, data));
    LK_TRY(set(pack, CUDNN_ATTR_VARIANT_PACK_WORKSPACE, CUDNN_TYPE_VOID_PTR, 1, &c->work));
    DNN_TRY(dnn.cudnnBackendFinalize(pack));
    DNN_TRY(dnn.cudnnBackendExecute(dnn.handle, m->plan, pack));
    if (c->node->op == LK_OP_CONV && c->in[2].data)
        LK_TRY(lk_cuda_add_bias(&c->out[0], c->in[2].data, stream));
done:
    destroy(&pack);
    return st;
}

const lk_cuda_kernel lk_cuda_conv = {conv_prepare, conv_release, conv_launch};
const lk_cuda_kernel lk_cuda_conv_dx = {conv_prepare, conv_release, conv_launch};
const lk_cuda_kernel lk_cuda_conv_dw = {conv_prepare, conv_release, conv_launch};

/* ---- for tests: as far as one comes without a device ---- */

lk_status lk_cuda_dnn_try(const lk_call *c)
{
    lk_status st = LK_OK;
    made *m = NULL;
    LK_TRY(lk_cuda_dnn_symbols());
    LK_TRY(LK_NEW(&m));
    LK_TRY(new_operation(m, c));
done:
    made_free(&m);
    return st;
}
