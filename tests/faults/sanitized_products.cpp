// Products with random matrices, sound and damaged, for the address and undefined behaviour
// sanitizers. Every tensor is a vector of its exact size, so that a read past it is seen. Prints how
// many damaged matrices were refused and how many multiplied; exits with 1 if a product is wrong.

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <limits>
#include <numeric>
#include <random>

#include "products.h"

namespace {

std::mt19937 generator;

int64_t drawn(int64_t limit) { return static_cast<int64_t>(generator() % static_cast<uint64_t>(limit)); }

struct Tensors {
  int64_t rows, cols, clusters;
  std::vector<uint32_t> words;
  std::vector<int64_t> first_word;
  std::vector<int32_t> first_tile, counts, columns;
  std::vector<uint16_t> scale, location;
  std::vector<int32_t> row;
  std::vector<float> levels;

  Matrix view() const {
    return {rows, cols, clusters, words, first_word, first_tile, counts, columns, scale, location, row, levels};
  }
};

// A finite half below 2 in magnitude.
uint16_t drawn_half() { return static_cast<uint16_t>(drawn(2) << 15 | drawn(0x4000)); }

Tensors drawn_matrix(int64_t rows, int64_t cols, int64_t clusters) {
  Tensors t{rows, cols, clusters, {}, {0}, {0}, {}, {}, {}, {}, {}, {}};
  std::vector<int32_t> order(rows);
  std::iota(order.begin(), order.end(), 0);
  std::shuffle(order.begin(), order.end(), generator);
  int64_t taken = 0;
  for (int64_t c = 0; c < clusters; ++c) {
    const int64_t members = c + 1 < clusters ? drawn(rows - taken + 1) : rows - taken;
    t.row.insert(t.row.end(), order.begin() + taken, order.begin() + taken + members);
    t.row.resize((t.row.size() + kLanes - 1) / kLanes * kLanes, -1);
    taken += members;
    t.first_tile.push_back(static_cast<int32_t>(t.row.size() / kLanes));
    std::vector<int32_t> counts(kDepths), columns(cols);
    const bool one = drawn(3) == 0;
    const int64_t depth = drawn(kDepths);
    for (int64_t j = 0; j < cols; ++j) ++counts[one ? depth : drawn(kDepths)];
    std::iota(columns.begin(), columns.end(), 0);
    std::shuffle(columns.begin(), columns.end(), generator);
    const int64_t tiles = t.first_tile[c + 1] - t.first_tile[c];
    t.first_word.push_back(t.first_word.back() + tiles * words_per_tile(counts));
    t.counts.insert(t.counts.end(), counts.begin(), counts.end());
    t.columns.insert(t.columns.end(), columns.begin(), columns.end());
  }
  t.words.resize(t.first_word.back());
  std::generate(t.words.begin(), t.words.end(), std::ref(generator));
  t.scale.resize(clusters * cols);
  t.location.resize(clusters * cols);
  std::generate(t.scale.begin(), t.scale.end(), drawn_half);
  std::generate(t.location.begin(), t.location.end(), drawn_half);
  t.levels.resize(kLevels);
  for (float& level : t.levels) level = static_cast<float>(drawn(2001) - 1000) / 1000;
  return t;
}

void expect(bool right, const char* what) {
  if (right) return;
  std::fprintf(stderr, "wrong: %s\n", what);
  std::exit(1);
}

template <int N>
std::vector<float> product(const Matrix& m, const std::vector<float>& x, const float* bias, int64_t shares) {
  std::vector<float> y(m.rows * N, std::numeric_limits<float>::quiet_NaN());
  for (int64_t share = 0; share < shares; ++share)
    products_of_tiles<N>(m, x.data(), bias, y.data(), share ? boundary(m, share, shares) : 0,
                         share + 1 < shares ? boundary(m, share + 1, shares) : m.tiles());
  return y;
}

// The same by decoding, one cluster at a time, in two shares.
template <int N, class T>
std::vector<T> product_of_decoded(const Matrix& m, const std::vector<float>& x, const float* bias) {
  std::vector<T> y(m.rows * N, std::numeric_limits<float>::quiet_NaN());
  for (int64_t c = 0; c < m.clusters; ++c) {
    const int64_t tiles = m.tiles_of(c), lanes = tiles * kLanes;
    std::vector<T> weight(m.cols * lanes), part(N * lanes);
    decode_tiles(m, c, weight.data(), 0, tiles / 2);
    decode_tiles(m, c, weight.data(), tiles / 2, tiles);
    for (int n = 0; n < N; ++n)
      for (int64_t lane = 0; lane < lanes; ++lane) {
        float sum = 0;
        for (int64_t j = 0; j < m.cols; ++j) sum += x[n * m.cols + j] * float(weight[j * lanes + lane]);
        part[n * lanes + lane] = sum;
      }
    scatter(m, c, part.data(), bias, y.data(), 0, N);
  }
  return y;
}

template <int N>
void multiply_all(const Matrix& m) {
  std::vector<float> x(m.cols * N), bias(m.rows);
  for (float& value : x) value = static_cast<float>(drawn(2001) - 1000) / 1000;
  for (float& value : bias) value = static_cast<float>(drawn(2001) - 1000) / 1000;
  const float* shift = drawn(2) ? bias.data() : nullptr;
  const auto whole = product<N>(m, x, shift, 1);
  for (const int64_t shares : {2, 3, 7})
    expect(product<N>(m, x, shift, shares) == whole, "a product depends on the number of threads");
  const auto decoded = product_of_decoded<N, float>(m, x, shift);
  const auto rounded = product_of_decoded<N, c10::BFloat16>(m, x, shift);
  for (size_t i = 0; i < whole.size(); ++i) {
    const float scale = 4.0f * static_cast<float>(m.cols);  // most a sum of such products can be
    expect(std::abs(whole[i] - decoded[i]) <= 1e-5f * scale, "a product is not that of decoded weights");
    expect(std::abs(whole[i] - float(rounded[i])) <= 1e-2f * scale, "a product in bfloat16");
  }
}

template <class T>
void damage(std::vector<T>& values) {
  constexpr auto most = std::numeric_limits<T>::max(), least = std::numeric_limits<T>::lowest();
  if (values.empty()) return;
  T& value = values[drawn(values.size())];
  switch (drawn(7)) {
    case 0: value = most; break;
    case 1: value = least; break;
    case 2: value = static_cast<T>(-1); break;
    case 3: value = values[drawn(values.size())]; break;
    case 4: value = static_cast<T>(value + 1); break;
    case 5: values.resize(drawn(values.size())); break;
    case 6: values.resize(values.size() + 1 + drawn(20)); break;
  }
  values.shrink_to_fit();
}

Tensors damaged(Tensors t) {
  constexpr int64_t kSides[] = {0, -1, 1, 31, 33, 1 << 27, int64_t{1} << 40, std::numeric_limits<int64_t>::min()};
  const int64_t side = kSides[drawn(std::size(kSides))];
  switch (drawn(13)) {
    case 0: t.rows = side; break;
    case 1: t.cols = side; break;
    case 2: t.clusters = side; break;
    case 3: damage(t.words); break;
    case 4: damage(t.first_word); break;
    case 5: damage(t.first_tile); break;
    case 6: damage(t.counts); break;
    case 7: damage(t.columns); break;
    case 8: damage(t.scale); break;
    case 9: damage(t.location); break;
    case 10: damage(t.row); break;
    case 11: damage(t.levels); break;
    case 12:  // columns of another depth, whose sum is right
      std::next_permutation(t.counts.begin(), t.counts.begin() + kDepths);
      break;
  }
  return t;
}

bool is_refused(const Matrix& m) {
  try {
    check(m);
    return false;
  } catch (const InvalidMatrix&) {
    return true;
  }
}

void check_rounding() {
  for (const uint32_t bits : {0x7fffe000u, 0xffffffffu, 0x7f800001u, 0x7f800000u, 0x7f7fffffu, 0x3f808000u}) {
    float value, lanes[kLanes];
    std::memcpy(&value, &bits, sizeof(value));
    std::fill_n(lanes, kLanes, value);
    c10::BFloat16 rounded[kLanes];
    store(rounded, load(lanes));
    for (const c10::BFloat16 each : rounded)
      expect(std::isnan(value) ? std::isnan(float(each)) : each == c10::BFloat16(value), "rounding to bfloat16");
  }
}

}  // namespace

int main(int, char** arguments) {
  generator.seed(std::atoi(arguments[2]));
  check_rounding();
  int refused = 0, multiplied = 0;
  for (int i = 0; i < std::atoi(arguments[1]); ++i) {
    const Tensors t = drawn_matrix(1 + drawn(70), 1 + drawn(100), 1 + drawn(4));
    expect(!is_refused(t.view()), "a sound matrix is refused");
    multiply_all<1>(t.view());
    multiply_all<2>(t.view());
    multiply_all<8>(t.view());
    for (int j = 0; j < 10; ++j) {
      const Tensors other = damaged(t);
      if (is_refused(other.view())) {
        ++refused;
      } else {
        product<1>(other.view(), std::vector<float>(other.cols), nullptr, 3);
        product_of_decoded<1, float>(other.view(), std::vector<float>(other.cols), nullptr);
        ++multiplied;
      }
    }
  }
  std::printf("{\"refused\": %d, \"multiplied\": %d}\n", refused, multiplied);
}
