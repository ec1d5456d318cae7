// For any processor: 4 lanes, the width of SSE2 and NEON.
#define ISA baseline
#define LANES 4
#include "kernels.h"

extern const Kernels kBaseline = ISA::kKernels;
