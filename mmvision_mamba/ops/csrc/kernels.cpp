// What Python calls: which instruction sets this processor has, and the kernels in one of them.
#include "arguments.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace {

#if defined(__x86_64__)
// Conversions of float16. Asked of the processor itself: compilers know the name only since GCC 11
// and Clang 16.
bool has_f16c() {
  unsigned a, b, c, d;
  return __get_cpuid(1, &a, &b, &c, &d) && (c & bit_F16C);
}
#endif

const Kernels* kernels_of(int64_t isa) {
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (isa == 2) {
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
                   __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
                   __builtin_cpu_supports("fma") && has_f16c()
               ? &kAvx512
               : nullptr;
  }
  if (isa == 1) {
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && has_f16c()
               ? &kAvx2
               : nullptr;
  }
#endif
  return isa == 0 ? &kBaseline : nullptr;
}

}  // namespace

extern "C" {

// isa: 0 any processor, 1 AVX2, 2 AVX-512.
int mmvision_has(int64_t isa) { return kernels_of(isa) != nullptr; }

// A guard against a library and Python files of different versions.
int64_t mmvision_arguments_size() {
  return sizeof(ScanArguments) + sizeof(AttentionArguments) + sizeof(BatchNormArguments);
}

int mmvision_scan_forward(int64_t isa, const ScanArguments* arguments) {
  return kernels_of(isa)->scan_forward(*arguments);
}

int mmvision_scan_backward(int64_t isa, const ScanArguments* arguments) {
  return kernels_of(isa)->scan_backward(*arguments);
}

int mmvision_attention(int64_t isa, const AttentionArguments* arguments) {
  return kernels_of(isa)->attention(*arguments);
}

int mmvision_batch_norm_forward(int64_t isa, const BatchNormArguments* arguments) {
  return kernels_of(isa)->batch_norm_forward(*arguments);
}

int mmvision_batch_norm_backward(int64_t isa, const BatchNormArguments* arguments) {
  return kernels_of(isa)->batch_norm_backward(*arguments);
}
}
