// The selective scan (arXiv 2312.00752, Algorithm 2), forward and backward. Included by kernels.h
// within its namespace.
//
// Channels lie across a vector's lanes and a channel's states in registers, so that a step is
// arithmetic on registers alone. Work goes tile by tile of TILE rows: every channel block of a
// tile is done while its rows, and B and C, are in cache. Of the states only those at the tiles'
// edges are kept, in the backward pass.
//
// Threads share out batch entries and channel blocks. When those are fewer than the threads, the
// sequence is cut into chunks as well: a first pass finds what a chunk adds to a zero state and by
// how much it damps one (exp(A * sum of delta)); chained up, these give every chunk its start.

constexpr int64_t TILE = 32;

// How the work is cut: into batch parts, parts of the channel blocks, and chunks of the sequence.
struct Plan {
  int64_t group_dim, group_blocks, blocks;
  int64_t batch_parts, block_parts, chunks, chunk_length;

  Plan(const ScanArguments& a) {
    group_dim = a.dim / a.groups;
    group_blocks = ceil_div(group_dim, LANES);
    blocks = a.groups * group_blocks;
    batch_parts = std::min(a.batch, 4 * a.threads);
    block_parts = 1;
    auto cost = [&](int64_t parts) {
      return ceil_div(batch_parts * parts, a.threads) * ceil_div(blocks, parts);
    };
    for (int64_t parts = 2; parts <= std::min(blocks, a.threads); ++parts) {
      if (cost(parts) < cost(block_parts)) block_parts = parts;
    }
    // A chunked sequence is gone through twice, which only three threads and more repay.
    int64_t idle = a.threads / (batch_parts * block_parts);
    chunks = idle > 2 ? std::max<int64_t>(1, std::min(idle, a.length / (4 * TILE))) : 1;
    chunk_length = ceil_div(ceil_div(a.length, chunks), TILE) * TILE;
    chunks = ceil_div(a.length, chunk_length);
  }

  int64_t tasks() const { return batch_parts * block_parts * chunks; }
};

struct Task {
  int64_t batch_begin, batch_end, block_begin, block_end, chunk, begin, end, sums;

  Task(const ScanArguments& a, const Plan& p, int64_t index) {
    chunk = index % p.chunks;
    int64_t part = index / p.chunks % p.block_parts;
    int64_t batch = index / p.chunks / p.block_parts;
    batch_begin = a.batch * batch / p.batch_parts;
    batch_end = a.batch * (batch + 1) / p.batch_parts;
    block_begin = p.blocks * part / p.block_parts;
    block_end = p.blocks * (part + 1) / p.block_parts;
    begin = chunk * p.chunk_length;
    end = std::min(a.length, begin + p.chunk_length);
    sums = batch * p.chunks + chunk;
  }
};

// The channels of a block: from `channel` on, `count` of them, all of one group.
struct Block {
  int64_t group, channel, count;

  Block(const Plan& p, int64_t index) {
    group = index / p.group_blocks;
    int64_t within = index % p.group_blocks * LANES;
    channel = group * p.group_dim + within;
    count = std::min<int64_t>(LANES, p.group_dim - within);
  }
};

// A, D and the bias as vectors per block, zeros in the lanes beyond the last channel, and A in
// units of log 2.
template <class R>
struct Parameters {
  Buffer<Vec<R>> A, D, bias;

  Parameters(const ScanArguments& a, const Plan& p)
      : A(p.blocks * a.state, true), D(p.blocks, true), bias(p.blocks, true) {
    if (!ok()) return;
    const R *from = static_cast<const R*>(a.A), *skip = static_cast<const R*>(a.D),
            *shift = static_cast<const R*>(a.bias);
    for (int64_t index = 0; index < p.blocks; ++index) {
      Block block(p, index);
      for (int64_t lane = 0; lane < block.count; ++lane) {
        int64_t channel = block.channel + lane;
        for (int64_t n = 0; n < a.state; ++n) {
          A.get()[index * a.state + n][lane] = from[channel * a.state + n] * kLog2E<R>;
        }
        if (skip) D.get()[index][lane] = skip[channel];
        if (shift) bias.get()[index][lane] = shift[channel];
      }
    }
  }
  bool ok() const { return A.ok() && D.ok() && bias.ok(); }
};

