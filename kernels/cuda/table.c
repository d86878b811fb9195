/* table.c - the kernels by operation.  cuda_table.inc is made by CMake from ops.def: a line for
 * each operation, NULL where no .cu file defines its kernel. */
#include "kernels/cuda/cuda.h"

static const lk_cuda_kernel *const table[LK_N_OPS] = {
#include "cuda_table.inc"
};

const lk_cuda_kernel *LK_CUDA(find)(lk_op op)
{
    return table[op];
}

lk_status LK_CUDA(need)(lk_op op)
{
    return table[op] ? LK_OK
                     : LK_FAIL(LK_E_UNSUPPORTED, "operation '%s' has no CUDA kernel; use the CPU",
                               lk_op_get(op)->name);
}
