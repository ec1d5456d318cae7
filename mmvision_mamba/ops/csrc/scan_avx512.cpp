#if defined(__x86_64__)
#define ISA avx512
#define LANES 16
#define SCAN_AVX512
#include "scan_kernel.h"

extern const ScanKernels kScanAvx512 = {ISA::run_forward, ISA::run_backward};
#endif
