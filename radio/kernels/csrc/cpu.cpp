// Products with a matrix of mixed bit depths, for processors. layout.py has the order of the bytes.
//
// With a_j = scale_j x_j, row r of a cluster is  y_r = sum_j location_j x_j + sum_j a_j level[c_rj]:
// the first sum is one number a cluster, and in the second sixteen rows cost a shift, a permute of
// the depth's levels and a multiply-add. Threads share out tiles of rows, and every row is summed in
// one order, so that results do not depend on the number of threads.

#include <ATen/Dispatch.h>
#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/mm.h>
#include <torch/csrc/utils/pybind.h>

#include <algorithm>
#include <vector>

#include "lanes.h"

namespace {

constexpr int kBlock = 32;      // columns whose codes fill whole words at any depth
constexpr int kMaxBits = 8;
constexpr int kAhead = 4096;    // bytes between what is read and what is fetched
constexpr int kMinScattered = 1 << 14;  // least outputs to move for which a thread is woken
constexpr int kMinTileCols = 1 << 14;  // least tiles x columns for which a thread is woken, 8 us

struct Matrix {
  int64_t rows, cols, clusters;
  const uint32_t* words;
  const int64_t* first_word;  // [clusters + 1]
  const int32_t* first_tile;  // [clusters + 1]
  const int32_t* counts;      // [clusters, 9] columns of each depth
  const int32_t* columns;     // [clusters, cols] in the order of depths
  const uint16_t* scale;      // [clusters, cols] in that order
  const uint16_t* location;
  const int32_t* row;         // [tiles, 16], -1 where a lane is empty
  const float* levels;        // depths 1..8, one after the other

