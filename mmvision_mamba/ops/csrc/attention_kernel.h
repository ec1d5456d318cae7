// Softmax attention, forward, in one pass over the keys (Milakov and Gimelshein, arXiv 1805.02867;
// Rabe and Staats, arXiv 2112.05682). Included by kernels.h within its namespace.
//
// Queries lie across a vector's lanes, keys and the results' channels in a tile's rows: maxima and
// sums of the softmax are then of whole vectors, and no head size leaves lanes empty. A panel of
// queries goes over blocks of keys, their scores and its results staying in cache.
//
// One running sum over thousands of keys would lose digits, most of all where they are equal, as
// padding is: each block is summed from zero, so is each span of blocks, and the spans are added.

constexpr int64_t TILE_ROWS = LANES == 16 ? 8 : 4;  // with TILE_COLUMNS, what registers hold
constexpr int64_t TILE_COLUMNS = 3;
constexpr int64_t PANEL = TILE_COLUMNS * LANES;
constexpr int64_t KEY_BLOCK = 1024 / LANES;
constexpr int64_t SPAN = 1024;

// out (TILE_ROWS, PANEL) = out times factor, or 0, plus a (depth, TILE_ROWS), transposed, times
// panel (depth, PANEL).
template <bool ADD>
INLINE void multiply_tile(const float* a, const float* panel, int64_t depth, const VecF* factor,
                          float* out) {
  VecF sum[TILE_ROWS][TILE_COLUMNS] = {};
  for (int64_t k = 0; k < depth; ++k, a += TILE_ROWS, panel += PANEL) {
    VecF b[TILE_COLUMNS];
    for (int c = 0; c < TILE_COLUMNS; ++c) b[c] = load(panel + c * LANES);
#pragma GCC unroll 8
    for (int r = 0; r < TILE_ROWS; ++r) {
      VecF value = splat(a[r]);
      for (int c = 0; c < TILE_COLUMNS; ++c) sum[r][c] += value * b[c];
    }
  }
  for (int r = 0; r < TILE_ROWS; ++r) {
    for (int c = 0; c < TILE_COLUMNS; ++c) {
      float* to = out + r * PANEL + c * LANES;
      store(to, ADD ? load(to) * factor[c] + sum[r][c] : sum[r][c]);
    }
  }
}

// One head of one batch entry: its keys and values, packed, and a panel of queries.
struct Head {
  int64_t length, dim, row_tiles;  // tiles of TILE_ROWS channels, the last filled up with zeros
  Buffer<float> keys, values, queries, scores, sums, all_sums;  // of a span, and of those before
  VecF largest[TILE_COLUMNS], total[TILE_COLUMNS], faded[TILE_COLUMNS];
  VecF span_largest[TILE_COLUMNS], all_total[TILE_COLUMNS];

  explicit Head(const AttentionArguments& a)
      : length(a.length),
        dim(a.dim),
        row_tiles(ceil_div(a.dim, TILE_ROWS)),
        keys(ceil_div(a.length, TILE_ROWS) * TILE_ROWS * dim, true),
        values(row_tiles * TILE_ROWS * a.length, true),
        queries(dim * PANEL),
        scores(KEY_BLOCK * PANEL),
        sums(row_tiles * TILE_ROWS * PANEL),
        all_sums(row_tiles * TILE_ROWS * PANEL) {}
  bool ok() const {
    return keys.ok() && values.ok() && queries.ok() && scores.ok() && sums.ok() && all_sums.ok();
  }

  // Keys to (tile of keys, dim, TILE_ROWS), values to (tile of channels, length, TILE_ROWS).
  void pack(const AttentionArguments& a, const float* k, const float* v) {
    for (int64_t i = 0; i < length; ++i, k += a.row, v += a.row) {
      float* key = keys.get() + i / TILE_ROWS * TILE_ROWS * dim + i % TILE_ROWS;
      for (int64_t d = 0; d < dim; ++d) key[d * TILE_ROWS] = k[d];
      for (int64_t d = 0; d < dim; d += TILE_ROWS) {
        std::memcpy(values.get() + d * length + i * TILE_ROWS, v + d,
                    std::min(TILE_ROWS, dim - d) * sizeof(float));
      }
    }
  }

  // Queries to (dim, PANEL), scaled to scores in units of log 2.
  void start(const AttentionArguments& a, const float* q, int64_t count) {
    float scale = kLog2E<float> / std::sqrt(float(dim));
    for (int64_t i = 0; i < PANEL; ++i) {
      const float* from = q + std::min(i, count - 1) * a.row;
      for (int64_t d = 0; d < dim; ++d) queries.get()[d * PANEL + i] = from[d] * scale;
    }
    std::memset(all_sums.get(), 0, row_tiles * TILE_ROWS * PANEL * sizeof(float));
    for (int c = 0; c < TILE_COLUMNS; ++c) {
      largest[c] = splat(-std::numeric_limits<float>::max());
      all_total[c] = VecF{};
    }
  }

