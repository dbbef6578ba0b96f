// A matrix of mixed bit depths in the memory layout of layout.py, and the checks that make it safe
// to read. Independent of torch, so that tests can compile it with sanitizers.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

constexpr int kLanes = 16;      // rows of a tile
constexpr int kBlock = 32;      // columns whose codes fill whole words at any depth
constexpr int kMaxBits = 8;
constexpr int kDepths = kMaxBits + 1;
constexpr int kLevels = (2 << kMaxBits) - 2;
// maximum of rows and columns, which keeps 32-bit offsets in a cluster in range, also on the GPU
constexpr int64_t kMaxSide = int64_t{1} << 27;

struct Matrix {
  int64_t rows, cols, clusters;
  std::span<const uint32_t> words;
  std::span<const int64_t> first_word;  // [clusters + 1]
  std::span<const int32_t> first_tile;  // [clusters + 1]
  std::span<const int32_t> counts;      // [clusters, 9] columns of each depth
  std::span<const int32_t> columns;     // [clusters, cols], sorted by depth
  std::span<const uint16_t> scale;      // [clusters, cols], same order
  std::span<const uint16_t> location;
  std::span<const int32_t> row;         // [tiles, 16], -1 for empty lanes
  std::span<const float> levels;        // of depths 1..8, concatenated

  const float* levels_of(int bits) const { return levels.data() + (1 << bits) - 2; }
  int64_t tiles() const { return first_tile[clusters]; }
  int64_t tiles_of(int64_t cluster) const { return first_tile[cluster + 1] - first_tile[cluster]; }
};

// Returns the number of 32-bit words of a tile's codes in a block.
inline int64_t words_of(int columns, int bits) { return (columns * bits + 31) / 32 * kLanes; }

// The arguments cannot be multiplied.
struct InvalidMatrix : std::invalid_argument {
  using std::invalid_argument::invalid_argument;
};

[[noreturn]] inline void refuse_matrix(const std::string& rule) {
  throw InvalidMatrix("packed matrix: " + rule + "; restore the file or state that it was loaded from");
}

inline void require(bool valid, const char* rule) {
  if (!valid) refuse_matrix(rule);
}

// Returns the words per tile of a cluster with these numbers of columns at each depth.
inline int64_t words_per_tile(std::span<const int32_t> counts) {
  int64_t words = 0;
  for (int bits = 1; bits <= kMaxBits; ++bits) {
    const int32_t full = counts[bits] / kBlock, rest = counts[bits] % kBlock;
    words += full * words_of(kBlock, bits) + words_of(rest, bits);
  }
  return words;
}

inline void check_shapes(const Matrix& m) {
  require(0 < m.rows && m.rows <= kMaxSide, "rows must be 1 to 2^27");
  require(0 < m.cols && m.cols <= kMaxSide, "columns must be 1 to 2^27");
  require(0 < m.clusters, "there must be a cluster");
  const auto has = [](const auto& tensor, int64_t size) { return std::ssize(tensor) == size; };
  require(has(m.first_word, m.clusters + 1), "first_word must be [clusters + 1]");
  require(has(m.first_tile, m.clusters + 1), "first_tile must be [clusters + 1]");
  require(has(m.counts, m.clusters * kDepths), "counts must be [clusters, 9]");
  require(has(m.columns, m.clusters * m.cols), "columns must be [clusters, cols]");
  require(has(m.scale, m.clusters * m.cols), "scale must be [clusters, cols]");
  require(has(m.location, m.clusters * m.cols), "location must be [clusters, cols]");
  require(has(m.levels, kLevels), "levels must be [510]");
}

// Returns whether offsets begin at 0, never decrease, and end at `size`.
template <class T>
bool are_bounds(std::span<const T> offsets, int64_t size) {
  return offsets.front() == 0 && offsets.back() == size && std::is_sorted(offsets.begin(), offsets.end());
}

inline void check_words(const Matrix& m) {
  require(are_bounds(m.first_tile, std::ssize(m.row) / kLanes) && m.row.size() % kLanes == 0,
          "first_tile must rise from 0 to the number of tiles");
  require(are_bounds(m.first_word, std::ssize(m.words)), "first_word must rise from 0 to the number of words");
  for (int64_t c = 0; c < m.clusters; ++c) {
    const auto counts = m.counts.subspan(c * kDepths, kDepths);
    int64_t sum = 0;
    for (const int32_t count : counts) {
      require(count >= 0, "counts must not be negative");
      sum += count;
    }
    require(sum == m.cols, "counts of a cluster must add up to the columns");
    const int64_t tiles = m.tiles_of(c), words = m.first_word[c + 1] - m.first_word[c];
    require(tiles == 0 ? words == 0 : words % tiles == 0 && words / tiles == words_per_tile(counts),
            "words must be as many as the depths of a cluster need");
  }
}

inline void check_order(const Matrix& m) {
  std::vector<int64_t> cluster_of(m.cols, -1);
  for (int64_t at = 0; at < std::ssize(m.columns); ++at) {
    const int32_t column = m.columns[at];
    require(0 <= column && column < m.cols && cluster_of[column] != at / m.cols,
            "columns of a cluster must be a permutation");
    cluster_of[column] = at / m.cols;
  }
  std::vector<bool> seen(m.rows);
  int64_t lanes = 0;
  for (const int32_t row : m.row) {
    if (row == -1) continue;
    require(0 <= row && row < m.rows && !seen[row], "row must hold every row once");
    seen[row] = true;
    ++lanes;
  }
  require(lanes == m.rows, "row must hold every row once");
}

inline void check_values(const Matrix& m) {
  const auto finite = [](uint16_t half) { return (half & 0x7c00) != 0x7c00; };
  require(std::all_of(m.scale.begin(), m.scale.end(), finite), "scale must be finite");
  require(std::all_of(m.location.begin(), m.location.end(), finite), "location must be finite");
  require(std::all_of(m.levels.begin(), m.levels.end(), [](float v) { return std::isfinite(v); }),
          "levels must be finite");
}

// Throws InvalidMatrix unless all products stay inside the matrix's tensors and write every output.
// Codes need no check: every code has a level.
inline void check(const Matrix& m) {
  check_shapes(m);
  check_words(m);
  check_order(m);
  check_values(m);
}
