// The arguments of a scan, as cpu.py passes them through ctypes: keep the two in step.
#pragma once

#include <cstdint>

struct ScanArguments {
  int64_t batch, length, dim, groups, state;
  int64_t threads;
  int64_t storage;  // of u, delta, B, C and what is shaped like them: see Storage
  int64_t softplus;
  // (batch, length, dim), the channels adjacent; steps between batches and rows, in elements.
  const void *u, *delta, *dy;
  int64_t u_batch, u_row, delta_batch, delta_row, dy_batch, dy_row;
  // (batch, length, groups, state), the states adjacent.
  const void *B, *C;
  int64_t B_batch, B_row, B_group, C_batch, C_row, C_group;
  // Contiguous, in the computing type (double for double storage, else float); D, bias or null.
  const void *A, *D, *bias;
  // Results, contiguous: y, du, ddelta in the storage type, the others in the computing type.
  void *y, *du, *ddelta, *dA, *dB, *dC, *dD, *dbias;
};

enum Storage : int64_t { kFloat32, kFloat64, kBFloat16, kFloat16 };

// Returns 0, or 1 where memory for the workspace could not be had.
using ScanFunction = int (*)(const ScanArguments&);

struct ScanKernels {
  ScanFunction forward, backward;
};

extern const ScanKernels kScanBaseline;
#if defined(__x86_64__)
extern const ScanKernels kScanAvx2, kScanAvx512;
#endif