  void start_span() {
    std::memset(sums.get(), 0, row_tiles * TILE_ROWS * PANEL * sizeof(float));
    for (int c = 0; c < TILE_COLUMNS; ++c) {
      span_largest[c] = largest[c];
      total[c] = VecF{};
    }
  }

  void add_span() {
    for (int c = 0; c < TILE_COLUMNS; ++c) {
      VecF factor = exp2_of_negative(span_largest[c] - largest[c]);
      all_total[c] = all_total[c] * factor + total[c];
      for (int64_t i = c * LANES; i < row_tiles * TILE_ROWS * PANEL; i += PANEL) {
        store(all_sums.get() + i, load(all_sums.get() + i) * factor + load(sums.get() + i));
      }
    }
  }

  void score(int64_t first, int64_t count) {
    for (int64_t key = 0; key < count; key += TILE_ROWS) {
      multiply_tile<false>(keys.get() + (first + key) * dim, queries.get(), dim, nullptr,
                           scores.get() + key * PANEL);
    }
  }

  // Scores to weights relative to the largest score so far.
  void weigh(int64_t count) {
    for (int c = 0; c < TILE_COLUMNS; ++c) {
      float* column = scores.get() + c * LANES;
      VecF most = largest[c], sum = {};
      for (int64_t key = 0; key < count; ++key) {
        VecF score = load(column + key * PANEL);
        most = score > most ? score : most;
      }
      for (int64_t key = 0; key < count; ++key) {
        VecF weight = exp2_of_negative(load(column + key * PANEL) - most);
        sum += weight;
        store(column + key * PANEL, weight);
      }
      faded[c] = exp2_of_negative(largest[c] - most);
      total[c] = total[c] * faded[c] + sum;
      largest[c] = most;
    }
  }

  void add_values(int64_t first, int64_t count) {
    for (int64_t tile = 0; tile < row_tiles; ++tile) {
      multiply_tile<true>(values.get() + (tile * length + first) * TILE_ROWS, scores.get(), count,
                          faded, sums.get() + tile * TILE_ROWS * PANEL);
    }
  }

  void finish(const AttentionArguments& a, float* out, int64_t count) {
    for (int c = 0; c < TILE_COLUMNS; ++c) {
      for (int64_t lane = 0; lane < LANES && c * LANES + lane < count; ++lane, out += a.heads * dim) {
        const float* from = all_sums.get() + c * LANES + lane;
        for (int64_t d = 0; d < dim; ++d) out[d] = from[d * PANEL] / all_total[c][lane];
      }
    }
  }

  void attend(const AttentionArguments& a, const float* q, float* out, int64_t begin,
              int64_t end) {
    for (int64_t query = begin; query < end; query += PANEL) {
      int64_t here = std::min(PANEL, end - query);
      start(a, q + query * a.row, here);
      for (int64_t span = 0; span < length; span += SPAN) {
        int64_t end = std::min(length, span + SPAN);
        start_span();
        for (int64_t first = span; first < end; first += KEY_BLOCK) {
          int64_t count = std::min(KEY_BLOCK, end - first);
          score(first, count);
          weigh(count);
          add_values(first, count);
        }
        add_span();
      }
      finish(a, out + query * a.heads * dim, here);
    }
  }
};

int run_attention(const AttentionArguments& a) {
  if (a.batch * a.length * a.heads * a.dim == 0) return 0;
  // Heads are shared out whole, so that each is packed once, unless there are few.
  int64_t heads = a.batch * a.heads, panels = ceil_div(a.length, PANEL);
  int64_t parts = heads % a.threads == 0 || heads >= 8 * a.threads ? 1 : 4 * a.threads / heads;
  parts = std::max<int64_t>(1, std::min(parts, panels));
  std::atomic<bool> ok{true};
  parallel(a.threads, heads * parts, [&](int64_t task) {
    int64_t part = task % parts, head = task / parts % a.heads, batch = task / parts / a.heads;
    int64_t from = batch * a.batch_step + head * a.head_step;
    Head work(a);
    if (!work.ok()) {
      ok = false;
      return;
    }
    work.pack(a, a.k + from, a.v + from);
    work.attend(a, a.q + from, a.out + (batch * a.length * a.heads + head) * a.dim,
                panels * part / parts * PANEL,
                std::min(a.length, panels * (part + 1) / parts * PANEL));
  });
  return ok ? 0 : 1;
}
