// Softmax attention, forward, in one pass over the keys (Milakov and Gimelshein, arXiv 1805.02867;
// Rabe and Staats, arXiv 2112.05682). Included by kernels.h within its namespace.
//
// Per head, keys and values are packed once into panels as wide as the accumulators of a register
// tile; then blocks of queries go over blocks of keys, their scores and sums staying in cache.

constexpr int64_t TILE_ROWS = LANES == 16 ? 8 : 4;  // with TILE_COLUMNS, what registers hold
constexpr int64_t TILE_COLUMNS = 3;
constexpr int64_t PANEL = TILE_COLUMNS * LANES;
constexpr int64_t QUERY_BLOCK = 32;
constexpr int64_t KEY_BLOCK = 4 * PANEL;

// out (TILE_ROWS, COLUMNS * LANES) = or += a (TILE_ROWS, depth) times panel (depth, COLUMNS * LANES).
template <int COLUMNS, bool ADD>
INLINE void multiply_tile(const float* a, int64_t a_row, const float* panel, int64_t depth,
                          float* out, int64_t out_row) {
  VecF sum[TILE_ROWS][COLUMNS];
  for (int r = 0; r < TILE_ROWS; ++r) {
    for (int c = 0; c < COLUMNS; ++c) {
      sum[r][c] = ADD ? load(out + r * out_row + c * LANES) : VecF{};
    }
  }
  for (int64_t k = 0; k < depth; ++k, panel += COLUMNS * LANES) {
    VecF b[COLUMNS];
    for (int c = 0; c < COLUMNS; ++c) b[c] = load(panel + c * LANES);
#pragma GCC unroll 8
    for (int r = 0; r < TILE_ROWS; ++r) {
      VecF value = splat(a[r * a_row + k]);
      for (int c = 0; c < COLUMNS; ++c) sum[r][c] += value * b[c];
    }
  }
  for (int r = 0; r < TILE_ROWS; ++r) {
    for (int c = 0; c < COLUMNS; ++c) store(out + r * out_row + c * LANES, sum[r][c]);
  }
}

INLINE float largest_lane(VecF v) {
  float largest = v[0];
  for (int i = 1; i < LANES; ++i) largest = std::max(largest, v[i]);
  return largest;
}

// One head of one batch entry: packed keys and values, and the queries' running results.
struct Head {
  int64_t length, dim, padded_length, value_width;
  Buffer<float> keys, values, queries, scores, sums, largest, total;

  explicit Head(const AttentionArguments& a)
      : length(a.length),
        dim(a.dim),
        padded_length(ceil_div(a.length, PANEL) * PANEL),
        value_width(ceil_div(a.dim, LANES) * LANES),
        keys(padded_length * dim),
        values(padded_length * value_width),
        queries(QUERY_BLOCK * dim),
        scores(QUERY_BLOCK * KEY_BLOCK),
        sums(QUERY_BLOCK * value_width),
        largest(QUERY_BLOCK),
        total(QUERY_BLOCK) {}
  bool ok() const {
    return keys.ok() && values.ok() && queries.ok() && scores.ok() && sums.ok() &&
           largest.ok() && total.ok();
  }

  // Keys to (panel, dim, PANEL); values to (column panel, key, lanes of the panel).
  void pack(const AttentionArguments& a, const float* k, const float* v) {
    for (int64_t first = 0; first < padded_length; first += PANEL) {
      float* panel = keys.get() + first * dim;
      for (int64_t i = 0; i < PANEL; ++i) {
        const float* row = k + (first + i) * a.row;
        for (int64_t d = 0; d < dim; ++d) panel[d * PANEL + i] = first + i < length ? row[d] : 0;
      }
    }
    float* panel = values.get();
    for (int64_t column = 0; column < value_width; column += PANEL) {
      int64_t width = std::min(PANEL, value_width - column);
      int64_t filled = std::min(width, dim - column);
      for (int64_t key = 0; key < padded_length; ++key, panel += width) {
        std::memset(panel, 0, width * sizeof(float));
        if (key < length) std::memcpy(panel, v + key * a.row + column, filled * sizeof(float));
      }
    }
  }