// What a thread holds of the tile and the block at hand.
template <class R>
struct Tile {
  Vec<R> delta[TILE], drive[TILE], u[TILE], slope[TILE], dy[TILE], y[TILE];
};

template <class R, class T>
INLINE void copy_matrix(const void* from, int64_t offset, int64_t row, int64_t step, int64_t rows,
                        int64_t state, R* to) {
  const T* at = static_cast<const T*>(from) + offset;
  for (int64_t t = 0; t < rows; ++t, at += row) {
    for (int64_t n = 0; n < state; ++n) to[t * state + n] = load_one<R>(at + n * step);
  }
}

// Channels of which each one's rows are adjacent, `channel` apart. By squares of LANES each way, so
// that every cache line is taken whole, and it is no matter which lines push each other out.
template <class R, class T>
__attribute__((noinline)) void read_columns(const T* at, int64_t channel, int64_t rows,
                                            int64_t count, Vec<R>* to) {
  for (int64_t t = 0; t < rows; t += LANES) {
    int64_t some = std::min<int64_t>(LANES, rows - t);
    Vec<R> square[LANES] = {};
    for (int64_t lane = 0; lane < count; ++lane) {
      square[lane] = load_row<R>(at + lane * channel + t, some);
      __builtin_prefetch(at + lane * channel + t + TILE);
    }
    transpose(square);
    for (int64_t i = 0; i < some; ++i) to[t + i] = square[i];
  }
}

// Rows of channels; of one of the two steps, `row` and `channel`, elements are adjacent.
template <class R, class T>
INLINE void read_rows(const void* from, int64_t offset, int64_t row, int64_t channel, int64_t rows,
                      int64_t count, Vec<R>* to) {
  const T* at = static_cast<const T*>(from) + offset;
  if (channel != 1) return read_columns<R>(at, channel, rows, count, to);
  for (int64_t t = 0; t < rows; ++t, at += row) to[t] = load_row<R>(at, count);
}

template <class R, class T>
INLINE void write_rows(void* base, int64_t offset, int64_t row, int64_t rows, int64_t count,
                       const Vec<R>* from) {
  T* at = static_cast<T*>(base) + offset;
  for (int64_t t = 0; t < rows; ++t, at += row) store_row<R>(at, from[t], count);
}

// Read a tile's u and delta; delta goes through bias and softplus, drive is their product.
template <class R, class T, bool SLOPE>
INLINE void read_tile(const ScanArguments& a, int64_t batch, int64_t begin, int64_t rows,
                      const Block& block, Vec<R> bias, Tile<R>& tile) {
  read_rows<R, T>(a.u, batch * a.u_batch + begin * a.u_row + block.channel * a.u_channel, a.u_row,
                  a.u_channel, rows, block.count, tile.u);
  read_rows<R, T>(a.delta,
                  batch * a.delta_batch + begin * a.delta_row + block.channel * a.delta_channel,
                  a.delta_row, a.delta_channel, rows, block.count, tile.delta);
  for (int64_t t = 0; t < rows; ++t) {
    Vec<R> delta = tile.delta[t] + bias;
    if (a.softplus) {
      delta = softplus<R>(delta, SLOPE ? &tile.slope[t] : nullptr);
    } else if (SLOPE) {
      tile.slope[t] = splat<R>(1);
    }
    tile.delta[t] = delta;
    tile.drive[t] = delta * tile.u[t];
  }
}

