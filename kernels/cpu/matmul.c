/* matmul.c - products on the CPU: vec_product.c, and the activation behind it. */
#include "kernels/cpu/cpu.h"
#include "kernels/cpu/vec_table.h"

static lk_status matmul_prepare(lk_call *c, size_t *work_bytes)
{
    *work_bytes = lk_vec_now()->product_work_bytes(c);
    return LK_OK;
}

static lk_status matmul_whole(const lk_call *c)
{
    lk_vec_now()->product(c);
    if (c->node->attr.matmul.has_act)
        lk_vec_now()->unary_in_place(&c->out[0], c->node->attr.matmul.act,
                                     c->node->attr.matmul.act_a);
    return LK_OK;
}

const lk_cpu_kernel lk_cpu_matmul = {.prepare = matmul_prepare, .whole = matmul_whole};
