// CPU products with a matrix of mixed bit depths: the work of one thread.
//
// With a_j = scale_j x_j, row r of a cluster is  y_r = sum_j location_j x_j + sum_j a_j level[c_rj]:
// the first sum is one number per cluster; for the second, sixteen rows cost a shift, a permute of
// the depth's levels and a multiply-add. The order of summation in a row is fixed, so results do
// not depend on the number of threads.
#pragma once

#include "lanes.h"
#include "matrix.h"

constexpr int kAhead = 4096;    // bytes that prefetches are ahead of reads

// Returns the codes of column k of a block in the low bits of each lane; higher bits are undefined.
template <int B>
inline Words code_at(const uint32_t* words, int k) {
  const int word = B * k / 32, shift = B * k % 32;
  const Words low = right(load(words + kLanes * word), shift);
  if (shift + B <= 32) return low;
  return either(low, left(load(words + kLanes * (word + 1)), 32 - shift));
}

// Prefetches a tile's words of a block: streams are too short for the hardware prefetcher, which
// stops at page boundaries.
template <int B>
inline void fetch_ahead(const uint32_t* words) {
#if defined(__GNUC__)
  // an integer, since a pointer must not leave its array
  const uintptr_t ahead = reinterpret_cast<uintptr_t>(words) + kAhead;
  for (int b = 0; b < B; ++b)
    __builtin_prefetch(reinterpret_cast<const void*>(ahead + b * kLanes * sizeof(*words)));
#endif
}

// y[tile][n] += sum_k a[k][n] level[code_k] over the columns of a block, for N right-hand sides.
template <int B, int N>
void multiply(const uint32_t* words, int columns, int64_t tiles, const float* a, const float* levels,
              float* y) {
  const Table<B> table(levels);
  constexpr int kChains = N >= 4 ? 1 : 4 / N;  // independent sums
  const int64_t stride = words_of(columns, B);
  for (int64_t t = 0; t < tiles; ++t, words += stride, y += N * kLanes) {
    fetch_ahead<B>(words);
    Floats sum[kChains][N];
    for (int n = 0; n < N; ++n) {
      sum[0][n] = load(y + kLanes * n);
      for (int c = 1; c < kChains; ++c) sum[c][n] = all(0);
    }
    if (columns == kBlock) {
#pragma GCC unroll 32
      for (int k = 0; k < kBlock; ++k) {
        const Floats level = table(code_at<B>(words, k));
        for (int n = 0; n < N; ++n)
          sum[k % kChains][n] = fma(level, all(a[k * N + n]), sum[k % kChains][n]);
      }
    } else {
      for (int k = 0; k < columns; ++k) {
        const Floats level = table(code_at<B>(words, k));
        for (int n = 0; n < N; ++n) sum[0][n] = fma(level, all(a[k * N + n]), sum[0][n]);
      }
    }
    for (int n = 0; n < N; ++n) {
      for (int c = 1; c < kChains; ++c) sum[0][n] = add(sum[0][n], sum[c][n]);
      store(y + kLanes * n, sum[0][n]);
    }
  }
}

// The same for depths 1 and 2 and one right-hand side: adjacent columns whose codes fill four bits
// share a table of 16 sums, which is computed once for all tiles, and cost one permute.
template <int B>
void multiply_joint(const uint32_t* words, int columns, int64_t tiles, const float* a,
                    const float* levels, float* y) {
  constexpr int kJoined = 4 / B, kFull = kBlock / kJoined, kChains = 4;
  float entries[kJoined][kLanes];
  for (int g = 0; g < kJoined; ++g)
    for (int code = 0; code < kLanes; ++code)
      entries[g][code] = levels[(code >> (B * g)) & ((1 << B) - 1)];
  float sums[kFull][kLanes];
  for (int k = 0; k < columns; k += kJoined) {
    Floats sum = all(0);
    for (int g = 0; g < kJoined && k + g < columns; ++g)
      sum = fma(load(entries[g]), all(a[k + g]), sum);
    store(sums[k / kJoined], sum);
  }
  const int64_t stride = words_of(columns, B);
  for (int64_t t = 0; t < tiles; ++t, words += stride, y += kLanes) {
    fetch_ahead<B>(words);
    Floats sum[kChains] = {load(y), all(0), all(0), all(0)};
    if (columns == kBlock) {
#pragma GCC unroll 16
      for (int k = 0; k < kFull; ++k)
        sum[k % kChains] = add(Table<4>(sums[k])(code_at<4>(words, k)), sum[k % kChains]);
    } else {
      for (int k = 0; k * kJoined < columns; ++k)
        sum[0] = add(Table<4>(sums[k])(code_at<4>(words, k)), sum[0]);
    }
    store(y, add(add(sum[0], sum[1]), add(sum[2], sum[3])));
  }
}