template <class R, class T>
INLINE void read_dy(const ScanArguments& a, int64_t batch, int64_t begin, int64_t rows,
                    const Block& block, Tile<R>& tile) {
  read_rows<R, T>(a.dy, batch * a.dy_batch + begin * a.dy_row + block.channel * a.dy_channel,
                  a.dy_row, a.dy_channel, rows, block.count, tile.dy);
}

// B and C of a tile and a group.
template <class R, class T>
INLINE void copy_matrices(const ScanArguments& a, int64_t batch, int64_t begin, int64_t rows,
                          int64_t group, R* B, R* C) {
  copy_matrix<R, T>(a.B, batch * a.B_batch + begin * a.B_row + group * a.B_group, a.B_row,
                    a.B_state, rows, a.state, B);
  copy_matrix<R, T>(a.C, batch * a.C_batch + begin * a.C_row + group * a.C_group, a.C_row,
                    a.C_state, rows, a.state, C);
}

// Step COUNT states through a tile; with Y, add what they put out.
template <class R, int COUNT, bool Y>
INLINE void step_states(Tile<R>& tile, int64_t rows, int64_t state, const Vec<R>* A, const R* B,
                        const R* C, Vec<R>* states) {
  Vec<R> h[COUNT];
  for (int n = 0; n < COUNT; ++n) h[n] = states[n];
  for (int64_t t = 0; t < rows; ++t, B += state, C += state) {
    Vec<R> delta = tile.delta[t], drive = tile.drive[t];
    Vec<R> y = Y ? tile.y[t] : Vec<R>{};
#pragma GCC unroll 8
    for (int n = 0; n < COUNT; ++n) {
      h[n] = exp2(delta * A[n]) * h[n] + drive * B[n];
      if (Y) y += h[n] * C[n];
    }
    if (Y) tile.y[t] = y;
  }
  for (int n = 0; n < COUNT; ++n) states[n] = h[n];
}

// Call run(first state, constant number of states) until all are done, by eights where possible.
template <class Run>
INLINE void for_states(int64_t state, Run run) {
  int64_t n = 0;
  for (; n + 8 <= state; n += 8) run(n, std::integral_constant<int, 8>{});
  for (; n + 4 <= state; n += 4) run(n, std::integral_constant<int, 4>{});
  for (; n < state; ++n) run(n, std::integral_constant<int, 1>{});
}

template <class R, bool Y>
INLINE void step_tile(Tile<R>& tile, int64_t rows, int64_t state, const Vec<R>* A, const R* B,
                      const R* C, Vec<R>* states) {
  for_states(state, [&](int64_t n, auto count) __attribute__((always_inline)) {
    step_states<R, decltype(count)::value, Y>(tile, rows, state, A + n, B + n, C + n, states + n);
  });
}

// Step COUNT states back through a tile. `adjoint` is what the later steps hand back,
// dL/dh[t] = C[t] dy[t] + adjoint; with GRADIENTS, all gradients are added to.
template <class R>
struct Gradients {
  Vec<R> *dA;                // (state), of the tile
  Vec<R> *dB, *dC;           // (rows, state), still to be summed over lanes
  Vec<R> by_drive[TILE];     // dL/d(delta u)
  Vec<R> by_decay[TILE];     // dL/ddelta through exp(delta A)
  Vec<R> decay[TILE * 8], before[(TILE + 1) * 8];
};

