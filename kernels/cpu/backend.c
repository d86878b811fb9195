/* backend.c - the CPU backend: memory, choice of instruction set, sharing out of work. */
#include "kernels/cpu/cpu.h"

#include "kernels/cpu/vec_table.h"
#include "kernels/optim_impl.h"

#include "kernels/mem.h"
#include "kernels/thread.h"

#include <math.h>
#include <stdlib.h>

/* Kernels compiled once; kernels compiled per level. */
#define LK_CPU_IF_ONE_ONE(...) __VA_ARGS__
#define LK_CPU_IF_ONE_VEC(...)
#define LK_CPU_IF_VEC_ONE(...)
#define LK_CPU_IF_VEC_VEC(...)   __VA_ARGS__
#define LK_OP(upper, lower, cpu) LK_CPU_IF_ONE_##cpu(extern const lk_cpu_kernel lk_cpu_##lower;)
#include "kernels/ops.def"
#undef LK_OP
#define LK_OP(upper, lower, cpu)                                                                   \
    LK_CPU_IF_VEC_##cpu(extern const lk_cpu_kernel lk_cpu_##lower##_base;)
#include "kernels/ops.def"
#undef LK_OP

#define LK_OP(upper, lower, cpu)                                                                   \
    LK_CPU_IF_ONE_##cpu([LK_OP_##upper] = &lk_cpu_##lower, )                                       \
        LK_CPU_IF_VEC_##cpu([LK_OP_##upper] = &lk_cpu_##lower##_base, )
static const lk_cpu_kernel *const base_table[LK_N_OPS] = {
#include "kernels/ops.def"
};
#undef LK_OP

#ifdef LK_CPU_X86_LEVELS
#define LK_OP(upper, lower, cpu)                                                                   \
    LK_CPU_IF_VEC_##cpu(extern const lk_cpu_kernel lk_cpu_##lower##_avx2;)                         \
        LK_CPU_IF_VEC_##cpu(extern const lk_cpu_kernel lk_cpu_##lower##_avx512;)                   \
            LK_CPU_IF_VEC_##cpu(extern const lk_cpu_kernel lk_cpu_##lower##_avx512bf16;)
#include "kernels/ops.def"
#undef LK_OP
#define LK_OP(upper, lower, cpu)                                                                   \
    LK_CPU_IF_ONE_##cpu([LK_OP_##upper] = &lk_cpu_##lower, )                                       \
        LK_CPU_IF_VEC_##cpu([LK_OP_##upper] = &lk_cpu_##lower##_avx2, )
static const lk_cpu_kernel *const avx2_table[LK_N_OPS] = {
#include "kernels/ops.def"
};
#undef LK_OP
#define LK_OP(upper, lower, cpu)                                                                   \
    LK_CPU_IF_ONE_##cpu([LK_OP_##upper] = &lk_cpu_##lower, )                                       \
        LK_CPU_IF_VEC_##cpu([LK_OP_##upper] = &lk_cpu_##lower##_avx512, )
static const lk_cpu_kernel *const avx512_table[LK_N_OPS] = {
#include "kernels/ops.def"
};
#undef LK_OP
#define LK_OP(upper, lower, cpu)                                                                   \
    LK_CPU_IF_ONE_##cpu([LK_OP_##upper] = &lk_cpu_##lower, )                                       \
        LK_CPU_IF_VEC_##cpu([LK_OP_##upper] = &lk_cpu_##lower##_avx512bf16, )
static const lk_cpu_kernel *const avx512bf16_table[LK_N_OPS] = {
#include "kernels/ops.def"
};
#undef LK_OP
#endif

static const char *const level_names[LK_N_CPU_LEVELS] = {"base", "avx2", "avx512", "avx512bf16"};
static int level_in_use = -1;

static int machine_has(lk_cpu_level level)
{
    if (level == LK_CPU_BASE)
        return 1;
#ifdef LK_CPU_X86_LEVELS
    if (level == LK_CPU_AVX2)
        return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
               __builtin_cpu_supports("bmi2");
    if (level == LK_CPU_AVX512_BF16)
        return __builtin_cpu_supports("avx512bf16") && machine_has(LK_CPU_AVX512);
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
           machine_has(LK_CPU_AVX2);
#else
    return 0;
#endif
}

const char *lk_cpu_level_name(lk_cpu_level level)
{
    return (unsigned)level < LK_N_CPU_LEVELS ? level_names[level] : "?";
}

lk_cpu_level lk_cpu_level_best(void)
{
    const char *env = getenv("LK_CPU_LEVEL");
    int level = LK_N_CPU_LEVELS - 1;
    while (level > 0 && !machine_has((lk_cpu_level)level))
        level--;
    for (int i = 0; env && i < level; i++)
        if (strcmp(env, level_names[i]) == 0)
            level = i;
    return (lk_cpu_level)level;
}

lk_status lk_cpu_level_set(lk_cpu_level level)
{
    lk_status st = LK_OK;
    LK_REQUIRE(machine_has(level), LK_E_ENV, "this machine does not run %s code",
               lk_cpu_level_name(level));
    level_in_use = (int)level;
done:
    return st;
}

lk_cpu_level lk_cpu_level_now(void)
{
    if (level_in_use < 0)
        level_in_use = (int)lk_cpu_level_best();
    return (lk_cpu_level)level_in_use;
}

