// Vectors of LANES numbers and the functions of them that the kernels need. Included by kernels.h
// within its namespace.
//
// GCC's and Clang's vector types carry the arithmetic to any machine; the few places where an
// instruction set does better are written in its intrinsics.

template <class R>
struct VectorOf {
  typedef R type __attribute__((vector_size(LANES * sizeof(R))));
};
template <class R>
using Vec = typename VectorOf<R>::type;
using VecF = Vec<float>;
using VecI = Vec<int32_t>;
using VecU16 = Vec<uint16_t>;

struct BFloat16 {
  uint16_t bits;
};
struct Float16 {
  uint16_t bits;
};

template <class To, class From>
INLINE To bits_of(From from) {
  static_assert(sizeof(To) == sizeof(From), "same size");
  To to;
  std::memcpy(&to, &from, sizeof to);
  return to;
}

template <class R>
INLINE Vec<R> splat(R value) {
  return value - Vec<R>{};  // GCC makes a broadcast of it; -0 stays -0
}

template <class R>
INLINE Vec<R> load(const R* from) {
  Vec<R> v;
  std::memcpy(&v, from, sizeof v);
  return v;
}

template <class R, class V>
INLINE void store(R* to, V v) {
  static_assert(sizeof(V) == LANES * sizeof(R), "a vector of what is pointed to");
  std::memcpy(to, &v, sizeof v);
}

INLINE VecF widen(VecU16 half, BFloat16) {
  return bits_of<VecF>(__builtin_convertvector(half, VecI) << 16);
}

INLINE VecU16 narrow(VecF v, BFloat16) {
  VecI bits = bits_of<VecI>(v);
  VecI rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;  // to nearest, ties to even
  VecI nan = v != v;
  return __builtin_convertvector((rounded & ~nan) | (nan & 0x7fc0), VecU16);
}

#if defined(USE_AVX512)

INLINE VecF widen(VecU16 half, Float16) {
  return (VecF)_mm512_cvtph_ps(bits_of<__m256i>(half));
}
INLINE VecU16 narrow(VecF v, Float16) {
  return bits_of<VecU16>(_mm512_cvtps_ph((__m512)v, _MM_FROUND_TO_NEAREST_INT));
}

#elif defined(USE_AVX2)

INLINE VecF widen(VecU16 half, Float16) {
  return (VecF)_mm256_cvtph_ps(bits_of<__m128i>(half));
}
INLINE VecU16 narrow(VecF v, Float16) {
  return bits_of<VecU16>(_mm256_cvtps_ph((__m256)v, _MM_FROUND_TO_NEAREST_INT));
}

#else

// Multiplying by a power of two turns one exponent bias into the other, subnormals included.
INLINE VecF widen(VecU16 half, Float16) {
  VecI bits = __builtin_convertvector(half, VecI);
  VecF magnitude = bits_of<VecF>((bits & 0x7fff) << 13) * bits_of<float>(int32_t(0x77800000));
  VecI special = (bits & 0x7c00) == 0x7c00;
  VecI wide = bits_of<VecI>(magnitude) | (special & 0x7f800000);
  return bits_of<VecF>(wide | ((bits & 0x8000) << 16));
}
INLINE VecU16 narrow(VecF v, Float16) {
  VecU16 halves;
  for (int i = 0; i < LANES; ++i) {
    float magnitude = std::fabs(v[i]);
    uint32_t half;
    if (!(magnitude == magnitude)) {
      half = 0x7e00;
    } else if (magnitude >= 65520.0f) {
      half = 0x7c00;
    } else if (magnitude < 6.103515625e-05f) {  // subnormal: in units of 2^-24
      half = uint32_t(std::nearbyint(magnitude * 16777216.0f));
    } else {
      uint32_t bits = bits_of<uint32_t>(magnitude);
      half = (bits - 0x38000000 + 0xfff + ((bits >> 13) & 1)) >> 13;
    }
    halves[i] = uint16_t(half | (std::signbit(v[i]) ? 0x8000 : 0));
  }
  return halves;
}

#endif

// The first `count` elements of a row as a vector, zeros beyond them, and back.
template <class R, class T>
INLINE Vec<R> load_row(const T* from, int64_t count) {
  if constexpr (std::is_same_v<R, T>) {
    if (count == LANES) return load<R>(from);
    Vec<R> v = {};
    std::memcpy(&v, from, count * sizeof(R));
    return v;
  } else {
    VecU16 half = {};
    if (count == LANES) {
      std::memcpy(&half, from, sizeof half);
    } else {
      std::memcpy(&half, from, count * sizeof(T));
    }
    return widen(half, T{});
  }
}

template <class R, class T>
INLINE void store_row(T* to, Vec<R> v, int64_t count) {
  if constexpr (std::is_same_v<R, T>) {
    if (count == LANES) {
      store(to, v);
    } else {
      std::memcpy(to, &v, count * sizeof(R));
    }
  } else {
    VecU16 half = narrow(v, T{});
    if (count == LANES) {
      std::memcpy(to, &half, sizeof half);
    } else {
      std::memcpy(to, &half, count * sizeof(T));
    }
  }
}

// The lanes from `FIRST` on of two vectors in turn: a[FIRST], b[FIRST], a[FIRST + 1], ...
template <int FIRST, size_t... I>
INLINE VecF interleave(VecF a, VecF b, std::index_sequence<I...>) {
#if defined(__clang__)
  return __builtin_shufflevector(a, b, (FIRST + I / 2 + I % 2 * LANES)...);
#else
  return __builtin_shuffle(a, b, VecI{(FIRST + I / 2 + I % 2 * LANES)...});
#endif
}

