/* blas.c - MATMUL by cuBLASLt; see kernels/ops/matmul.c for what it is.
 *
 * cuBLASLt counts columns first, so it is asked for y^T = op(b)^T op(a)^T, whose operands are b and
 * a as they lie.  f32 is computed in f32 (no TF32), bf16 accumulates in f32.  The algorithm is the
 * heuristic's first for the sizes, among those that add their parts in fixed order.  Bias and
 * activation go into the product where the library can, and through our own kernels otherwise.
 */
#include "kernels/cuda/libraries.h"

#include "kernels/mem.h"
#include "kernels/ops/ops_impl.h"

#include <cublasLt.h>
#include <dlfcn.h>
#include <stdio.h>

#define MAX_WORK_BYTES ((size_t)32 << 20)
#define ALIGNMENT      64u /* of every tensor and work space */

#define FUNCTIONS(X)                                                                               \
    X(cublasLtCreate)                                                                              \
    X(cublasLtGetVersion)                                                                          \
    X(cublasLtGetStatusString)                                                                     \
    X(cublasLtMatmul)                                                                              \
    X(cublasLtMatmulDescCreate)                                                                    \
    X(cublasLtMatmulDescDestroy)                                                                   \
    X(cublasLtMatmulDescSetAttribute)                                                              \
    X(cublasLtMatrixLayoutCreate)                                                                  \
    X(cublasLtMatrixLayoutDestroy)                                                                 \
    X(cublasLtMatrixLayoutSetAttribute)                                                            \
    X(cublasLtMatmulPreferenceCreate)                                                              \
    X(cublasLtMatmulPreferenceDestroy)                                                             \
    X(cublasLtMatmulPreferenceSetAttribute)                                                        \
    X(cublasLtMatmulAlgoGetHeuristic)

static struct {
    int tried, usable;
    cublasLtHandle_t handle;
#define FIELD(name) __typeof__(&name) name;
    FUNCTIONS(FIELD)
#undef FIELD
} blas;

#define TEXT_(x) #x
#define TEXT(x)  TEXT_(x)
#define LIBRARY  "libcublasLt.so." TEXT(CUBLAS_VER_MAJOR)

