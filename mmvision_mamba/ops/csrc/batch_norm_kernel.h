// Batch norm of channels-last maps (arXiv 1502.03167, Algorithm 1), forward and backward. Included
// by kernels.h within its namespace.
//
// Channels lie across a vector's lanes. A channel's sums run over hundreds of thousands of rows
// (pixels of the batch), where one float32 sum loses four digits: a block of rows is summed from
// zero while it is in cache, and the blocks are added in double precision. Means and squared
// distances from them are merged as Chan, Golub and LeVeque do (The American Statistician 37, 1983),
// so that a map is read once however far its mean is from zero.

constexpr int64_t ROW_BLOCK = 64;
constexpr int64_t COLUMN_GROUP = 4;

// How a map (rows, channels) is cut: into vectors of channels, blocks of rows, and tasks of blocks.
struct Cut {
  int64_t rows, channels, columns, blocks, tasks;

  Cut(const BatchNormArguments& a)
      : rows(a.rows),
        channels(a.channels),
        columns(ceil_div(a.channels, LANES)),
        blocks(ceil_div(a.rows, ROW_BLOCK)),
        tasks(std::min(blocks, 4 * a.threads)) {}
  // The last vector of channels overlaps the one before, rather than be partly empty.
  int64_t channel(int64_t column) const {
    return std::max<int64_t>(0, std::min(column * LANES, channels - LANES));
  }
  int64_t lanes() const { return std::min<int64_t>(LANES, channels); }
  int64_t first_row(int64_t task) const { return blocks * task / tasks * ROW_BLOCK; }
  int64_t last_row(int64_t task) const { return std::min(rows, first_row(task + 1)); }
};

// Call run(first row, rows, first column, constant number of columns) over a task's blocks.
template <class Run>
INLINE void for_blocks(const Cut& cut, int64_t task, Run run) {
  for (int64_t row = cut.first_row(task); row < cut.last_row(task); row += ROW_BLOCK) {
    int64_t rows = std::min(ROW_BLOCK, cut.last_row(task) - row), column = 0;
    for (; column + COLUMN_GROUP <= cut.columns; column += COLUMN_GROUP) {
      run(row, rows, column, std::integral_constant<int, COLUMN_GROUP>{});
    }
    for (; column < cut.columns; ++column) {
      run(row, rows, column, std::integral_constant<int, 1>{});
    }
  }
}

// COUNT vectors of channels, wherever they lie in a row.
template <int COUNT>
struct Columns {
  int64_t at[COUNT], lanes;

  Columns(const Cut& cut, int64_t first) : lanes(cut.lanes()) {
    for (int c = 0; c < COUNT; ++c) at[c] = cut.channel(first + c);
  }
  template <class T>
  __attribute__((always_inline)) VecF load(const T* row, int c) const {
    return load_row<float>(row + at[c], lanes);
  }
};

// Per vector of channels: two sums that a task leaves; or a mean and the squared distances from it.
struct Pair {
  Vec<double> first, second;
};

// Add the mean and squared distances of `count` rows to those of `before` rows.
INLINE void merge(Pair& to, double before, const Pair& from, double count) {
  Vec<double> step = from.first - to.first;
  to.first += step * (count / (before + count));
  to.second += from.second + step * step * (before * count / (before + count));
}

template <class T>
void add_moments(const T* x, const Cut& cut, int64_t task, Pair* moments) {
  for_blocks(cut, task, [&](int64_t row, int64_t rows, int64_t first, auto count)
                            __attribute__((always_inline)) {
    constexpr int COUNT = decltype(count)::value;
    Columns<COUNT> columns(cut, first);
    const T* begin = x + row * cut.channels;
    VecF mean[COUNT] = {}, squares[COUNT] = {};
    for (int64_t r = 0; r < rows; ++r) {
      for (int c = 0; c < COUNT; ++c) mean[c] += columns.load(begin + r * cut.channels, c);
    }
    for (int c = 0; c < COUNT; ++c) mean[c] /= float(rows);
    for (int64_t r = 0; r < rows; ++r) {
      for (int c = 0; c < COUNT; ++c) {
        VecF step = columns.load(begin + r * cut.channels, c) - mean[c];
        squares[c] += step * step;
      }
    }
    double before = double(row - cut.first_row(task));
    for (int c = 0; c < COUNT; ++c) {
      merge(moments[first + c], before, {to_double(mean[c]), to_double(squares[c])}, double(rows));
    }
  });
}