template <class R, int COUNT>
INLINE void step_states_back(const Tile<R>& tile, int64_t rows, int64_t state, const Vec<R>* A,
                             const R* B, const R* C, const Vec<R>* start, Vec<R>* adjoint,
                             Gradients<R>& g, int64_t first) {
  Vec<R> h[COUNT];
  for (int n = 0; n < COUNT; ++n) h[n] = g.before[n] = start[n];
  for (int64_t t = 0; t < rows; ++t) {
    Vec<R> delta = tile.delta[t], drive = tile.drive[t];
#pragma GCC unroll 8
    for (int n = 0; n < COUNT; ++n) {
      Vec<R> decay = exp2(delta * A[n]);
      g.decay[t * COUNT + n] = decay;
      g.before[(t + 1) * COUNT + n] = h[n] = decay * h[n] + drive * B[t * state + n];
    }
  }
  for (int n = 0; n < COUNT; ++n) h[n] = adjoint[n];
  for (int64_t t = rows - 1; t >= 0; --t) {
    Vec<R> delta = tile.delta[t], drive = tile.drive[t], dy = tile.dy[t];
    Vec<R> by_drive = g.by_drive[t], by_decay = g.by_decay[t];
    Vec<R>*dB = g.dB + t * state + first, *dC = g.dC + t * state + first;
#pragma GCC unroll 8
    for (int n = 0; n < COUNT; ++n) {
      Vec<R> dh = h[n] + dy * C[t * state + n];
      dC[n] += dy * g.before[(t + 1) * COUNT + n];
      dB[n] += drive * dh;
      by_drive += dh * B[t * state + n];
      h[n] = dh * g.decay[t * COUNT + n];
      Vec<R> by_exponent = h[n] * g.before[t * COUNT + n];
      by_decay += by_exponent * A[n];
      g.dA[first + n] += by_exponent * delta;
    }
    g.by_drive[t] = by_drive;
    g.by_decay[t] = by_decay;
  }
  for (int n = 0; n < COUNT; ++n) adjoint[n] = h[n];
}

// Only what a tile adds to the adjoint, for the pass that chains chunks up.
template <class R>
INLINE void step_adjoint(const Tile<R>& tile, int64_t rows, int64_t state, const Vec<R>* A,
                         const R* C, Vec<R>* adjoint) {
  for (int64_t t = rows - 1; t >= 0; --t) {
    for (int64_t n = 0; n < state; ++n) {
      Vec<R> dh = adjoint[n] + tile.dy[t] * C[t * state + n];
      adjoint[n] = dh * exp2(tile.delta[t] * A[n]);
    }
  }
}

// States (or adjoints) at the edges of chunks: (chunk, batch, block, state), and the sums of delta.
template <class R>
struct Edges {
  const ScanArguments& a;
  const Plan& p;
  Buffer<Vec<R>> states, adjoints, deltas;

  Edges(const ScanArguments& a, const Plan& p, bool backward)
      : a(a),
        p(p),
        states(p.chunks > 1 ? p.chunks * a.batch * p.blocks * a.state : 0, true),
        adjoints(p.chunks > 1 && backward ? p.chunks * a.batch * p.blocks * a.state : 0, true),
        deltas(p.chunks > 1 ? p.chunks * a.batch * p.blocks : 0, true) {}
  bool ok() const { return states.ok() && adjoints.ok() && deltas.ok(); }

  int64_t at(int64_t chunk, int64_t batch, int64_t block) const {
    return (chunk * a.batch + batch) * p.blocks + block;
  }

  // From what each chunk adds to zero, to what each chunk starts from; `step` is the direction.
  void chain(Vec<R>* edges, const Vec<R>* A, int64_t step) {
    for (int64_t batch = 0; batch < a.batch; ++batch) {
      for (int64_t block = 0; block < p.blocks; ++block) {
        for (int64_t n = 0; n < a.state; ++n) {
          Vec<R> carry = {};
          for (int64_t k = 0; k < p.chunks; ++k) {
            int64_t i = at(step > 0 ? k : p.chunks - 1 - k, batch, block);
            Vec<R> added = edges[i * a.state + n];
            edges[i * a.state + n] = carry;
            carry = exp2(deltas.get()[i] * A[block * a.state + n]) * carry + added;
          }
        }
      }
    }
  }
};

