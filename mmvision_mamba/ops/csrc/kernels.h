// All kernels for one instruction set: the including file says which, and defines ISA (the
// namespace) and LANES (of float32 in a vector).

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <type_traits>
#include <utility>

#if defined(_OPENMP)
#include <omp.h>
#endif
#if defined(USE_AVX512) || defined(USE_AVX2)
#include <immintrin.h>
#endif

#include "arguments.h"

#define INLINE static inline __attribute__((always_inline))

// What only this file's functions may use; the processor is asked for it before they are called.
#if defined(__clang__) && defined(USE_AVX512)
#pragma clang attribute push( \
    __attribute__((target("avx512f,avx512dq,avx512bw,avx512vl,avx2,fma,f16c"))), apply_to = function)
#elif defined(__clang__) && defined(USE_AVX2)
#pragma clang attribute push(__attribute__((target("avx2,fma,f16c"))), apply_to = function)
#elif defined(USE_AVX512)
#pragma GCC push_options
#pragma GCC target("avx512f,avx512dq,avx512bw,avx512vl,avx2,fma,f16c")
#elif defined(USE_AVX2)
#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c")
#endif

namespace ISA {
namespace {

#include "vector_math.h"
#include "workspace.h"
#include "scan_kernel.h"
#include "attention_kernel.h"
#include "batch_norm_kernel.h"

constexpr Kernels kKernels = {run_forward, run_backward, run_attention, run_batch_norm_forward,
                              run_batch_norm_backward};

}  // namespace
}  // namespace ISA

#if defined(USE_AVX512) || defined(USE_AVX2)
#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#endif
