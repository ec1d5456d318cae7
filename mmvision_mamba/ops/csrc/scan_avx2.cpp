#if defined(__x86_64__)
#define ISA avx2
#define LANES 8
#define SCAN_AVX2
#include "scan_kernel.h"

extern const ScanKernels kScanAvx2 = {ISA::run_forward, ISA::run_backward};
#endif
