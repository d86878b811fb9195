/* backend.c - one GPU, one stream: memory, transfers, capture of whole graphs, and who is there.
 *
 * The runtime library is linked statically and looks for the driver when it is first called, so the
 * program starts on machines without one.
 *
 * A graph's first run launches its calls one by one, which lets the driver and the libraries load
 * what they need; its second is captured, and later ones are a single launch.  The step number,
 * which addresses the random numbers, lies in device memory and is set before each.
 *
 * Uploads go through two page-locked buffers in turn: the caller's memory is free again on return,
 * and a buffer waits for its own last transfer only.
 */
#include "kernels/cuda/cuda.h"
#include "kernels/cuda/libraries.h"

#include "kernels/mem.h"

#include <cuda_runtime_api.h>
#include <stdio.h>
#include <stdlib.h>

#define STAGING_BYTES ((size_t)4 << 20)
#define LEAST_MAJOR   8 /* compute capability the kernels are built for */

static struct {
    int tried;
    lk_status st;
    char why[256];                    /* st != LK_OK */
    char name[sizeof "cuda: " + 256]; /* "cuda: " and the device's */
    struct cudaDeviceProp properties;
    cudaStream_t stream;
    uint64_t *step;      /* on the device */
    int64_t *first_bad;  /* on the device */
    void *staging[2];    /* page-locked */
    cudaEvent_t sent[2]; /* the last transfer out of it */
    int next;
    lk_optim_piece *pieces; /* on the device, as sums */
    double *sums;
    int64_t cap_pieces;
} gpu;

lk_status lk_cuda_check(int error, const char *what)
{
    const char *text = cudaGetErrorString((cudaError_t)error);
    if (error == cudaSuccess)
        return LK_OK;
    (void)cudaGetLastError(); /* so that the next call does not report it again */
    if (error == cudaErrorMemoryAllocation)
        return LK_FAIL(LK_E_MEMORY,
                       "the GPU's memory is full (%s); use a smaller batch, or "
                       "checkpointed segments",
                       what);
    return LK_FAIL(LK_E_ENV, "the GPU failed at %s: %s", what, text);
}

#define CU_TRY(expr) LK_TRY(lk_cuda_check((int)(expr), #expr))

lk_status lk_cuda_launched(const char *kernel)
{
    return lk_cuda_check((int)cudaGetLastError(), kernel);
}

/* ---- memory ---- */

static lk_status gpu_zero(void *to, size_t bytes)
{
    lk_status st = LK_OK;
    CU_TRY(cudaMemsetAsync(to, 0, bytes, gpu.stream));
done:
    return st;
}

/* Out of the device's pool, in stream order; zero, like memory of the CPU backend. */
static lk_status gpu_alloc(size_t bytes, void **out)
{
    lk_status st = LK_OK;
    const size_t least = bytes ? bytes : 1;
    *out = NULL;
    CU_TRY(cudaMallocAsync(out, least, gpu.stream));
    LK_TRY(gpu_zero(*out, least));
done:
    return st;
}

static void gpu_free(void *p)
{
    if (p)
        (void)cudaFreeAsync(p, gpu.stream);
}

static lk_status gpu_upload(void *device, const void *host, size_t bytes)
{
    lk_status st = LK_OK;
    for (size_t at = 0; at < bytes; at += STAGING_BYTES) {
        const size_t n = bytes - at < STAGING_BYTES ? bytes - at : STAGING_BYTES;
        const int i = gpu.next;
        CU_TRY(cudaEventSynchronize(gpu.sent[i]));
        memcpy(gpu.staging[i], (const char *)host + at, n);
        CU_TRY(cudaMemcpyAsync((char *)device + at, gpu.staging[i], n, cudaMemcpyHostToDevice,
                               gpu.stream));
        CU_TRY(cudaEventRecord(gpu.sent[i], gpu.stream));
        gpu.next = 1 - i;
    }
done:
    return st;
}

static lk_status gpu_copy(void *to, const void *from, size_t bytes)
{
    lk_status st = LK_OK;
    CU_TRY(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, gpu.stream));
done:
    return st;
}

static lk_status gpu_wait(void)
{
    lk_status st = LK_OK;
    CU_TRY(cudaStreamSynchronize(gpu.stream));
done:
    return st;
}

static lk_status gpu_download(void *host, const void *device, size_t bytes)
{
    lk_status st = LK_OK;
    CU_TRY(cudaMemcpyAsync(host, device, bytes, cudaMemcpyDeviceToHost, gpu.stream));
    LK_TRY(gpu_wait());
done:
    return st;
}

/* ---- calls ---- */

/* What hangs on a call: the kernel's own state and, on the first call of what was run together,
 * the captured graph of all of them. */
