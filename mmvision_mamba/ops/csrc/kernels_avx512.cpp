#if defined(__x86_64__)
#define ISA avx512
#define LANES 16
#define USE_AVX512
#include "kernels.h"

extern const Kernels kAvx512 = ISA::kKernels;
#endif