template <class R, class T>
void chunk_pass(const ScanArguments& a, const Plan& p, const Parameters<R>& parameters,
                Edges<R>& edges, bool backward, int64_t index, std::atomic<bool>* ok) {
  Task task(a, p, index);
  Buffer<Tile<R>> workspace(1);
  Buffer<R> B(TILE * a.state), C(TILE * a.state);
  if (!workspace.ok() || !B.ok() || !C.ok()) return void(*ok = false);
  Tile<R>& tile = *workspace.get();
  int64_t tiles = ceil_div(task.end - task.begin, TILE);
  for (int64_t batch = task.batch_begin; batch < task.batch_end; ++batch) {
    for (int64_t direction = 0; direction <= int64_t(backward); ++direction) {
      for (int64_t i = 0; i < tiles; ++i) {
        int64_t begin = task.begin + (direction ? tiles - 1 - i : i) * TILE;
        int64_t rows = std::min(TILE, task.end - begin), group = -1;
        for (int64_t at = task.block_begin; at < task.block_end; ++at) {
          Block block(p, at);
          if (block.group != group) {
            group = block.group;
            copy_matrices<R, T>(a, batch, begin, rows, group, B.get(), C.get());
          }
          read_tile<R, T, false>(a, batch, begin, rows, block, parameters.bias.get()[at], tile);
          const Vec<R>* A = parameters.A.get() + at * a.state;
          int64_t edge = edges.at(task.chunk, batch, at);
          if (direction) {
            read_dy<R, T>(a, batch, begin, rows, block, tile);
            step_adjoint<R>(tile, rows, a.state, A, C.get(),
                            edges.adjoints.get() + edge * a.state);
          } else {
            step_tile<R, false>(tile, rows, a.state, A, B.get(), C.get(),
                                edges.states.get() + edge * a.state);
            for (int64_t t = 0; t < rows; ++t) edges.deltas.get()[edge] += tile.delta[t];
          }
        }
      }
    }
  }
}

template <class R, class T>
void forward_task(const ScanArguments& a, const Plan& p, const Parameters<R>& parameters,
                  const Edges<R>& edges, int64_t index, std::atomic<bool>* ok) {
  Task task(a, p, index);
  int64_t blocks = task.block_end - task.block_begin;
  Buffer<Tile<R>> workspace(1);
  Buffer<Vec<R>> states(blocks * a.state);
  Buffer<R> B(TILE * a.state), C(TILE * a.state);
  if (!workspace.ok() || !states.ok() || !B.ok() || !C.ok()) return void(*ok = false);
  Tile<R>& tile = *workspace.get();
  for (int64_t batch = task.batch_begin; batch < task.batch_end; ++batch) {
    for (int64_t i = 0; i < blocks * a.state; ++i) {
      states.get()[i] = p.chunks == 1 ? Vec<R>{}
                                      : edges.states.get()[edges.at(task.chunk, batch,
                                                                    task.block_begin) *
                                                               a.state +
                                                           i];
    }
    for (int64_t begin = task.begin; begin < task.end; begin += TILE) {
      int64_t rows = std::min(TILE, task.end - begin), group = -1;
      for (int64_t at = task.block_begin; at < task.block_end; ++at) {
        Block block(p, at);
        if (block.group != group) {
          group = block.group;
          copy_matrices<R, T>(a, batch, begin, rows, group, B.get(), C.get());
        }
        read_tile<R, T, false>(a, batch, begin, rows, block, parameters.bias.get()[at], tile);
        Vec<R> skip = parameters.D.get()[at];
        for (int64_t t = 0; t < rows; ++t) tile.y[t] = skip * tile.u[t];
        step_tile<R, true>(tile, rows, a.state, parameters.A.get() + at * a.state, B.get(),
                           C.get(), states.get() + (at - task.block_begin) * a.state);
        write_rows<R, T>(a.y, (batch * a.length + begin) * a.dim + block.channel, a.dim, rows,
                         block.count, tile.y);
      }
    }
  }
}