const lk_cpu_kernel *lk_cpu_find(lk_op op)
{
#ifdef LK_CPU_X86_LEVELS
    if (lk_cpu_level_now() == LK_CPU_AVX512_BF16)
        return avx512bf16_table[op];
    if (lk_cpu_level_now() == LK_CPU_AVX512)
        return avx512_table[op];
    if (lk_cpu_level_now() == LK_CPU_AVX2)
        return avx2_table[op];
#endif
    return base_table[op];
}

extern const lk_vec_table lk_vec_functions_base;
#ifdef LK_CPU_X86_LEVELS
extern const lk_vec_table lk_vec_functions_avx2, lk_vec_functions_avx512;
extern const lk_vec_table lk_vec_functions_avx512bf16;
#endif

const lk_vec_table *lk_vec_now(void)
{
#ifdef LK_CPU_X86_LEVELS
    if (lk_cpu_level_now() == LK_CPU_AVX512_BF16)
        return &lk_vec_functions_avx512bf16;
    if (lk_cpu_level_now() == LK_CPU_AVX512)
        return &lk_vec_functions_avx512;
    if (lk_cpu_level_now() == LK_CPU_AVX2)
        return &lk_vec_functions_avx2;
#endif
    return &lk_vec_functions_base;
}

static int onednn_off;

int lk_cpu_has_onednn(void)
{
#ifdef LK_CPU_ONEDNN
    return !onednn_off;
#else
    return 0;
#endif
}

void lk_cpu_use_onednn(int use)
{
    onednn_off = !use;
}

static lk_status cpu_alloc(size_t bytes, void **out)
{
    return lk_alloc_(bytes, 1, out);
}

static lk_status cpu_copy(void *to, const void *from, size_t bytes)
{
    memcpy(to, from, bytes);
    return LK_OK;
}

static lk_status cpu_zero(void *to, size_t bytes)
{
    memset(to, 0, bytes);
    return LK_OK;
}

static lk_status cpu_prepare(lk_call *c, size_t *work_bytes)
{
    const lk_cpu_kernel *k = lk_cpu_find(c->node->op);
    *work_bytes = 0;
    return k->prepare ? k->prepare(c, work_bytes) : LK_OK;
}

static void cpu_release(lk_call *c)
{
    const lk_cpu_kernel *k = lk_cpu_find(c->node->op);
    if (k->release)
        k->release(c);
    c->state = NULL;
}

typedef struct shared {
    const lk_call *call;
    void (*range)(const lk_call *c, int64_t first, int64_t end);
    int64_t first; /* unit */
} shared;

static void run_range(void *context, int64_t first, int64_t end)
{
    const shared *s = context;
    s->range(s->call, s->first + first, s->first + end);
}

/* Below this much traffic a second thread costs more than it brings. */
#define SMALL_BYTES 65536

static int64_t traffic(const lk_call *c)
{
    int64_t bytes = 0;
    for (int i = 0; i < c->node->n_in; i++)
        bytes += c->in[i].data ? (int64_t)lk_tensor_bytes(&c->in[i]) : 0;
    for (int i = 0; i < c->node->n_out; i++)
        bytes += c->out[i].data ? (int64_t)lk_tensor_bytes(&c->out[i]) : 0;
    return bytes;
}

static lk_status look_at(const lk_call *c)
{
    lk_status st = LK_OK;
    for (int i = 0; i < c->node->n_out; i++) {
        const lk_tensor *t = &c->out[i];
        char name[256];
        if (!t->data || t->dtype == LK_I32 || lk_may_be_infinite(c->node, i))
            continue;
        for (int64_t j = 0; j < lk_tensor_count(t); j++)
            LK_REQUIRE(isfinite(lk_element(t->dtype, t->data, j)), LK_E_NUMERIC,
                       "%s holds a NaN or Inf (element %lld)",
                       lk_call_value_name(c, i, name, sizeof name), (long long)j);
    }
done:
    return st;
}

static void run_phases(const lk_call *c, const lk_cpu_kernel *k)
{
    const int64_t n_sections = k->sections ? k->sections(c) : 1;
    const int small = traffic(c) < SMALL_BYTES;
    for (int64_t i = 0; i < n_sections; i++)
        for (int p = 0; p < 3 && k->phase[p].range; p++) {
            const int64_t n = k->phase[p].units(c) / n_sections;
            shared s = {c, k->phase[p].range, i * n};
            lk_parallel_for(n, small ? n : 1, run_range, &s);
        }
}

static lk_status cpu_run(lk_call *calls, int n_calls, int check)
{
    lk_status st = LK_OK;
    for (int i = 0; i < n_calls; i++) {
        const lk_call *c = &calls[i];
        const lk_cpu_kernel *k = lk_cpu_find(c->node->op);
        if (k->whole)
            LK_TRY(k->whole(c));
        else
            run_phases(c, k);
        if (check)
            LK_TRY(look_at(c));
    }
done:
    return st;
}

static const lk_backend cpu = {
    "cpu",    1,        0,           cpu_alloc,   lk_free, cpu_copy,      cpu_copy,
    cpu_zero, cpu_copy, cpu_prepare, cpu_release, cpu_run, &lk_cpu_optim, NULL};

const lk_backend *lk_backend_cpu(void)
{
    return &cpu;
}