// Transpose LANES vectors in place. Of floats each step rotates the bits of an element's row and
// lane, together, by one.
INLINE void transpose(VecF* square) {
  constexpr std::make_index_sequence<LANES> lanes;
#pragma GCC unroll 4
  for (int step = 1; step < LANES; step *= 2) {
    VecF next[LANES];
#pragma GCC unroll 8
    for (int i = 0; i < LANES / 2; ++i) {
      next[2 * i] = interleave<0>(square[i], square[i + LANES / 2], lanes);
      next[2 * i + 1] = interleave<LANES / 2>(square[i], square[i + LANES / 2], lanes);
    }
#pragma GCC unroll 16
    for (int i = 0; i < LANES; ++i) square[i] = next[i];
  }
}

INLINE void transpose(Vec<double>* square) {
  for (int i = 0; i < LANES; ++i) {
    for (int k = 0; k < i; ++k) {
      double kept = square[i][k];
      square[i][k] = square[k][i];
      square[k][i] = kept;
    }
  }
}

template <class R, class T>
INLINE R load_one(const T* from) {
  if constexpr (std::is_same_v<R, T>) {
    return *from;
  } else {
    return load_row<R>(from, 1)[0];
  }
}

// 2^x. The polynomial is a minimax fit of 2^r on [-1/2, 1/2] that is exactly 1 at 0, so that a
// decay near 1 keeps its error in proportion to its distance from 1 over any number of steps;
// relative error 9.2e-8.
INLINE VecF polynomial_of_exp2(VecF r) {
  VecF p = r * 0.0013264726f + 0.009671513f;
  p = p * r + 0.05550734f;
  p = p * r + 0.24022242f;
  p = p * r + 0.693147f;
  return p * r + 1.0f;
}

#if defined(USE_AVX512)

INLINE VecF exp2(VecF x) {
  VecF whole = (VecF)_mm512_roundscale_ps((__m512)x, _MM_FROUND_TO_NEAREST_INT);
  return (VecF)_mm512_scalef_ps((__m512)polynomial_of_exp2(x - whole), (__m512)whole);
}
INLINE VecF exp2_of_negative(VecF x) { return exp2(x); }

#else

INLINE VecF exp2(VecF x) {
  // Adding 1.5 * 2^23 leaves the nearest integer in the low bits of the mantissa.
  const float magic = 12582912.0f;
  VecI low = x < -126.0f, high = x > 127.0f;
  VecI nan = x != x;
  VecF bounded = bits_of<VecF>((bits_of<VecI>(x) & ~(low | high)));
  VecF shifted = bounded + magic;
  VecF p = polynomial_of_exp2(bounded - (shifted - magic));
  VecI result = bits_of<VecI>(p) + (bits_of<VecI>(shifted) << 23);
  result = (result & ~(low | high)) | (high & 0x7f800000) | (nan & 0x7fc00000);
  return bits_of<VecF>(result);
}

// 2^x of x up to 0, at least 2^-126; nan of nan.
INLINE VecF exp2_of_negative(VecF x) {
  // As above, with the exponent's bias in the low bits too.
  const float magic = 12582912.0f + 127.0f;
  VecF least = splat(-126.0f);
  VecF bounded = least > x ? least : x;
  VecF shifted = bounded + magic;
  VecF power = bits_of<VecF>(bits_of<VecI>(shifted) << 23);
  return polynomial_of_exp2(bounded - (shifted - magic)) * power;
}

#endif

INLINE Vec<double> exp2(Vec<double> x) {
  for (int i = 0; i < LANES; ++i) x[i] = std::exp2(x[i]);
  return x;
}

template <class R>
constexpr R kLog2E = R(1.44269504088896340736);

template <class R>
INLINE Vec<R> absolute(Vec<R> x) {
  return x < R(0) ? -x : x;
}

// log(1 + e) for e in [0, 1], as 2 artanh(e / (2 + e)): accurate however small e is.
INLINE VecF log1p_of_unit(VecF e) {
  VecF s = e / (e + 2.0f);
  VecF q = s * s;
  VecF p = q * 0.28178327f + 0.27960605f;
  p = p * q + 0.4002491f;
  p = p * q + 0.66666315f;
  p = p * q + 2.0f;
  return p * s;
}

INLINE Vec<double> log1p_of_unit(Vec<double> e) {
  for (int i = 0; i < LANES; ++i) e[i] = std::log1p(e[i]);
  return e;
}

// softplus(x) = max(x, 0) + log(1 + exp(-|x|)), and its derivative.
template <class R>
INLINE Vec<R> softplus(Vec<R> x, Vec<R>* slope) {
  Vec<R> e = exp2(absolute<R>(x) * -kLog2E<R>);
  if (slope) *slope = (x < R(0) ? e : splat<R>(1)) / (e + R(1));
  return (x < R(0) ? splat<R>(0) : x) + log1p_of_unit(e);
}

template <class V>
INLINE Vec<double> to_double(V v) {
  return __builtin_convertvector(v, Vec<double>);
}

template <class V>
INLINE auto sum_of_lanes(V v) {
  auto sum = v[0];
  for (int i = 1; i < LANES; ++i) sum += v[i];
  return sum;
}