template <class R, class T>
int forward(const ScanArguments& a) {
  if (a.batch * a.length * a.dim == 0) return 0;
  Plan plan(a);
  Parameters<R> parameters(a, plan);
  Edges<R> edges(a, plan, false);
  if (!parameters.ok() || !edges.ok()) return 1;
  std::atomic<bool> ok{true};
  if (plan.chunks > 1) {
    parallel(a.threads, plan.tasks(),
             [&](int64_t i) { chunk_pass<R, T>(a, plan, parameters, edges, false, i, &ok); });
    edges.chain(edges.states.get(), parameters.A.get(), 1);
  }
  parallel(a.threads, plan.tasks(),
           [&](int64_t i) { forward_task<R, T>(a, plan, parameters, edges, i, &ok); });
  return ok ? 0 : 1;
}

// Sums over rows that a backward task leaves per block: dA, then dD and dbias. A tile's are added
// up by themselves and the tiles in double precision: batch times length are many terms.
struct Sums {
  const Plan& p;
  int64_t state;
  Buffer<Vec<double>> values;  // (part of the batch, chunk, block, state + 2)

  Sums(const ScanArguments& a, const Plan& p)
      : p(p), state(a.state), values(p.batch_parts * p.chunks * p.blocks * (a.state + 2), true) {}
  Vec<double>* of(int64_t task_sums, int64_t block) const {
    return values.get() + (task_sums * p.blocks + block) * (state + 2);
  }
};