lk_status lk_cuda_blas_symbols(void)
{
    lk_status st = LK_OK;
    void *library = lk_cuda_open_library(LIBRARY);
    LK_REQUIRE(library, LK_E_ENV, "%s is not installed; products use slower kernels", LIBRARY);
#define FIND(name)                                                                                 \
    *(void **)&blas.name = dlsym(library, #name);                                                  \
    LK_REQUIRE(blas.name, LK_E_ENV, "%s lacks %s", LIBRARY, #name);
    FUNCTIONS(FIND)
#undef FIND
done:
    return st;
}

static int usable(void)
{
    if (!blas.tried) {
        blas.tried = 1;
        if (lk_cuda_blas_symbols() != LK_OK)
            lk_error_clear();
        else
            blas.usable = blas.cublasLtCreate(&blas.handle) == CUBLAS_STATUS_SUCCESS;
    }
    return blas.usable;
}

const char *lk_cuda_blas_text(void)
{
    static char text[128];
    if (usable())
        snprintf(text, sizeof text, "cuBLASLt %zu", blas.cublasLtGetVersion());
    else
        snprintf(text, sizeof text, "no %s: products use our own, slower kernels", LIBRARY);
    return text;
}

static lk_status check(cublasStatus_t status, const char *what)
{
    if (status == CUBLAS_STATUS_SUCCESS)
        return LK_OK;
    return LK_FAIL(LK_E_ENV, "cuBLASLt failed at %s: %s", what,
                   blas.cublasLtGetStatusString(status));
}
#define BLAS_TRY(expr) LK_TRY(check((expr), #expr))

/* A product made ready; left is b, right is a. */
typedef struct made {
    cublasLtMatmulDesc_t op;
    cublasLtMatrixLayout_t left, right, out;
    cublasLtMatmulHeuristicResult_t found;
    int with_bias, with_act;
} made;

static void made_free(made **pm)
{
    made *m = *pm;
    if (!m)
        return;
    if (m->op)
        blas.cublasLtMatmulDescDestroy(m->op);
    if (m->left)
        blas.cublasLtMatrixLayoutDestroy(m->left);
    if (m->right)
        blas.cublasLtMatrixLayoutDestroy(m->right);
    if (m->out)
        blas.cublasLtMatrixLayoutDestroy(m->out);
    lk_free(m);
    *pm = NULL;
}

static cudaDataType_t type_of(lk_dtype t)
{
    return t == LK_BF16 ? CUDA_R_16BF : CUDA_R_32F;
}

/* n_batch matrices of columns `cols` of length `rows`, one behind another. */
static lk_status new_layout(cublasLtMatrixLayout_t *l, lk_dtype t, int64_t rows, int64_t cols,
                            int64_t n_batch)
{
    lk_status st = LK_OK;
    const int32_t n = (int32_t)n_batch;
    const int64_t step = rows * cols;
    BLAS_TRY(blas.cublasLtMatrixLayoutCreate(l, type_of(t), (uint64_t)rows, (uint64_t)cols, rows));
    BLAS_TRY(blas.cublasLtMatrixLayoutSetAttribute(*l, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, &n,
                                                   sizeof n));
    BLAS_TRY(blas.cublasLtMatrixLayoutSetAttribute(*l, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET,
                                                   &step, sizeof step));
done:
    return st;
}

/* The library's name for what comes behind the product; 0 when it has none. */
static uint32_t epilogue_of(const lk_call *c, int with_bias, int with_act)
{
    const lk_unary_kind act = c->node->attr.matmul.act;
    if (!with_act)
        return with_bias ? CUBLASLT_EPILOGUE_BIAS : CUBLASLT_EPILOGUE_DEFAULT;
    if (act == LK_RELU)
        return with_bias ? CUBLASLT_EPILOGUE_RELU_BIAS : CUBLASLT_EPILOGUE_RELU;
    if (act == LK_GELU_TANH)
        return with_bias ? CUBLASLT_EPILOGUE_GELU_BIAS : CUBLASLT_EPILOGUE_GELU;
    return 0;
}

/* Ask for an algorithm; m->found.algo is valid when *n_found is 1. */
static lk_status search(made *m, uint32_t epilogue, int with_bias, int *n_found)
{
    lk_status st = LK_OK;
    cublasLtMatmulPreference_t p = NULL;
    const uint32_t in_order = CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE, align = ALIGNMENT;
    const size_t most = MAX_WORK_BYTES;
    const int32_t bias_type = CUDA_R_32F;
    const void *bias = (const void *)(uintptr_t)ALIGNMENT; /* for its alignment alone */
    const cublasLtMatmulPreferenceAttributes_t aligned[] = {
        CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
        CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES};
    *n_found = 0;
    BLAS_TRY(blas.cublasLtMatmulDescSetAttribute(m->op, CUBLASLT_MATMUL_DESC_EPILOGUE, &epilogue,
                                                 sizeof epilogue));
    if (with_bias) {
        BLAS_TRY(blas.cublasLtMatmulDescSetAttribute(m->op, CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE,
                                                     &bias_type, sizeof bias_type));
        BLAS_TRY(blas.cublasLtMatmulDescSetAttribute(m->op, CUBLASLT_MATMUL_DESC_BIAS_POINTER,
                                                     &bias, sizeof bias));
    }
    BLAS_TRY(blas.cublasLtMatmulPreferenceCreate(&p));
    BLAS_TRY(blas.cublasLtMatmulPreferenceSetAttribute(p, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
                                                       &most, sizeof most));
    BLAS_TRY(blas.cublasLtMatmulPreferenceSetAttribute(
        p, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, &in_order, sizeof in_order));
    for (int i = 0; i < 4; i++)
        BLAS_TRY(blas.cublasLtMatmulPreferenceSetAttribute(p, aligned[i], &align, sizeof align));
    /* a refusal is an answer: another epilogue is tried, or our own kernel */
    if (blas.cublasLtMatmulAlgoGetHeuristic(blas.handle, m->op, m->left, m->right, m->out, m->out,
                                            p, 1, &m->found, n_found) != CUBLAS_STATUS_SUCCESS ||
        (*n_found && m->found.state != CUBLAS_STATUS_SUCCESS))
        *n_found = 0;
done:
    if (p)
        blas.cublasLtMatmulPreferenceDestroy(p);
    return st;
}

/* A description with nothing behind the product: what an earlier one said of a bias would make the
 * library refuse products without. */
static lk_status new_product(made *m, const lk_call *c)
{
    lk_status st = LK_OK;
    const cublasOperation_t left = c->node->attr.matmul.trans_b ? CUBLAS_OP_T : CUBLAS_OP_N;
    const cublasOperation_t right = c->node->attr.matmul.trans_a ? CUBLAS_OP_T : CUBLAS_OP_N;
    if (m->op)
        blas.cublasLtMatmulDescDestroy(m->op);
    m->op = NULL;
    BLAS_TRY(blas.cublasLtMatmulDescCreate(&m->op, CUBLAS_COMPUTE_32F, CUDA_R_32F));
    BLAS_TRY(blas.cublasLtMatmulDescSetAttribute(m->op, CUBLASLT_MATMUL_DESC_TRANSA, &left,
                                                 sizeof left));
    BLAS_TRY(blas.cublasLtMatmulDescSetAttribute(m->op, CUBLASLT_MATMUL_DESC_TRANSB, &right,
                                                 sizeof right));
done:
    return st;
}

/* As much behind the product as the library takes: beside numbers in bf16, no bias in f32. */
static lk_status choose(made *m, const lk_call *c, int *n_found)
{
    lk_status st = LK_OK;
    const int wants_bias = lk_has(c, 2), act = c->node->attr.matmul.has_act;
    const int bias = wants_bias && c->out[0].dtype == LK_F32;
    const int tries[3][2] = {{bias, act && bias == wants_bias}, {bias, 0}, {0, 0}};
    *n_found = 0;
    for (int i = 0; i < 3 && !*n_found; i++) {
        const uint32_t epilogue = epilogue_of(c, tries[i][0], tries[i][1]);
        m->with_bias = tries[i][0];
        m->with_act = tries[i][1];
        LK_TRY(new_product(m, c));
        if (epilogue)
            LK_TRY(search(m, epilogue, m->with_bias, n_found));
    }
done:
    return st;
}

static lk_status matmul_prepare(lk_call *c, size_t *work_bytes)
{
    lk_status st = LK_OK;
    const lk_product p = lk_product_of(c);
    const int ta = c->node->attr.matmul.trans_a, tb = c->node->attr.matmul.trans_b;
    const lk_dtype in = c->in[0].dtype;
    made *m = NULL;
    int n_found = 0;
    if (!lk_cuda_libraries_wanted() || p.n_batch == 0 || p.m == 0 || p.n == 0 || p.k == 0 ||
        !usable())
        return lk_cuda_own_matmul.prepare(c, work_bytes);
    LK_TRY(LK_NEW(&m));
    LK_TRY(new_layout(&m->left, in, tb ? p.k : p.n, tb ? p.n : p.k, p.n_batch));
    LK_TRY(new_layout(&m->right, in, ta ? p.m : p.k, ta ? p.k : p.m, p.n_batch));
    LK_TRY(new_layout(&m->out, c->out[0].dtype, p.n, p.m, p.n_batch));
    LK_TRY(choose(m, c, &n_found));
    if (n_found) {
        *work_bytes = m->found.workspaceSize;
        c->state = m;
        m = NULL;
    } else {
        LK_TRY(lk_cuda_own_matmul.prepare(c, work_bytes));
    }
done:
    made_free(&m);
    return st;
}

static void matmul_release(lk_call *c)
{
    made *m = c->state;
    made_free(&m);
    c->state = NULL;
}

static lk_status matmul_launch(const lk_call *c, lk_cuda_stream stream)
{
    lk_status st = LK_OK;
    const float one = 1, zero = 0;
    const made *m = c->state;
    const void *bias = c->in[2].data;
    if (!m)
        return lk_cuda_own_matmul.launch(c, stream);
    if (m->with_bias)
        BLAS_TRY(blas.cublasLtMatmulDescSetAttribute(m->op, CUBLASLT_MATMUL_DESC_BIAS_POINTER,
                                                     &bias, sizeof bias));
    BLAS_TRY(blas.cublasLtMatmul(blas.handle, m->op, &one, c->in[1].data, m->left, c->in[0].data,
                                 m->right, &zero, c->out[0].data, m->out, c->out[0].data, m->out,
                                 &m->found.algo, c->work, m->found.workspaceSize, stream));
    if (bias && !m->with_bias)
        LK_TRY(lk_cuda_add_bias(&c->out[0], bias, stream));
    if (c->node->attr.matmul.has_act && !m->with_act)
        LK_TRY(lk_cuda_unary_in_place(&c->out[0], c->node->attr.matmul.act,
                                      c->node->attr.matmul.act_a, stream));
done:
    return st;
}

const lk_cuda_kernel lk_cuda_matmul = {matmul_prepare, matmul_release, matmul_launch};