  void score(int64_t first, int64_t keys_here) {
    for (int64_t p = 0; p < keys_here; p += PANEL) {
      const float* panel = keys.get() + (first + p) * dim;
      for (int64_t r = 0; r < QUERY_BLOCK; r += TILE_ROWS) {
        multiply_tile<TILE_COLUMNS, false>(queries.get() + r * dim, dim, panel, dim,
                                           scores.get() + r * KEY_BLOCK + p, KEY_BLOCK);
      }
    }
  }

  // Scores, in units of log 2, to weights relative to the largest score so far.
  void weigh(int64_t first, int64_t keys_here) {
    for (int64_t r = 0; r < QUERY_BLOCK; ++r) {
      float* row = scores.get() + r * KEY_BLOCK;
      for (int64_t i = length - first; i < keys_here; ++i) row[i] = -INFINITY;
      VecF most = splat(largest.get()[r]);
      for (int64_t i = 0; i < keys_here; i += LANES) {
        VecF score = load(row + i);
        most = score > most ? score : most;
      }
      float now = largest_lane(most);
      VecF sum = {};
      for (int64_t i = 0; i < keys_here; i += LANES) {
        VecF weight = exp2(load(row + i) - now);
        sum += weight;
        store(row + i, weight);
      }
      float faded = exp2(splat(largest.get()[r] - now))[0];
      total.get()[r] = total.get()[r] * faded + sum_of_lanes(sum);
      largest.get()[r] = now;
      float* result = sums.get() + r * value_width;
      for (int64_t i = 0; i < value_width; i += LANES) store(result + i, load(result + i) * faded);
    }
  }

  template <int COLUMNS>
  void add_column(int64_t first, int64_t keys_here, int64_t column) {
    const float* panel = values.get() + column * padded_length + first * COLUMNS * LANES;
    for (int64_t r = 0; r < QUERY_BLOCK; r += TILE_ROWS) {
      multiply_tile<COLUMNS, true>(scores.get() + r * KEY_BLOCK, KEY_BLOCK, panel, keys_here,
                                   sums.get() + r * value_width + column, value_width);
    }
  }

  void add_values(int64_t first, int64_t keys_here) {
    for (int64_t column = 0; column < value_width; column += PANEL) {
      int64_t width = value_width - column;
      if (width >= PANEL) {
        add_column<TILE_COLUMNS>(first, keys_here, column);
      } else if (width == 2 * LANES) {
        add_column<2>(first, keys_here, column);
      } else {
        add_column<1>(first, keys_here, column);
      }
    }
  }

  void attend(const AttentionArguments& a, const float* q, float* out, int64_t begin,
              int64_t end) {
    float scale = kLog2E<float> / std::sqrt(float(dim));
    for (int64_t query = begin; query < end; query += QUERY_BLOCK) {
      int64_t rows = std::min(QUERY_BLOCK, end - query);
      for (int64_t r = 0; r < QUERY_BLOCK; ++r) {
        for (int64_t d = 0; d < dim; ++d) {
          queries.get()[r * dim + d] = r < rows ? q[(query + r) * a.row + d] * scale : 0;
        }
        largest.get()[r] = -std::numeric_limits<float>::max();
        total.get()[r] = 0;
      }
      std::memset(sums.get(), 0, QUERY_BLOCK * value_width * sizeof(float));
      for (int64_t first = 0; first < padded_length; first += KEY_BLOCK) {
        int64_t keys_here = std::min(KEY_BLOCK, padded_length - first);
        score(first, keys_here);
        weigh(first, keys_here);
        add_values(first, keys_here);
      }
      for (int64_t r = 0; r < rows; ++r) {
        float* to = out + (query + r) * a.heads * dim;
        for (int64_t d = 0; d < dim; ++d) {
          to[d] = sums.get()[r * value_width + d] / total.get()[r];
        }
      }
    }
  }
};

int run_attention(const AttentionArguments& a) {
  if (a.batch * a.length * a.heads * a.dim == 0) return 0;
  // Heads are shared out whole, so that each is packed once, unless there are few.
  int64_t heads = a.batch * a.heads, blocks = ceil_div(a.length, QUERY_BLOCK);
  int64_t parts = heads % a.threads == 0 || heads >= 8 * a.threads ? 1 : 4 * a.threads / heads;
  parts = std::max<int64_t>(1, std::min(parts, blocks));
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
                blocks * part / parts * QUERY_BLOCK,
                std::min(a.length, blocks * (part + 1) / parts * QUERY_BLOCK));
  });
  return ok ? 0 : 1;
}