// The batch's mean and biased variance of each channel.
template <class T>
bool measure(const BatchNormArguments& a, const Cut& cut) {
  Buffer<Pair> moments(cut.tasks * cut.columns, true);
  if (!moments.ok()) return false;
  parallel(a.threads, cut.tasks, [&](int64_t task) {
    add_moments(static_cast<const T*>(a.x), cut, task, moments.get() + task * cut.columns);
  });
  for (int64_t column = 0; column < cut.columns; ++column) {
    Pair& all = moments.get()[column];
    for (int64_t task = 1; task < cut.tasks; ++task) {
      merge(all, double(cut.first_row(task)), moments.get()[task * cut.columns + column],
            double(cut.last_row(task) - cut.first_row(task)));
    }
    for (int64_t lane = 0; lane < cut.lanes(); ++lane) {
      a.mean[cut.channel(column) + lane] = float(all.first[lane]);
      a.var[cut.channel(column) + lane] = float(all.second[lane] / double(cut.rows));
    }
  }
  return true;
}

// 1 / sqrt(var + eps) of each channel.
bool invert(const BatchNormArguments& a, Buffer<float>& scale) {
  if (!scale.ok()) return false;
  for (int64_t c = 0; c < a.channels; ++c) {
    scale.get()[c] = float(1 / std::sqrt(double(a.var[c]) + a.eps));
  }
  return true;
}

template <class T>
int batch_norm_forward(const BatchNormArguments& a) {
  Cut cut(a);
  Buffer<float> scale(a.channels);
  if ((a.training && !measure<T>(a, cut)) || !invert(a, scale)) return 1;
  for (int64_t c = 0; c < a.channels; ++c) scale.get()[c] *= a.weight[c];
  parallel(a.threads, cut.tasks, [&](int64_t task) {
    for_blocks(cut, task, [&](int64_t row, int64_t rows, int64_t first, auto count)
                              __attribute__((always_inline)) {
      constexpr int COUNT = decltype(count)::value;
      Columns<COUNT> columns(cut, first);
      VecF mean[COUNT], slope[COUNT], shift[COUNT];
      for (int c = 0; c < COUNT; ++c) {
        mean[c] = columns.load(a.mean, c);
        slope[c] = columns.load(scale.get(), c);
        shift[c] = columns.load(a.bias, c);
      }
      const T* x = static_cast<const T*>(a.x) + row * cut.channels;
      T* y = static_cast<T*>(a.y) + row * cut.channels;
      for (int64_t r = 0; r < rows; ++r, x += cut.channels, y += cut.channels) {
        for (int c = 0; c < COUNT; ++c) {
          VecF value = (columns.load(x, c) - mean[c]) * slope[c] + shift[c];
          store_row<float>(y + columns.at[c], value, columns.lanes);
        }
      }
    });
  });
  return 0;
}

// Sums of dy, and of dy times the distance of x from its mean.
template <class T>
void add_gradients(const BatchNormArguments& a, const Cut& cut, int64_t task, Pair* sums) {
  for_blocks(cut, task, [&](int64_t row, int64_t rows, int64_t first, auto count)
                            __attribute__((always_inline)) {
    constexpr int COUNT = decltype(count)::value;
    Columns<COUNT> columns(cut, first);
    VecF mean[COUNT], plain[COUNT] = {}, weighted[COUNT] = {};
    for (int c = 0; c < COUNT; ++c) mean[c] = columns.load(a.mean, c);
    const T* x = static_cast<const T*>(a.x) + row * cut.channels;
    const T* dy = static_cast<const T*>(a.dy) + row * cut.channels;
    for (int64_t r = 0; r < rows; ++r, x += cut.channels, dy += cut.channels) {
      for (int c = 0; c < COUNT; ++c) {
        VecF gradient = columns.load(dy, c);
        plain[c] += gradient;
        weighted[c] += gradient * (columns.load(x, c) - mean[c]);
      }
    }
    for (int c = 0; c < COUNT; ++c) {
      sums[first + c].first += to_double(plain[c]);
      sums[first + c].second += to_double(weighted[c]);
    }
  });
}