typedef struct held {
    void *state;
    int n_runs;
    int n_calls; /* of the captured graph */
    cudaGraphExec_t captured;
} held;

static lk_status gpu_prepare(lk_call *c, size_t *work_bytes)
{
    lk_status st = LK_OK;
    const lk_cuda_kernel *k = lk_cuda_find(c->node->op);
    held *h = NULL;
    *work_bytes = 0;
    c->step = gpu.step;
    c->state = NULL;
    LK_TRY(lk_cuda_need(c->node->op));
    LK_TRY(LK_NEW(&h));
    if (k->prepare) {
        st = k->prepare(c, work_bytes);
        h->state = c->state;
    }
    c->state = h;
done:
    return st;
}

static void gpu_release(lk_call *c)
{
    const lk_cuda_kernel *k = lk_cuda_find(c->node->op);
    held *h = c->state;
    if (!h)
        return;
    if (h->captured)
        (void)cudaGraphExecDestroy(h->captured);
    c->state = h->state;
    if (k->release)
        k->release(c);
    c->state = NULL;
    lk_free(h);
}

static lk_status launch(const lk_call *c)
{
    const lk_cuda_kernel *k = lk_cuda_find(c->node->op);
    const held *h = c->state;
    lk_call own = *c;
    own.state = h->state;
    return k->launch ? k->launch(&own, gpu.stream) : LK_OK;
}

static lk_status capture(lk_call *calls, int n_calls, held *h)
{
    lk_status st = LK_OK;
    cudaGraph_t graph = NULL;
    int open = 0;
    if (h->captured)
        (void)cudaGraphExecDestroy(h->captured);
    h->captured = NULL;
    CU_TRY(cudaStreamBeginCapture(gpu.stream, cudaStreamCaptureModeThreadLocal));
    open = 1;
    for (int i = 0; i < n_calls; i++)
        LK_TRY(launch(&calls[i]));
    open = 0;
    CU_TRY(cudaStreamEndCapture(gpu.stream, &graph));
    CU_TRY(cudaGraphInstantiate(&h->captured, graph, 0));
    h->n_calls = n_calls;
done:
    if (open)
        (void)cudaStreamEndCapture(gpu.stream, &graph);
    if (graph)
        (void)cudaGraphDestroy(graph);
    return st;
}

static lk_status look_at(const lk_call *c)
{
    lk_status st = LK_OK;
    for (int i = 0; i < c->node->n_out; i++) {
        int64_t first = -1;
        char name[256];
        if (!c->out[i].data || c->out[i].dtype == LK_I32 || lk_may_be_infinite(c->node, i))
            continue;
        LK_TRY(lk_cuda_first_bad(&c->out[i], gpu.first_bad, gpu.stream));
        LK_TRY(gpu_download(&first, gpu.first_bad, sizeof first));
        LK_REQUIRE(first < 0, LK_E_NUMERIC, "%s holds a NaN or Inf (element %lld)",
                   lk_call_value_name(c, i, name, sizeof name), (long long)first);
    }
done:
    return st;
}

static lk_status gpu_run(lk_call *calls, int n_calls, int check)
{
    lk_status st = LK_OK;
    held *h;
    if (n_calls == 0)
        return LK_OK;
    h = calls[0].state;
    LK_TRY(lk_cuda_set_step(gpu.step, calls[0].graph->step, gpu.stream));
    if (check || h->n_runs == 0) {
        for (int i = 0; i < n_calls; i++) {
            LK_TRY(launch(&calls[i]));
            if (check)
                LK_TRY(look_at(&calls[i]));
        }
    } else {
        if (!h->captured || h->n_calls != n_calls)
            LK_TRY(capture(calls, n_calls, h));
        CU_TRY(cudaGraphLaunch(h->captured, gpu.stream));
    }
    h->n_runs++;
done:
    return st;
}

/* ---- the optimiser ---- */

/* The pieces and room for a double each, on the device. */
static lk_status send_pieces(const lk_optim_piece *pieces, int64_t n)
{
    lk_status st = LK_OK;
    if (gpu.cap_pieces < n) {
        gpu_free(gpu.pieces);
        gpu_free(gpu.sums);
        gpu.cap_pieces = 0;
        gpu.pieces = NULL;
        gpu.sums = NULL;
        LK_TRY(gpu_alloc((size_t)n * sizeof *pieces, (void **)&gpu.pieces));
        LK_TRY(gpu_alloc((size_t)n * sizeof(double), (void **)&gpu.sums));
        gpu.cap_pieces = n;
    }
    LK_TRY(gpu_upload(gpu.pieces, pieces, (size_t)n * sizeof *pieces));
done:
    return st;
}