template <class R, class T>
void backward_task(const ScanArguments& a, const Plan& p, const Parameters<R>& parameters,
                   const Edges<R>& edges, Sums& sums, R* dB_out, R* dC_out, int64_t index,
                   std::atomic<bool>* ok) {
  Task task(a, p, index);
  int64_t blocks = task.block_end - task.block_begin, width = blocks * a.state;
  int64_t tiles = ceil_div(task.end - task.begin, TILE);
  Buffer<Tile<R>> workspace(1);
  Buffer<Gradients<R>> gradients(1);
  Buffer<Vec<R>> starts((tiles + 1) * width), adjoints(width), dA(a.state), dB(TILE * a.state),
      dC(TILE * a.state);
  Buffer<R> B(TILE * a.state), C(TILE * a.state);
  if (!workspace.ok() || !gradients.ok() || !starts.ok() || !adjoints.ok() || !dA.ok() ||
      !dB.ok() || !dC.ok() || !B.ok() || !C.ok()) {
    return void(*ok = false);
  }
  Tile<R>& tile = *workspace.get();
  Gradients<R>& g = *gradients.get();
  auto write_matrices = [&](int64_t batch, int64_t begin, int64_t rows, int64_t group) {
    for (int64_t t = 0; t < rows; ++t) {
      int64_t to = ((batch * a.length + begin + t) * a.groups + group) * a.state;
      for (int64_t n = 0; n < a.state; ++n) {
        dB_out[to + n] += sum_of_lanes(dB.get()[t * a.state + n]);
        dC_out[to + n] += sum_of_lanes(dC.get()[t * a.state + n]);
      }
    }
  };
  for (int64_t batch = task.batch_begin; batch < task.batch_end; ++batch) {
    int64_t edge = edges.at(task.chunk, batch, task.block_begin) * a.state;
    for (int64_t i = 0; i < width; ++i) {
      starts.get()[i] = p.chunks == 1 ? Vec<R>{} : edges.states.get()[edge + i];
      adjoints.get()[i] = p.chunks == 1 ? Vec<R>{} : edges.adjoints.get()[edge + i];
    }
    // Forward once more, for the states at the tiles' edges.
    for (int64_t i = 0; i + 1 < tiles; ++i) {
      int64_t begin = task.begin + i * TILE, group = -1;
      Vec<R>* next = starts.get() + (i + 1) * width;
      std::memcpy(static_cast<void*>(next), next - width, width * sizeof(Vec<R>));
      for (int64_t at = task.block_begin; at < task.block_end; ++at) {
        Block block(p, at);
        if (block.group != group) {
          copy_matrices<R, T>(a, batch, begin, TILE, group = block.group, B.get(), C.get());
        }
        read_tile<R, T, false>(a, batch, begin, TILE, block, parameters.bias.get()[at], tile);
        step_tile<R, false>(tile, TILE, a.state, parameters.A.get() + at * a.state, B.get(),
                            C.get(), next + (at - task.block_begin) * a.state);
      }
    }
    for (int64_t i = tiles - 1; i >= 0; --i) {
      int64_t begin = task.begin + i * TILE, group = -1;
      int64_t rows = std::min(TILE, task.end - begin);
      for (int64_t at = task.block_begin; at < task.block_end; ++at) {
        Block block(p, at);
        if (block.group != group) {
          if (group >= 0) write_matrices(batch, begin, rows, group);
          copy_matrices<R, T>(a, batch, begin, rows, group = block.group, B.get(), C.get());
          std::memset(static_cast<void*>(dB.get()), 0, rows * a.state * sizeof(Vec<R>));
          std::memset(static_cast<void*>(dC.get()), 0, rows * a.state * sizeof(Vec<R>));
        }
        read_tile<R, T, true>(a, batch, begin, rows, block, parameters.bias.get()[at], tile);
        read_dy<R, T>(a, batch, begin, rows, block, tile);
        std::memset(static_cast<void*>(dA.get()), 0, a.state * sizeof(Vec<R>));
        g.dA = dA.get();
        g.dB = dB.get();
        g.dC = dC.get();
        for (int64_t t = 0; t < rows; ++t) g.by_drive[t] = g.by_decay[t] = Vec<R>{};
        int64_t offset = (at - task.block_begin) * a.state;
        const Vec<R>* start = starts.get() + i * width + offset;
        for_states(a.state, [&](int64_t n, auto count) __attribute__((always_inline)) {
          step_states_back<R, decltype(count)::value>(
              tile, rows, a.state, parameters.A.get() + at * a.state + n, B.get() + n, C.get() + n,
              start + n, adjoints.get() + offset + n, g, n);
        });
        Vec<R> skip = parameters.D.get()[at], dD = {}, dbias = {};
        for (int64_t t = 0; t < rows; ++t) {
          // A is in units of log 2 here.
          Vec<R> ddelta = g.by_drive[t] * tile.u[t] + g.by_decay[t] * (1 / kLog2E<R>);
          ddelta *= tile.slope[t];
          dbias += ddelta;
          dD += tile.dy[t] * tile.u[t];
          tile.y[t] = g.by_drive[t] * tile.delta[t] + skip * tile.dy[t];
          g.by_decay[t] = ddelta;
        }
        Vec<double>* block_sums = sums.of(task.sums, at);
        for (int64_t n = 0; n < a.state; ++n) block_sums[n] += to_double(g.dA[n]);
        block_sums[a.state] += to_double(dD);
        block_sums[a.state + 1] += to_double(dbias);
        int64_t to = (batch * a.length + begin) * a.dim + block.channel;
        write_rows<R, T>(a.du, to, a.dim, rows, block.count, tile.y);
        write_rows<R, T>(a.ddelta, to, a.dim, rows, block.count, g.by_decay);
      }
      write_matrices(batch, begin, rows, group);
    }
  }
}

