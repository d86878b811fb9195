/* backend.c - our CUDA kernels as a backend on the CPU, through the emulator (emu.h).
 *
 * Each launch sees copies of its tensors in buffers of exactly their size, so that the address
 * sanitizer finds an access one element outside, and results and work space full of NaNs, so that
 * an element nobody writes shows.
 *
 * Addresses it hands out lie where a processor cannot read, as a GPU's do: code that takes them for
 * the host's falls.
 */
#include "kernels/cuda/cuda.h"

#include "kernels/mem.h"

#if defined(__SANITIZE_ADDRESS__)
#define LK_EMU_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define LK_EMU_ASAN 1
#endif
#endif
#ifdef LK_EMU_ASAN
#include <sanitizer/asan_interface.h>
#endif

#define SLACK 64 /* lk_alloc_ rounds up; what is behind the last byte is closed */

static lk_status new_buffer(size_t bytes, void **out)
{
    const lk_status st = lk_alloc_(bytes + SLACK, 1, out);
#ifdef LK_EMU_ASAN
    if (st == LK_OK)
        ASAN_POISON_MEMORY_REGION((char *)*out + bytes, SLACK);
#endif
    return st;
}

static void free_buffer(void *p, size_t bytes)
{
#ifdef LK_EMU_ASAN
    if (p)
        ASAN_UNPOISON_MEMORY_REGION((char *)p + bytes, SLACK);
#endif
    (void)bytes;
    lk_free(p);
}

#define AWAY ((uintptr_t)1 << 60)

/* A device's address, and the host's behind it; NULL is nowhere. */
static void *there(const void *p)
{
    return p ? (void *)((uintptr_t)p + AWAY) : NULL;
}

static void *here(const void *p)
{
    return p ? (void *)((uintptr_t)p - AWAY) : NULL;
}

static lk_status emu_alloc(size_t bytes, void **out)
{
    const lk_status st = lk_alloc_(bytes, 1, out);
    *out = there(*out);
    return st;
}

static void emu_free(void *p)
{
    lk_free(here(p));
}

static lk_status emu_upload(void *to, const void *from, size_t bytes)
{
    memcpy(here(to), from, bytes);
    return LK_OK;
}

static lk_status emu_download(void *to, const void *from, size_t bytes)
{
    memcpy(to, here(from), bytes);
    return LK_OK;
}

static lk_status emu_zero(void *to, size_t bytes)
{
    memset(here(to), 0, bytes);
    return LK_OK;
}

static lk_status emu_copy(void *to, const void *from, size_t bytes)
{
    memmove(here(to), here(from), bytes);
    return LK_OK;
}

static lk_call call_here(const lk_call *c)
{
    lk_call own = *c;
    for (int i = 0; i < LK_MAX_IN; i++)
        own.in[i].data = here(own.in[i].data);
    for (int i = 0; i < LK_MAX_OUT; i++)
        own.out[i].data = here(own.out[i].data);
    own.work = here(own.work);
    return own;
}

/* What prepare found; the kernels' own state stays in the call. */
static lk_status emu_prepare(lk_call *c, size_t *work_bytes)
{
    const lk_cuda_kernel *k = lk_emu_find(c->node->op);
    lk_status st = LK_OK;
    *work_bytes = 0;
    LK_TRY(lk_emu_need(c->node->op));
    if (k->prepare)
        LK_TRY(k->prepare(c, work_bytes));
done:
    return st;
}

static void emu_release(lk_call *c)
{
    const lk_cuda_kernel *k = lk_emu_find(c->node->op);
    if (k && k->release)
        k->release(c);
    c->state = NULL;
}

/* A call whose tensors lie in buffers of their own. */
typedef struct apart {
    lk_call call;
    void *in[LK_MAX_IN], *out[LK_MAX_OUT], *work;
    size_t work_bytes;
} apart;

/* An output in the place of an input stays so. */
static int shared_with(const lk_call *c, int out)
{
    for (int i = 0; i < c->node->n_in; i++)
        if (c->in[i].data && c->in[i].data == c->out[out].data &&
            lk_tensor_bytes(&c->in[i]) == lk_tensor_bytes(&c->out[out]))
            return i;
    return -1;
}

