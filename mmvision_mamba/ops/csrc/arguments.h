// The kernels' arguments, as Python passes them through ctypes (cpp_library.py): keep them in step.
#pragma once

#include <cstdint>

struct ScanArguments {
  int64_t batch, length, dim, groups, state;
  int64_t threads;
  int64_t storage;  // of u, delta, B, C and what is shaped like them: see Storage
  int64_t softplus;
  // (batch, length, dim), steps in elements; of each, channels or rows are adjacent.
  const void *u, *delta, *dy;
  int64_t u_batch, u_row, u_channel, delta_batch, delta_row, delta_channel, dy_batch, dy_row,
      dy_channel;
  // (batch, length, groups, state), steps in elements.
  const void *B, *C;
  int64_t B_batch, B_row, B_group, B_state, C_batch, C_row, C_group, C_state;
  // Contiguous, in the computing type (double for double storage, else float); D, bias or null.
  const void *A, *D, *bias;
  // Results, contiguous: y, du, ddelta in the storage type, the others in the computing type.
  void *y, *du, *ddelta, *dA, *dB, *dC, *dD, *dbias;
};

enum Storage : int64_t { kFloat32, kFloat64, kBFloat16, kFloat16 };

struct AttentionArguments {
  int64_t batch, length, heads, dim, threads;
  // (batch, length, heads, dim) each, with the same steps in elements, the last axis dense.
  int64_t batch_step, row, head_step;
  const float *q, *k, *v;
  float* out;  // (batch, length, heads, dim), contiguous
};

struct BatchNormArguments {
  int64_t rows, channels, threads;
  int64_t storage;  // of x, dy, y, dx: a half type, or float32
  int64_t training;
  double eps;
  const void *x, *dy;  // (rows, channels), contiguous, as are y and dx
  // (channels). mean and var (biased) are the batch's in training, results of the forward pass.
  const float *weight, *bias;
  float *mean, *var, *dweight, *dbias;
  void *y, *dx;
};

// The kernels of one instruction set. Each returns 0, or 1 where memory for its workspace could not
// be had.
struct Kernels {
  int (*scan_forward)(const ScanArguments&);
  int (*scan_backward)(const ScanArguments&);
  int (*attention)(const AttentionArguments&);
  int (*batch_norm_forward)(const BatchNormArguments&);
  int (*batch_norm_backward)(const BatchNormArguments&);
};

extern const Kernels kBaseline;
#if defined(__x86_64__)
extern const Kernels kAvx2, kAvx512;
#endif