template <class R, class T>
int backward(const ScanArguments& a) {
  int64_t matrix = a.batch * a.length * a.groups * a.state;
  R *dA = static_cast<R*>(a.dA), *dB = static_cast<R*>(a.dB), *dC = static_cast<R*>(a.dC),
    *dD = static_cast<R*>(a.dD), *dbias = static_cast<R*>(a.dbias);
  if (a.batch * a.length * a.dim == 0) {
    std::fill(dA, dA + a.dim * a.state, R(0));
    std::fill(dD, dD + a.dim, R(0));
    std::fill(dbias, dbias + a.dim, R(0));
    std::fill(dB, dB + matrix, R(0));
    std::fill(dC, dC + matrix, R(0));
    return 0;
  }
  Plan plan(a);
  Parameters<R> parameters(a, plan);
  Edges<R> edges(a, plan, true);
  Sums sums(a, plan);
  // Channel blocks in different tasks add to the same dB and dC: each part to a copy of its own.
  Buffer<R> copies((plan.block_parts - 1) * 2 * matrix);
  if (!parameters.ok() || !edges.ok() || !sums.values.ok() || !copies.ok()) return 1;
  std::atomic<bool> ok{true};
  if (plan.chunks > 1) {
    parallel(a.threads, plan.tasks(),
             [&](int64_t i) { chunk_pass<R, T>(a, plan, parameters, edges, true, i, &ok); });
    edges.chain(edges.states.get(), parameters.A.get(), 1);
    edges.chain(edges.adjoints.get(), parameters.A.get(), -1);
  }
  auto part_of = [&](int64_t part, R* first, int64_t which) {
    return part ? copies.get() + ((part - 1) * 2 + which) * matrix : first;
  };
  int64_t slices = std::min(a.threads, matrix);
  parallel(a.threads, slices, [&](int64_t slice) {
    int64_t begin = matrix * slice / slices, end = matrix * (slice + 1) / slices;
    for (int64_t part = 0; part < plan.block_parts; ++part) {
      std::fill(part_of(part, dB, 0) + begin, part_of(part, dB, 0) + end, R(0));
      std::fill(part_of(part, dC, 1) + begin, part_of(part, dC, 1) + end, R(0));
    }
  });
  parallel(a.threads, plan.tasks(), [&](int64_t i) {
    int64_t part = i / plan.chunks % plan.block_parts;
    backward_task<R, T>(a, plan, parameters, edges, sums, part_of(part, dB, 0),
                        part_of(part, dC, 1), i, &ok);
  });
  parallel(a.threads, slices, [&](int64_t slice) {
    int64_t begin = matrix * slice / slices, end = matrix * (slice + 1) / slices;
    for (int64_t part = 1; part < plan.block_parts; ++part) {
      const R *more_dB = part_of(part, dB, 0), *more_dC = part_of(part, dC, 1);
      for (int64_t i = begin; i < end; ++i) dB[i] += more_dB[i];
      for (int64_t i = begin; i < end; ++i) dC[i] += more_dC[i];
    }
  });
  for (int64_t at = 0; at < plan.blocks; ++at) {
    Block block(plan, at);
    Vec<double>* total = sums.of(0, at);
    for (int64_t part = 1; part < plan.batch_parts * plan.chunks; ++part) {
      for (int64_t n = 0; n < a.state + 2; ++n) total[n] += sums.of(part, at)[n];
    }
    for (int64_t lane = 0; lane < block.count; ++lane) {
      int64_t channel = block.channel + lane;
      for (int64_t n = 0; n < a.state; ++n) dA[channel * a.state + n] = R(total[n][lane]);
      dD[channel] = R(total[a.state][lane]);
      dbias[channel] = R(total[a.state + 1][lane]);
    }
  }
  return ok ? 0 : 1;
}

int run_forward(const ScanArguments& a) {
  switch (a.storage) {
    case kFloat64:
      return forward<double, double>(a);
    case kBFloat16:
      return forward<float, BFloat16>(a);
    case kFloat16:
      return forward<float, Float16>(a);
    default:
      return forward<float, float>(a);
  }
}

int run_backward(const ScanArguments& a) {
  switch (a.storage) {
    case kFloat64:
      return backward<double, double>(a);
    case kBFloat16:
      return backward<float, BFloat16>(a);
    case kFloat16:
      return backward<float, Float16>(a);
    default:
      return backward<float, float>(a);
  }
}
