/* emu_faults.cpp - small kernels with planted faults, and their sound twins, for test_emu.c. */
#include "kernels/cuda/device.h"

#define N 64

extern "C" lk_status emu_reverse_rows(int fault, const float *x, float *y);
extern "C" lk_status emu_barriers(int fault);
extern "C" lk_status emu_warp(int fault, int *sums);

/* Reverse N numbers through shared memory.  1: no barrier; 2: one element too far; 3: an element
 * that nobody wrote; 4: no barrier before the memory is used again. */
__global__ void reverse_kernel(int fault, const float *x, float *y)
{
    LK_SHARED(float, row, [N]);
    const int i = (int)threadIdx.x;
    for (int round = 0; round < 2; round++) {
        if (fault != 3 || i > 0)
            row[i] = x[i];
        if (fault != 1)
            __syncthreads();
        y[i] = row[fault == 2 ? N - i : N - 1 - i];
        if (fault != 4)
            __syncthreads();
    }
}

lk_status emu_reverse_rows(int fault, const float *x, float *y)
{
    return LK_LAUNCH(reverse_kernel, 2, N, nullptr, fault, x, y);
}

/* 1: half of the threads leave first; 2: the halves wait at different places. */
__global__ void barrier_kernel(int fault)
{
    if (fault == 1 && threadIdx.x >= N / 2)
        return;
    if (fault == 2 && threadIdx.x >= N / 2)
        __syncthreads();
    else
        __syncthreads();
}

lk_status emu_barriers(int fault)
{
    return LK_LAUNCH(barrier_kernel, 1, N, nullptr, fault);
}

/* Sums over each warp, and an exchange through shared memory that a warp function orders.
 * 1: a lane does not take part; 2: lanes at different places; 3: the exchange is read by another
 * warp, for which a warp function orders nothing. */
__global__ void warp_kernel(int fault, int *sums)
{
    LK_SHARED(int, part, [N]);
    const int i = (int)threadIdx.x;
    int x = i;
    if (fault == 1 && i == 5)
        return;
    part[i] = i;
    if (fault == 2 && i == 5)
        x += __shfl_xor_sync(0xffffffffu, x, 16);
    else
        x += __shfl_xor_sync(0xffffffffu, x, 16);
    for (int by = 8; by > 0; by /= 2)
        x += __shfl_xor_sync(0xffffffffu, x, by);
    sums[i] = x + part[fault == 3 ? N - 1 - i : i ^ 1] - (i ^ 1);
}

lk_status emu_warp(int fault, int *sums)
{
    return LK_LAUNCH(warp_kernel, 1, N, nullptr, fault, sums);
}