static lk_status take_apart(const lk_call *c, apart *a)
{
    lk_status st = LK_OK;
    lk_call sized = *c;
    *a = (apart){.call = *c};
    LK_TRY(emu_prepare(&sized, &a->work_bytes));
    LK_TRY(new_buffer(a->work_bytes, &a->work));
    memset(a->work, 0xff, a->work_bytes);
    a->call.work = a->work;
    for (int i = 0; i < c->node->n_in; i++)
        if (c->in[i].data) {
            const size_t bytes = lk_tensor_bytes(&c->in[i]);
            LK_TRY(new_buffer(bytes, &a->in[i]));
            memcpy(a->in[i], c->in[i].data, bytes);
            a->call.in[i].data = a->in[i];
        }
    for (int i = 0; i < c->node->n_out; i++)
        if (c->out[i].data) {
            const size_t bytes = lk_tensor_bytes(&c->out[i]);
            const int with = shared_with(c, i);
            if (with >= 0) {
                a->call.out[i].data = a->in[with];
                continue;
            }
            LK_TRY(new_buffer(bytes, &a->out[i]));
            if (c->node->op == LK_OP_PARAM_GRAD) /* may add to what is there */
                memcpy(a->out[i], c->out[i].data, bytes);
            else
                memset(a->out[i], 0xff, bytes);
            a->call.out[i].data = a->out[i];
        }
done:
    return st;
}

static void put_back(const lk_call *c, apart *a, int ran)
{
    for (int i = 0; i < c->node->n_out; i++)
        if (ran && c->out[i].data)
            memcpy(c->out[i].data, a->call.out[i].data, lk_tensor_bytes(&c->out[i]));
    for (int i = 0; i < c->node->n_in; i++)
        free_buffer(a->in[i], lk_tensor_bytes(&c->in[i]));
    for (int i = 0; i < c->node->n_out; i++)
        free_buffer(a->out[i], lk_tensor_bytes(&c->out[i]));
    free_buffer(a->work, a->work_bytes);
}

static lk_status look_at(const lk_call *c)
{
    lk_status st = LK_OK;
    for (int i = 0; i < c->node->n_out; i++) {
        int64_t first = -1;
        char name[256];
        if (!c->out[i].data || c->out[i].dtype == LK_I32 || lk_may_be_infinite(c->node, i))
            continue;
        LK_TRY(lk_emu_first_bad(&c->out[i], &first, NULL));
        LK_REQUIRE(first < 0, LK_E_NUMERIC, "%s holds a NaN or Inf (element %lld)",
                   lk_call_value_name(c, i, name, sizeof name), (long long)first);
    }
done:
    return st;
}

static lk_status emu_run(lk_call *calls, int n_calls, int check)
{
    lk_status st = LK_OK;
    for (int i = 0; i < n_calls; i++) {
        const lk_cuda_kernel *k = lk_emu_find(calls[i].node->op);
        const lk_call c = call_here(&calls[i]);
        apart a;
        if (!k->launch)
            continue;
        st = take_apart(&c, &a);
        if (st == LK_OK)
            st = k->launch(&a.call, NULL);
        put_back(&c, &a, st == LK_OK);
        LK_TRY(st);
        if (check)
            LK_TRY(look_at(&c));
    }
done:
    return st;
}

static lk_status pieces_here(const lk_optim_piece *pieces, int64_t n, lk_optim_piece **out)
{
    lk_status st = LK_OK;
    LK_TRY(LK_NEW_ARRAY(out, n));
    for (int64_t i = 0; i < n; i++)
        (*out)[i] = (lk_optim_piece){.value = here(pieces[i].value),
                                     .grad = here(pieces[i].grad),
                                     .moment1 = here(pieces[i].moment1),
                                     .moment2 = here(pieces[i].moment2),
                                     .average = here(pieces[i].average),
                                     .n = pieces[i].n,
                                     .decays = pieces[i].decays};
done:
    return st;
}

static lk_status emu_sum_squares(const lk_optim_piece *pieces, int64_t n, double *sums)
{
    lk_status st = LK_OK;
    lk_optim_piece *own = NULL;
    LK_TRY(pieces_here(pieces, n, &own));
    LK_TRY(lk_emu_sum_squares(own, n, sums, NULL));
done:
    lk_free(own);
    return st;
}

static lk_status emu_adamw(const lk_optim_piece *pieces, int64_t n, const lk_adamw_factors *f)
{
    lk_status st = LK_OK;
    lk_optim_piece *own = NULL;
    LK_TRY(pieces_here(pieces, n, &own));
    LK_TRY(lk_emu_adamw(own, n, f, NULL));
done:
    lk_free(own);
    return st;
}

static const lk_optim_kernels optim = {emu_sum_squares, emu_adamw};

static const lk_backend emulated = {
    "cuda emulated", 0,        0,           emu_alloc,   emu_free, emu_upload, emu_download,
    emu_zero,        emu_copy, emu_prepare, emu_release, emu_run,  &optim,     NULL};

const lk_backend *lk_backend_emulated(void)
{
    return &emulated;
}

int lk_backend_emulated_has(lk_op op)
{
    return lk_emu_find(op) != NULL;
}
