#if defined(__x86_64__)
#define ISA avx2
#define LANES 8
#define USE_AVX2
#include "kernels.h"

extern const Kernels kAvx2 = ISA::kKernels;
#endif
