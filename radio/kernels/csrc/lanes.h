// Sixteen rows at once: one vector of AVX-512, two of AVX2, or an array. The compiler's flags
// select one; cpu.py sets them by the instruction set that torch detects.
#pragma once

#include <cstdint>

#if defined(__AVX512F__) || defined(__AVX2__)
#include <immintrin.h>
#endif

#include <c10/util/BFloat16.h>
#include <c10/util/Half.h>

#include "matrix.h"

inline float half(uint16_t bits) { return c10::Half(bits, c10::Half::from_bits()); }

#if defined(__AVX512F__)

using Floats = __m512;
using Words = __m512i;

inline Floats load(const float* p) { return _mm512_loadu_ps(p); }
inline void store(float* p, Floats v) { _mm512_storeu_ps(p, v); }
// rounds to nearest, ties to even: adds half a unit, or just below half if the last kept bit is
// even. NaN is handled separately, since the carry could reach its sign.
inline void store(c10::BFloat16* p, Floats v) {
  const __m512i bits = _mm512_castps_si512(v);
  const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
  const __m512i sum = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
  const __mmask16 nan = _mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q);
  const __m512i rounded = _mm512_mask_mov_epi32(sum, nan, _mm512_set1_epi32(0x7fc00000));
  const __m256i upper = _mm512_cvtepi32_epi16(_mm512_srli_epi32(rounded, 16));
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), upper);
}
inline Floats all(float v) { return _mm512_set1_ps(v); }
inline Floats add(Floats a, Floats b) { return _mm512_add_ps(a, b); }
inline Floats mul(Floats a, Floats b) { return _mm512_mul_ps(a, b); }
inline Floats fma(Floats a, Floats b, Floats c) { return _mm512_fmadd_ps(a, b, c); }
inline Floats halves(const uint16_t* p) {
  return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
}
inline Floats gather(const float* p, const int32_t* index) {
  return _mm512_i32gather_ps(_mm512_loadu_si512(index), p, 4);
}
inline Words load(const uint32_t* p) { return _mm512_loadu_si512(p); }
inline Words right(Words w, int bits) { return _mm512_srl_epi32(w, _mm_cvtsi32_si128(bits)); }
inline Words left(Words w, int bits) { return _mm512_sll_epi32(w, _mm_cvtsi32_si128(bits)); }
inline Words either(Words a, Words b) { return _mm512_or_si512(a, b); }

// Levels of one depth in registers. Permutes ignore the higher bits of an index, so codes need no
// mask: a table of fewer than 16 levels is repeated; of longer tables, single bits select a part.
template <int B>
struct Table {
  static constexpr int kVectors = B <= 4 ? 1 : 1 << (B - 4);
  __m512 part[kVectors];

  explicit Table(const float* levels) {
    if constexpr (B < 4) {
      float repeated[kLanes];
      for (int i = 0; i < kLanes; ++i) repeated[i] = levels[i & ((1 << B) - 1)];
      part[0] = load(repeated);
    } else {
      for (int v = 0; v < kVectors; ++v) part[v] = load(levels + kLanes * v);
    }
  }

  Floats operator()(Words code) const {
    if constexpr (B <= 4) {
      return _mm512_permutexvar_ps(code, part[0]);
    } else {
      return among<0, kVectors>(code);
    }
  }

 private:
  template <int First, int Count>
  Floats among(Words code) const {
    if constexpr (Count == 2) {
      return _mm512_permutex2var_ps(part[First], code, part[First + 1]);
    } else {
      // 16 levels per vector: this bit of the code selects the upper or lower half
      const __mmask16 upper = _mm512_test_epi32_mask(code, _mm512_set1_epi32(8 * Count));
      return _mm512_mask_blend_ps(upper, among<First, Count / 2>(code),
                                  among<First + Count / 2, Count / 2>(code));
    }
  }
};

#elif defined(__AVX2__)

struct Floats { __m256 v[2]; };
struct Words { __m256i v[2]; };