template <class T>
int batch_norm_backward(const BatchNormArguments& a) {
  Cut cut(a);
  Buffer<Pair> sums(cut.tasks * cut.columns, true);
  // In training dx = slope * (dy - shift - (x - mean) * tilt).
  Buffer<float> scale(a.channels), slopes(a.channels), shifts(a.channels), tilts(a.channels);
  if (!sums.ok() || !slopes.ok() || !shifts.ok() || !tilts.ok() || !invert(a, scale)) return 1;
  parallel(a.threads, cut.tasks, [&](int64_t task) {
    add_gradients<T>(a, cut, task, sums.get() + task * cut.columns);
  });
  for (int64_t column = 0; column < cut.columns; ++column) {
    Pair& all = sums.get()[column];
    for (int64_t task = 1; task < cut.tasks; ++task) {
      const Pair& more = sums.get()[task * cut.columns + column];
      all.first += more.first;
      all.second += more.second;
    }
    for (int64_t lane = 0; lane < cut.lanes(); ++lane) {
      int64_t channel = cut.channel(column) + lane;
      double inverse = scale.get()[channel];
      a.dbias[channel] = float(all.first[lane]);
      a.dweight[channel] = float(all.second[lane] * inverse);
      slopes.get()[channel] = scale.get()[channel] * a.weight[channel];
      shifts.get()[channel] = float(all.first[lane] / double(cut.rows));
      tilts.get()[channel] = float(all.second[lane] * inverse * inverse / double(cut.rows));
    }
  }
  parallel(a.threads, cut.tasks, [&](int64_t task) {
    for_blocks(cut, task, [&](int64_t row, int64_t rows, int64_t first, auto count)
                              __attribute__((always_inline)) {
      constexpr int COUNT = decltype(count)::value;
      Columns<COUNT> columns(cut, first);
      VecF mean[COUNT], slope[COUNT], shift[COUNT], tilt[COUNT];
      for (int c = 0; c < COUNT; ++c) {
        mean[c] = columns.load(a.mean, c);
        slope[c] = columns.load(slopes.get(), c);
        shift[c] = columns.load(shifts.get(), c);
        tilt[c] = columns.load(tilts.get(), c);
      }
      const T* x = static_cast<const T*>(a.x) + row * cut.channels;
      const T* dy = static_cast<const T*>(a.dy) + row * cut.channels;
      T* dx = static_cast<T*>(a.dx) + row * cut.channels;
      for (int64_t r = 0; r < rows; ++r) {
        for (int c = 0; c < COUNT; ++c) {
          VecF value = columns.load(dy, c);
          // Statistics that are given, not the batch's, hand nothing back.
          if (a.training) value -= shift[c] + (columns.load(x, c) - mean[c]) * tilt[c];
          store_row<float>(dx + columns.at[c], value * slope[c], columns.lanes);
        }
        x += cut.channels;
        dy += cut.channels;
        dx += cut.channels;
      }
    });
  });
  return 0;
}

int run_batch_norm_forward(const BatchNormArguments& a) {
  switch (a.storage) {
    case kBFloat16:
      return batch_norm_forward<BFloat16>(a);
    case kFloat16:
      return batch_norm_forward<Float16>(a);
    default:
      return batch_norm_forward<float>(a);
  }
}

int run_batch_norm_backward(const BatchNormArguments& a) {
  switch (a.storage) {
    case kBFloat16:
      return batch_norm_backward<BFloat16>(a);
    case kFloat16:
      return batch_norm_backward<Float16>(a);
    default:
      return batch_norm_backward<float>(a);
  }
}