  const float* levels_of(int bits) const { return levels + (1 << bits) - 2; }
  int64_t tiles() const { return first_tile[clusters]; }
};

// 32-bit words that a tile's codes of a block take.
inline int64_t words_of(int columns, int bits) { return (columns * bits + 31) / 32 * kLanes; }

// Codes of column k of a block, in the low bits of each lane; what stands above them is undefined.
template <int B>
inline Words code_at(const uint32_t* words, int k) {
  const int word = B * k / 32, shift = B * k % 32;
  const Words low = right(load(words + kLanes * word), shift);
  if (shift + B <= 32) return low;
  return either(low, left(load(words + kLanes * (word + 1)), 32 - shift));
}

// Fetches a tile's words of a block ahead of their use: streams are too short for the processor to
// see through a page's end.
template <int B>
inline void fetch_ahead(const uint32_t* words) {
#if defined(__GNUC__)
  for (int b = 0; b < B; ++b)
    __builtin_prefetch(reinterpret_cast<const char*>(words + kLanes * b) + kAhead);
#endif
}

// y[tile][n] += sum_k a[k][n] level[code_k] over the columns of a block, for N right-hand sides.
template <int B, int N>
void multiply(const uint32_t* words, int columns, int64_t tiles, const float* a, const float* levels,
              float* y) {
  const Table<B> table(levels);
  constexpr int kChains = N >= 4 ? 1 : 4 / N;  // sums that do not wait for each other
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

// The same for depths 1 and 2 and one right-hand side: neighbouring columns whose codes fill four
// bits have a table of 16 sums, made once for all tiles, and cost one permute.
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

// Weights of a block, location + scale x level, to the columns' own places in `out` [cols, lanes].
template <int B, class T>
void decode(const uint32_t* words, int columns, int64_t tiles, const Matrix& m, int64_t at, int64_t lanes,
            T* out) {
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
      decode<B>(words, columns, tiles, m, at, lanes, out);
    else
      decode_at<B + 1>(bits, words, columns, tiles, m, at, lanes, out);
  }
}

// Calls visit(bits, words of the block at the first tile, columns, first position, words a tile).
template <class Visit>
void each_block(const Matrix& m, int64_t cluster, const Visit& visit) {
  const int64_t tiles = m.first_tile[cluster + 1] - m.first_tile[cluster];
  const int32_t* counts = m.counts + cluster * (kMaxBits + 1);
  const uint32_t* words = m.words + m.first_word[cluster];
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

// Calls multiply for a depth that is known only now.
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

// scale_j x_j [cols, N] in the cluster's order, and the sums of location_j x_j [N].
template <int N>
void prepare(const Matrix& m, int64_t cluster, const float* x, float* a, float* constant) {
  const int64_t at = cluster * m.cols;
  for (int n = 0; n < N; ++n, x += m.cols) {
    Floats sum = all(0);
    float scaled[kLanes];
    for (int64_t j = 0; j < m.cols; j += kLanes) {
      const int width = std::min<int64_t>(kLanes, m.cols - j);
      if (width < kLanes) {
        int32_t index[kLanes] = {};
        uint16_t s[kLanes] = {}, l[kLanes] = {};
        std::copy_n(m.columns + at + j, width, index);
        std::copy_n(m.scale + at + j, width, s);
        std::copy_n(m.location + at + j, width, l);
        const Floats v = gather(x, index);
        sum = fma(v, halves(l), sum);
        store(scaled, mul(v, halves(s)));
      } else {
        const Floats v = gather(x, m.columns + at + j);
        sum = fma(v, halves(m.location + at + j), sum);
        store(scaled, mul(v, halves(m.scale + at + j)));
      }
      for (int i = 0; i < width; ++i) a[(j + i) * N + n] = scaled[i];
    }
    float lanes[kLanes];
    store(lanes, sum);
    constant[n] = 0;
    for (float lane : lanes) constant[n] += lane;
  }
}

// Rows of tiles [begin, end) of y [N, rows].
template <int N>
void tiles_of(const Matrix& m, const float* x, const float* bias, float* y, int64_t begin,
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

// First tile of a thread's share, where shares are equal in bytes of codes.
int64_t boundary(const Matrix& m, int64_t share, int64_t shares) {
  const int64_t wanted = m.first_word[m.clusters] / shares * share;
  for (int64_t c = 0; c < m.clusters; ++c) {
    const int64_t words = m.first_word[c + 1] - m.first_word[c];
    const int64_t tiles = m.first_tile[c + 1] - m.first_tile[c];
    if (m.first_word[c + 1] > wanted && words > 0)
      return m.first_tile[c] + (wanted - m.first_word[c]) * tiles / words;
  }
  return m.tiles();
}

template <int N>
void products(const Matrix& m, const float* x, const float* bias, float* y) {
  const int64_t most = std::max<int64_t>(1, m.tiles() * m.cols / kMinTileCols);
  const int64_t shares = std::min<int64_t>(most, at::get_num_threads());
  at::parallel_for(0, shares, 1, [&](int64_t from, int64_t to) {
    const int64_t begin = from == 0 ? 0 : boundary(m, from, shares);
    tiles_of<N>(m, x, bias, y, begin, to == shares ? m.tiles() : boundary(m, to, shares));
  });
}

// Weights of a cluster [cols, lanes], transposed.
template <class T>
void decode_cluster(const Matrix& m, int64_t cluster, T* out) {
  const int64_t tiles = m.first_tile[cluster + 1] - m.first_tile[cluster], lanes = tiles * kLanes;
  at::parallel_for(0, tiles, std::max<int64_t>(1, kMinTileCols / m.cols), [&](int64_t from, int64_t to) {
    T* first = out + from * kLanes;
    for (int64_t j = cluster * m.cols; j < cluster * m.cols + m.counts[cluster * (kMaxBits + 1)]; ++j)
      std::fill_n(first + m.columns[j] * lanes, (to - from) * kLanes, T(half(m.location[j])));
    each_block(m, cluster, [&](int bits, const uint32_t* words, int columns, int64_t position,
                               int64_t tile_words) {
      decode_at(bits, words + from * tile_words, columns, to - from, m,
                cluster * m.cols + position, lanes, first);
    });
  });
}

// Moves a cluster's products [N, lanes] to their rows of y [N, rows], and adds the bias.
template <class T>
void scatter(const Matrix& m, int64_t cluster, const at::Tensor& part, const float* bias, at::Tensor& y) {
  const int64_t lanes = part.size(1);
  const int32_t* row = m.row + m.first_tile[cluster] * kLanes;
  const T* from = part.const_data_ptr<T>();
  T* to = y.mutable_data_ptr<T>();
  at::parallel_for(0, part.size(0), kMinScattered / std::max<int64_t>(1, lanes) + 1, [&](int64_t begin, int64_t end) {
    for (int64_t n = begin; n < end; ++n)
      for (int64_t lane = 0; lane < lanes; ++lane)
        if (row[lane] >= 0) {
          const T value = from[n * lanes + lane];
          to[n * m.rows + row[lane]] = bias ? T(float(value) + bias[row[lane]]) : value;
        }
  });
}

// A PackedMatrix of layout.py, kept alive.
class Packed {
 public:
  Packed(int64_t rows, at::Tensor words, at::Tensor first_word, at::Tensor first_tile,
         at::Tensor counts, at::Tensor columns, at::Tensor scale, at::Tensor location, at::Tensor row,
         at::Tensor levels)
      : kept_{words, first_word, first_tile, counts, columns, scale, location, row, levels} {
    for (const at::Tensor& tensor : kept_)
      TORCH_CHECK(tensor.is_contiguous() && tensor.is_cpu(), "a packed matrix is not contiguous on the CPU");
    m_ = {rows,
          columns.size(1),
          columns.size(0),
          reinterpret_cast<const uint32_t*>(words.const_data_ptr<int32_t>()),
          first_word.const_data_ptr<int64_t>(),
          first_tile.const_data_ptr<int32_t>(),
          counts.const_data_ptr<int32_t>(),
          columns.const_data_ptr<int32_t>(),
          reinterpret_cast<const uint16_t*>(scale.const_data_ptr<at::Half>()),
          reinterpret_cast<const uint16_t*>(location.const_data_ptr<at::Half>()),
          row.const_data_ptr<int32_t>(),
          levels.const_data_ptr<float>()};
  }

  // y [N, rows] = x [N, cols] W^T + bias, summed in float32.
  at::Tensor product(const at::Tensor& x, const std::optional<at::Tensor>& bias) const {
    check(x, bias);
    const at::NoGradGuard no_grad;
    const at::Tensor inputs = x.to(at::kFloat).contiguous();
    const at::Tensor offset = bias ? bias->to(at::kFloat).contiguous() : at::Tensor();
    const float* shift = bias ? offset.const_data_ptr<float>() : nullptr;
    at::Tensor y = at::empty({x.size(0), m_.rows}, inputs.options());
    const float* from = inputs.const_data_ptr<float>();
    float* to = y.mutable_data_ptr<float>();
    int64_t left = x.size(0);
    const auto take = [&](auto count) {
      for (; left >= count; left -= count, from += count * m_.cols, to += count * m_.rows)
        products<count>(m_, from, shift, to);
    };
    take(std::integral_constant<int, 8>());
    take(std::integral_constant<int, 4>());
    take(std::integral_constant<int, 2>());
    take(std::integral_constant<int, 1>());
    return y.to(x.scalar_type());
  }

  // The same by decoding a cluster's weights at a time, to bfloat16 where x is, else to float32.
  at::Tensor product_of_decoded(const at::Tensor& x, const std::optional<at::Tensor>& bias) const {
    check(x, bias);
    const at::NoGradGuard no_grad;
    const at::Tensor inputs = x.scalar_type() == at::kBFloat16 ? x : x.to(at::kFloat);
    const at::Tensor offset = bias ? bias->to(at::kFloat).contiguous() : at::Tensor();
    const float* shift = bias ? offset.const_data_ptr<float>() : nullptr;
    at::Tensor y = at::empty({x.size(0), m_.rows}, inputs.options());
    for (int64_t c = 0; c < m_.clusters; ++c) {
      const at::Tensor part = at::mm(inputs, decode(c, inputs.scalar_type()));
      AT_DISPATCH_SWITCH(part.scalar_type(), "scatter",
        AT_DISPATCH_CASE(at::kFloat, [&] { scatter<scalar_t>(m_, c, part, shift, y); })
        AT_DISPATCH_CASE(at::kBFloat16, [&] { scatter<scalar_t>(m_, c, part, shift, y); }));
    }
    return y.to(x.scalar_type());
  }

  // Weights of a cluster's lanes [cols, lanes], rounded once to float32 or bfloat16.
  at::Tensor decode(int64_t cluster, at::ScalarType type) const {
    TORCH_CHECK(0 <= cluster && cluster < m_.clusters, "no cluster ", cluster);
    const int64_t tiles = m_.first_tile[cluster + 1] - m_.first_tile[cluster];
    at::Tensor out = at::empty({m_.cols, tiles * kLanes}, type);
    AT_DISPATCH_SWITCH(type, "decode",
      AT_DISPATCH_CASE(at::kFloat, [&] { decode_cluster(m_, cluster, out.mutable_data_ptr<scalar_t>()); })
      AT_DISPATCH_CASE(at::kBFloat16, [&] { decode_cluster(m_, cluster, out.mutable_data_ptr<scalar_t>()); }));
    return out;
  }

 private:
  void check(const at::Tensor& x, const std::optional<at::Tensor>& bias) const {
    TORCH_CHECK(x.dim() == 2 && x.size(1) == m_.cols, "x is not [N, ", m_.cols, "]");
    TORCH_CHECK(!bias || bias->numel() == m_.rows, "bias is not [", m_.rows, "]");
  }

  std::vector<at::Tensor> kept_;
  Matrix m_;
};

}  // namespace

PYBIND11_MODULE(TORCH_EXTENSION_NAME, module) {
  using Release = py::call_guard<py::gil_scoped_release>;
  py::class_<Packed>(module, "Packed")
      .def(py::init<int64_t, at::Tensor, at::Tensor, at::Tensor, at::Tensor, at::Tensor, at::Tensor,
                    at::Tensor, at::Tensor, at::Tensor>())
      .def("product", &Packed::product, Release())
      .def("product_of_decoded", &Packed::product_of_decoded, Release())
      .def("decode", &Packed::decode, Release());
}