inline Floats load(const float* p) { return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
inline void store(float* p, Floats a) { _mm256_storeu_ps(p, a.v[0]); _mm256_storeu_ps(p + 8, a.v[1]); }
inline Floats all(float v) { return {_mm256_set1_ps(v), _mm256_set1_ps(v)}; }
inline Floats add(Floats a, Floats b) {
  return {_mm256_add_ps(a.v[0], b.v[0]), _mm256_add_ps(a.v[1], b.v[1])};
}
inline Floats mul(Floats a, Floats b) {
  return {_mm256_mul_ps(a.v[0], b.v[0]), _mm256_mul_ps(a.v[1], b.v[1])};
}
inline Floats fma(Floats a, Floats b, Floats c) {
  return {_mm256_fmadd_ps(a.v[0], b.v[0], c.v[0]), _mm256_fmadd_ps(a.v[1], b.v[1], c.v[1])};
}
inline Floats halves(const uint16_t* p) {
  const __m128i* q = reinterpret_cast<const __m128i*>(p);
  return {_mm256_cvtph_ps(_mm_loadu_si128(q)), _mm256_cvtph_ps(_mm_loadu_si128(q + 1))};
}
inline Words load(const uint32_t* p) {
  const __m256i* q = reinterpret_cast<const __m256i*>(p);
  return {_mm256_loadu_si256(q), _mm256_loadu_si256(q + 1)};
}
inline Floats gather(const float* p, const int32_t* index) {
  const Words at = load(reinterpret_cast<const uint32_t*>(index));
  return {_mm256_i32gather_ps(p, at.v[0], 4), _mm256_i32gather_ps(p, at.v[1], 4)};
}
inline Words right(Words w, int bits) {
  const __m128i n = _mm_cvtsi32_si128(bits);
  return {_mm256_srl_epi32(w.v[0], n), _mm256_srl_epi32(w.v[1], n)};
}
inline Words left(Words w, int bits) {
  const __m128i n = _mm_cvtsi32_si128(bits);
  return {_mm256_sll_epi32(w.v[0], n), _mm256_sll_epi32(w.v[1], n)};
}
inline Words either(Words a, Words b) {
  return {_mm256_or_si256(a.v[0], b.v[0]), _mm256_or_si256(a.v[1], b.v[1])};
}

template <int B>
struct Table {
  __m256 part[2];  // up to 16 levels; longer tables are gathered from memory
  const float* levels;

  explicit Table(const float* levels) : levels(levels) {
    float repeated[8];
    for (int i = 0; i < 8; ++i) repeated[i] = levels[i & ((1 << B) - 1)];
    part[0] = _mm256_loadu_ps(B < 3 ? repeated : levels);
    part[1] = _mm256_loadu_ps(B == 4 ? levels + 8 : levels);
  }

  Floats operator()(Words code) const { return {one(code.v[0]), one(code.v[1])}; }

 private:
  __m256 one(__m256i code) const {
    if constexpr (B <= 3) {
      return _mm256_permutevar8x32_ps(part[0], code);
    } else if constexpr (B == 4) {
      // a blend selects by the sign bit, so the code's top bit is moved there
      return _mm256_blendv_ps(_mm256_permutevar8x32_ps(part[0], code),
                              _mm256_permutevar8x32_ps(part[1], code),
                              _mm256_castsi256_ps(_mm256_slli_epi32(code, 28)));
    } else {
      const __m256i mask = _mm256_set1_epi32((1 << B) - 1);
      return _mm256_i32gather_ps(levels, _mm256_and_si256(code, mask), 4);
    }
  }
};

#else

struct Floats { float v[kLanes]; };
struct Words { uint32_t v[kLanes]; };

// every operation is one expression for lane i, which compilers vectorize
#define RADIO_LANES(type, expression) \
  type r;                             \
  for (int i = 0; i < kLanes; ++i) r.v[i] = expression; \
  return r

inline Floats load(const float* p) { RADIO_LANES(Floats, p[i]); }
inline void store(float* p, Floats a) { for (int i = 0; i < kLanes; ++i) p[i] = a.v[i]; }
inline Floats all(float v) { RADIO_LANES(Floats, v); }
inline Floats add(Floats a, Floats b) { RADIO_LANES(Floats, a.v[i] + b.v[i]); }
inline Floats mul(Floats a, Floats b) { RADIO_LANES(Floats, a.v[i] * b.v[i]); }
inline Floats fma(Floats a, Floats b, Floats c) { RADIO_LANES(Floats, a.v[i] * b.v[i] + c.v[i]); }
inline Floats halves(const uint16_t* p) { RADIO_LANES(Floats, half(p[i])); }
inline Floats gather(const float* p, const int32_t* index) { RADIO_LANES(Floats, p[index[i]]); }
inline Words load(const uint32_t* p) { RADIO_LANES(Words, p[i]); }
inline Words right(Words w, int bits) { RADIO_LANES(Words, w.v[i] >> bits); }
inline Words left(Words w, int bits) { RADIO_LANES(Words, w.v[i] << bits); }
inline Words either(Words a, Words b) { RADIO_LANES(Words, a.v[i] | b.v[i]); }

template <int B>
struct Table {
  const float* levels;
  explicit Table(const float* levels) : levels(levels) {}
  Floats operator()(Words code) const { RADIO_LANES(Floats, levels[code.v[i] & ((1u << B) - 1)]); }
};

#undef RADIO_LANES

#endif

#if !defined(__AVX512F__)
inline void store(c10::BFloat16* p, Floats v) {
  float lanes[kLanes];
  store(lanes, v);
  for (int i = 0; i < kLanes; ++i) p[i] = lanes[i];
}
#endif