// Writes the weights of a block, location + scale x level, to rows of `out` [cols, lanes] in the
// matrix's order of columns.
template <int B, class T>
void decode_block(const uint32_t* words, int columns, int64_t tiles, const Matrix& m, int64_t at,
                  int64_t lanes, T* out) {
  const Table<B> table(m.levels_of(B));
  const int64_t stride = words_of(columns, B);
  for (int k = 0; k < columns; ++k) {
    const Floats scale = all(half(m.scale[at + k])), location = all(half(m.location[at + k]));
    T* column = out + m.columns[at + k] * lanes;
    for (int64_t t = 0; t < tiles; ++t)
      store(column + kLanes * t, fma(table(code_at<B>(words + t * stride, k)), scale, location));
  }
}

template <int B = 1, class T>
void decode_at(int bits, const uint32_t* words, int columns, int64_t tiles, const Matrix& m,
               int64_t at, int64_t lanes, T* out) {
  if constexpr (B <= kMaxBits) {
    if (bits == B)
      decode_block<B>(words, columns, tiles, m, at, lanes, out);
    else
      decode_at<B + 1>(bits, words, columns, tiles, m, at, lanes, out);
  }
}

// Calls visit(bits, words of the block at the first tile, columns, first position, words per tile).
template <class Visit>
void each_block(const Matrix& m, int64_t cluster, const Visit& visit) {
  const int64_t tiles = m.tiles_of(cluster);
  const int32_t* counts = m.counts.data() + cluster * kDepths;
  const uint32_t* words = m.words.data() + m.first_word[cluster];
  int64_t position = counts[0];
  for (int bits = 1; bits <= kMaxBits; ++bits) {
    for (int left = counts[bits]; left > 0; left -= kBlock) {
      const int columns = std::min(left, kBlock);
      const int64_t tile_words = words_of(columns, bits);
      visit(bits, words, columns, position, tile_words);
      words += tiles * tile_words;
      position += columns;
    }
  }
}

// Calls multiply for a depth known at run time.
template <int N, int B = 1>
void multiply_at(int bits, const uint32_t* words, int columns, int64_t tiles, const float* a,
                 const float* levels, float* y) {
  if constexpr (B <= kMaxBits) {
    if (bits != B)
      multiply_at<N, B + 1>(bits, words, columns, tiles, a, levels, y);
    else if constexpr (N == 1 && B <= 2)
      multiply_joint<B>(words, columns, tiles, a, levels, y);
    else
      multiply<B, N>(words, columns, tiles, a, levels, y);
  }
}

// Computes scale_j x_j [cols, N] in the cluster's order, and the sums of location_j x_j [N].
template <int N>
void prepare(const Matrix& m, int64_t cluster, const float* x, float* a, float* constant) {
  const int32_t* columns = m.columns.data() + cluster * m.cols;
  const uint16_t* scale = m.scale.data() + cluster * m.cols;
  const uint16_t* location = m.location.data() + cluster * m.cols;
  for (int n = 0; n < N; ++n, x += m.cols) {
    Floats sum = all(0);
    float scaled[kLanes];
    for (int64_t j = 0; j < m.cols; j += kLanes) {
      const int width = std::min<int64_t>(kLanes, m.cols - j);
      if (width < kLanes) {
        int32_t index[kLanes] = {};
        uint16_t s[kLanes] = {}, l[kLanes] = {};
        std::copy_n(columns + j, width, index);
        std::copy_n(scale + j, width, s);
        std::copy_n(location + j, width, l);
        const Floats v = gather(x, index);
        sum = fma(v, halves(l), sum);
        store(scaled, mul(v, halves(s)));
      } else {
        const Floats v = gather(x, columns + j);
        sum = fma(v, halves(location + j), sum);
        store(scaled, mul(v, halves(scale + j)));
      }
      for (int i = 0; i < width; ++i) a[(j + i) * N + n] = scaled[i];
    }
    float lanes[kLanes];
    store(lanes, sum);
    constant[n] = 0;
    for (float lane : lanes) constant[n] += lane;
  }
}

