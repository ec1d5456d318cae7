// Memory and threads of a kernel. Included by kernels.h within its namespace.

constexpr int64_t ALIGNMENT = 64;

// An aligned array that is let go at the end of its scope; `ok()` is false without memory.
template <class R>
class Buffer {
 public:
  explicit Buffer(int64_t size, bool zero = false) {
    size_t bytes = size_t(std::max<int64_t>(size, 1)) * sizeof(R);
    bytes = (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    if (posix_memalign(reinterpret_cast<void**>(&data_), ALIGNMENT, bytes)) data_ = nullptr;
    if (zero && data_) std::memset(static_cast<void*>(data_), 0, bytes);
  }
  ~Buffer() { std::free(data_); }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  bool ok() const { return data_ != nullptr; }
  R* get() const { return data_; }

 private:
  R* data_ = nullptr;
};

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Run body(task index) over all tasks on the threads asked for.
template <class Body>
void parallel(int64_t threads, int64_t tasks, Body body) {
#if defined(_OPENMP)
#pragma omp parallel for num_threads(int(std::min(threads, tasks))) schedule(static, 1)
#endif
  for (int64_t task = 0; task < tasks; ++task) body(task);
}