static lk_status gpu_sum_squares(const lk_optim_piece *pieces, int64_t n, double *sums)
{
    lk_status st = LK_OK;
    LK_TRY(send_pieces(pieces, n));
    LK_TRY(lk_cuda_sum_squares(gpu.pieces, n, gpu.sums, gpu.stream));
    LK_TRY(gpu_download(sums, gpu.sums, (size_t)n * sizeof *sums));
done:
    return st;
}

static lk_status gpu_adamw(const lk_optim_piece *pieces, int64_t n, const lk_adamw_factors *f)
{
    lk_status st = LK_OK;
    LK_TRY(send_pieces(pieces, n));
    LK_TRY(lk_cuda_adamw(gpu.pieces, n, f, gpu.stream));
done:
    return st;
}

static const lk_optim_kernels optim = {gpu_sum_squares, gpu_adamw};

static const lk_backend backend = {
    "cuda",   0,        0,           gpu_alloc,   gpu_free, gpu_upload, gpu_download,
    gpu_zero, gpu_copy, gpu_prepare, gpu_release, gpu_run,  &optim,     gpu_wait};

/* ---- the device ---- */

static lk_status choose_device(void)
{
    lk_status st = LK_OK;
    const char *env = getenv("LK_CUDA_DEVICE");
    const int wanted = env ? atoi(env) : 0;
    int n = 0;
    const cudaError_t found = cudaGetDeviceCount(&n);
    (void)cudaGetLastError();
    LK_REQUIRE(found == cudaSuccess && n > 0, LK_E_ENV,
               "this machine has no NVIDIA GPU with a driver that works (%s); use the CPU",
               cudaGetErrorString(found == cudaSuccess ? cudaErrorNoDevice : found));
    LK_REQUIRE(wanted >= 0 && wanted < n, LK_E_ENV,
               "LK_CUDA_DEVICE is %s, but this machine's GPUs are 0 to %d", env, n - 1);
    CU_TRY(cudaSetDevice(wanted));
    CU_TRY(cudaGetDeviceProperties(&gpu.properties, wanted));
    LK_REQUIRE(gpu.properties.major >= LEAST_MAJOR, LK_E_ENV,
               "%s has compute capability %d.%d; %d.0 is needed", gpu.properties.name,
               gpu.properties.major, gpu.properties.minor, LEAST_MAJOR);
done:
    return st;
}

static lk_status open_device(void)
{
    lk_status st = LK_OK;
    cudaMemPool_t pool;
    uint64_t keep = UINT64_MAX;
    int device = 0;
    LK_TRY(choose_device());
    CU_TRY(cudaGetDevice(&device));
    CU_TRY(cudaStreamCreateWithFlags(&gpu.stream, cudaStreamNonBlocking));
    CU_TRY(cudaDeviceGetDefaultMemPool(&pool, device));
    CU_TRY(cudaMemPoolSetAttribute(pool, cudaMemPoolAttrReleaseThreshold, &keep));
    LK_TRY(gpu_alloc(sizeof *gpu.step, (void **)&gpu.step));
    LK_TRY(gpu_alloc(sizeof *gpu.first_bad, (void **)&gpu.first_bad));
    for (int i = 0; i < 2; i++) {
        CU_TRY(cudaHostAlloc(&gpu.staging[i], STAGING_BYTES, cudaHostAllocDefault));
        CU_TRY(cudaEventCreateWithFlags(&gpu.sent[i], cudaEventDisableTiming));
    }
    LK_TRY(gpu_wait());
done:
    return st;
}

lk_status lk_backend_cuda(const lk_backend **out)
{
    *out = NULL;
    if (!gpu.tried) {
        gpu.tried = 1;
        gpu.st = open_device();
        if (gpu.st != LK_OK) {
            snprintf(gpu.why, sizeof gpu.why, "%s", lk_error_text());
            return gpu.st;
        }
        snprintf(gpu.name, sizeof gpu.name, "cuda: %s", gpu.properties.name);
    }
    if (gpu.st != LK_OK)
        return LK_FAIL(gpu.st, "%s", gpu.why);
    *out = &backend;
    return LK_OK;
}

const char *lk_cuda_device(void)
{
    return gpu.name[0] ? gpu.name : "cuda";
}

void lk_cuda_describe(void (*line)(void *user, const char *text), void *user)
{
    const lk_backend *b;
    char text[512];
    if (lk_backend_cuda(&b) != LK_OK) {
        line(user, lk_error_text());
        lk_error_clear();
        return;
    }
    snprintf(text, sizeof text, "%s, compute capability %d.%d, %.0f GiB", gpu.properties.name,
             gpu.properties.major, gpu.properties.minor,
             (double)gpu.properties.totalGlobalMem / 1073741824.0);
    line(user, text);
    line(user, lk_cuda_blas_text());
    line(user, lk_cuda_dnn_text());
}
