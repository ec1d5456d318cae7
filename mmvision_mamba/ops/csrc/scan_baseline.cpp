// For any processor: 4 lanes, the width of SSE2 and NEON.
#define ISA baseline
#define LANES 4
#include "scan_kernel.h"

extern const ScanKernels kScanBaseline = {ISA::run_forward, ISA::run_backward};
