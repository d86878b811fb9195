/* tensor_map.c - descriptions of tensors for copies of tiles (hopper.h), made by the driver. */
#include "kernels/cuda/libraries.h"

#include <cuda.h>
#include <cuda_runtime_api.h>
#include <dlfcn.h>
#include <string.h>

typedef CUresult (*encode_fn)(CUtensorMap *, CUtensorMapDataType, cuuint32_t, void *,
                              const cuuint64_t *, const cuuint64_t *, const cuuint32_t *,
                              const cuuint32_t *, CUtensorMapInterleave, CUtensorMapSwizzle,
                              CUtensorMapL2promotion, CUtensorMapFloatOOBfill);

/* The driver's function; NULL where there is none. */
static encode_fn encoder(void)
{
    static encode_fn found;
    static int tried;
    if (!tried) {
        void *driver = lk_cuda_open_library("libcuda.so.1");
        void *symbol = driver ? dlsym(driver, "cuTensorMapEncodeTiled") : NULL;
        memcpy(&found, &symbol, sizeof found);
        tried = 1;
    }
    return found;
}

lk_status lk_cuda_tensor_map(void *map, const void *base, int64_t d, int64_t rows, int64_t planes,
                             int box_rows)
{
    const cuuint64_t size[3] = {(cuuint64_t)d, (cuuint64_t)rows, (cuuint64_t)planes};
    const cuuint64_t stride[2] = {(cuuint64_t)(2 * d), (cuuint64_t)(2 * d * rows)};
    const cuuint32_t box[3] = {64, (cuuint32_t)box_rows, 1}, step[3] = {1, 1, 1};
    const encode_fn encode = encoder();
    void *address;
    CUtensorMap made;
    CUresult result;
    lk_status st = LK_OK;
    memcpy(&address, &base, sizeof address);
    LK_REQUIRE(encode, LK_E_ENV, "the GPU's driver cannot describe tensors; update it");
    result = encode(&made, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, 3, address, size, stride, box, step,
                    CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
                    CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
    LK_REQUIRE(result == CUDA_SUCCESS, LK_E_INTERNAL,
               "the driver refused a tensor of %lld x %lld x %lld (error %d)", (long long)planes,
               (long long)rows, (long long)d, (int)result);
    memcpy(map, &made, sizeof made);
done:
    return st;
}

int lk_cuda_hopper_places(void)
{
    static int places = -1;
    int device, major = 0, minor = 0, n = 0;
    if (places >= 0)
        return places;
    if (cudaGetDevice(&device) != cudaSuccess ||
        cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device) != cudaSuccess ||
        cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, device) != cudaSuccess ||
        cudaDeviceGetAttribute(&n, cudaDevAttrMultiProcessorCount, device) != cudaSuccess)
        n = 0;
    places = major == 9 && minor == 0 && encoder() ? n : 0;
    return places;
}