// Computes the rows of tiles [begin, end) of y [N, rows].
template <int N>
void products_of_tiles(const Matrix& m, const float* x, const float* bias, float* y, int64_t begin,
                       int64_t end) {
  std::vector<float> a(m.cols * N), sums;
  float constant[N];
  for (int64_t c = 0; c < m.clusters; ++c) {
    const int64_t first = std::max<int64_t>(begin, m.first_tile[c]);
    const int64_t tiles = std::min<int64_t>(end, m.first_tile[c + 1]) - first;
    if (tiles <= 0) continue;
    prepare<N>(m, c, x, a.data(), constant);
    sums.resize(tiles * N * kLanes);
    for (int64_t i = 0; i < tiles * N; ++i) store(&sums[i * kLanes], all(constant[i % N]));
    each_block(m, c, [&](int bits, const uint32_t* words, int columns, int64_t position,
                         int64_t tile_words) {
      multiply_at<N>(bits, words + (first - m.first_tile[c]) * tile_words, columns, tiles,
                     a.data() + position * N, m.levels_of(bits), sums.data());
    });
    const float* sum = sums.data();
    for (int64_t t = first; t < first + tiles; ++t)
      for (int n = 0; n < N; ++n)
        for (int lane = 0; lane < kLanes; ++lane, ++sum) {
          const int32_t row = m.row[t * kLanes + lane];
          if (row >= 0) y[n * m.rows + row] = bias ? *sum + bias[row] : *sum;
        }
  }
}

// Returns the first tile of a thread's share; shares have equal bytes of codes.
int64_t boundary(const Matrix& m, int64_t share, int64_t shares) {
  const int64_t wanted = m.first_word[m.clusters] / shares * share;
  for (int64_t c = 0; c < m.clusters; ++c) {
    const int64_t words = m.first_word[c + 1] - m.first_word[c];
    if (m.first_word[c + 1] > wanted && words > 0)
      return m.first_tile[c] + (wanted - m.first_word[c]) / (words / m.tiles_of(c));
  }
  return m.tiles();
}

// Writes the weights of tiles [begin, end) of a cluster to `out` [cols, lanes], transposed.
template <class T>
void decode_tiles(const Matrix& m, int64_t cluster, T* out, int64_t begin, int64_t end) {
  const int64_t lanes = m.tiles_of(cluster) * kLanes, at = cluster * m.cols;
  T* first = out + begin * kLanes;
  for (int64_t j = at; j < at + m.counts[cluster * kDepths]; ++j)
    std::fill_n(first + m.columns[j] * lanes, (end - begin) * kLanes, T(half(m.location[j])));
  each_block(m, cluster, [&](int bits, const uint32_t* words, int columns, int64_t position,
                             int64_t tile_words) {
    decode_at(bits, words + begin * tile_words, columns, end - begin, m, at + position, lanes, first);
  });
}

// Writes products [begin, end) of a cluster, `part` [N, lanes], to their rows of y [N, rows], and
// adds the bias.
template <class T>
void scatter(const Matrix& m, int64_t cluster, const T* part, const float* bias, T* y, int64_t begin,
             int64_t end) {
  const int64_t lanes = m.tiles_of(cluster) * kLanes;
  const int32_t* row = m.row.data() + m.first_tile[cluster] * int64_t{kLanes};
  for (int64_t n = begin; n < end; ++n)
    for (int64_t lane = 0; lane < lanes; ++lane)
      if (row[lane] >= 0) {
        const T value = part[n * lanes + lane];
        y[n * m.rows + row[lane]] = bias ? T(float(value) + bias[row[lane]]) : value;
      }
}
