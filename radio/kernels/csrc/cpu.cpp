// Products with packed matrices for torch: checks of the arguments, and threads. products.h has the
// arithmetic, layout.py the memory layout.

#include <ATen/Dispatch.h>
#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/mm.h>
#include <torch/csrc/utils/pybind.h>

#include <array>
#include <mutex>
#include <optional>
#include <sstream>
#include <unordered_map>
#include <vector>

#include "products.h"

namespace {

constexpr int kMinScattered = 1 << 14;  // minimum of outputs to move per woken thread
constexpr int kMinTileCols = 1 << 14;  // minimum of tiles x columns per woken thread, 8 us

// Tensors of a PackedMatrix, in the order of its `tensors()`.
using Parts = std::array<at::Tensor, 9>;

template <class To, class From = To>
std::span<const To> span_of(const at::Tensor& tensor) {
  const From* data = tensor.const_data_ptr<From>();
  return {reinterpret_cast<const To*>(data), static_cast<size_t>(tensor.numel())};
}

// Returns a checked view of the parts.
Matrix matrix_of(int64_t rows, const Parts& parts) {
  constexpr std::array kNames = {"words", "first_word", "first_tile", "counts", "columns",
                                 "scale", "location", "row", "levels"};
  constexpr std::array kTypes = {at::kInt, at::kLong, at::kInt, at::kInt, at::kInt,
                                 at::kHalf, at::kHalf, at::kInt, at::kFloat};
  constexpr std::array kDims = {1, 1, 1, 2, 2, 2, 2, 2, 1};
  for (size_t i = 0; i < parts.size(); ++i) {
    const at::Tensor& part = parts[i];
    if (part.scalar_type() != kTypes[i] || part.dim() != kDims[i] || !part.is_cpu() || !part.is_contiguous())
      refuse_matrix(std::string(kNames[i]) + " must be " + c10::toString(kTypes[i]) + " of " +
                    std::to_string(kDims[i]) + " dimensions, contiguous, on the CPU");
  }
  const auto& [words, first_word, first_tile, counts, columns, scale, location, row, levels] = parts;
  require(row.size(1) == kLanes, "row must be [tiles, 16]");
  const Matrix m = {rows,
                    columns.size(1),
                    columns.size(0),
                    span_of<uint32_t, int32_t>(words),
                    span_of<int64_t>(first_word),
                    span_of<int32_t>(first_tile),
                    span_of<int32_t>(counts),
                    span_of<int32_t>(columns),
                    span_of<uint16_t, at::Half>(scale),
                    span_of<uint16_t, at::Half>(location),
                    span_of<int32_t>(row),
                    span_of<float>(levels)};
  check(m);
  return m;
}

// State of a tensor when it was checked. The weak reference lets the owner free the tensor, but no
// other tensor can get its address.
class Seen {
 public:
  explicit Seen(const at::Tensor& tensor)
      : tensor_(tensor.getIntrusivePtr()),
        data_(tensor.const_data_ptr()),
        size_(tensor.numel()),
        version_(version(tensor)) {}

  // Returns whether this is the same tensor, unmodified since.
  bool is(const at::Tensor& tensor) const {
    return tensor_._unsafe_get_target() == tensor.unsafeGetTensorImpl() &&
           data_ == tensor.const_data_ptr() && size_ == tensor.numel() && version_ == version(tensor);
  }
  bool expired() const { return tensor_.expired(); }

 private:
  // tensors of inference mode have no version
  static uint32_t version(const at::Tensor& tensor) {
    return tensor.is_inference() ? 0 : tensor.unsafeGetTensorImpl()->version_counter().current_version();
  }

  c10::weak_intrusive_ptr<c10::TensorImpl> tensor_;
  const void* data_;
  int64_t size_;
  uint32_t version_;
};

struct Checked {
  Matrix matrix;
  std::vector<Seen> parts;

  bool is(int64_t rows, const Parts& others) const {
    return rows == matrix.rows &&
           std::equal(parts.begin(), parts.end(), others.begin(),
                      [](const Seen& seen, const at::Tensor& part) { return seen.is(part); });
  }
};

// Returns the matrix of these parts, which are checked if they are new or were modified.
Matrix checked(int64_t rows, const Parts& parts) {
  static std::mutex mutex;
  // never destroyed, since threads may outlive it
  static auto& known = *new std::unordered_map<const void*, Checked>();
  static size_t most = 64;
  const void* key = parts[0].unsafeGetTensorImpl();
  {
    const std::lock_guard lock(mutex);
    const auto found = known.find(key);
    if (found != known.end() && found->second.is(rows, parts)) return found->second.matrix;
  }
  const Checked made = {matrix_of(rows, parts), {parts.begin(), parts.end()}};
  const std::lock_guard lock(mutex);
  if (known.size() >= most) {
    std::erase_if(known, [](const auto& entry) { return entry.second.parts[0].expired(); });
    most = 2 * known.size() + 64;
  }
  known.insert_or_assign(key, made);
  return made.matrix;
}

[[noreturn]] void refuse_input(const char* name, const at::Tensor& tensor, const std::string& wanted) {
  std::ostringstream message;
  message << name << " is " << tensor.sizes() << " of " << tensor.scalar_type() << " on "
          << tensor.device() << ": this packed matrix takes " << wanted << " of a floating type on cpu";
  throw InvalidMatrix(message.str());
}

void check_inputs(const Matrix& m, const at::Tensor& x, const std::optional<at::Tensor>& bias) {
  const auto plain = [](const at::Tensor& t) {
    return t.is_cpu() && t.layout() == at::kStrided && t.is_floating_point();
  };
  if (!plain(x) || x.dim() == 0 || x.size(-1) != m.cols)
    refuse_input("inputs", x, "[..., " + std::to_string(m.cols) + "]");
  if (bias && !(plain(*bias) && bias->dim() == 1 && bias->size(0) == m.rows))
    refuse_input("bias", *bias, "[" + std::to_string(m.rows) + "]");
}

// Returns the uninitialized outputs [..., rows] of x [..., cols].
at::Tensor outputs_of(const Matrix& m, const at::Tensor& x, at::ScalarType type) {
  at::DimVector shape(x.sizes());
  shape.back() = m.rows;
  return at::empty(shape, x.options().dtype(type));
}

template <int N>
void products(const Matrix& m, const float* x, const float* bias, float* y) {
  const int64_t most = std::max<int64_t>(1, m.tiles() * m.cols / kMinTileCols);
  const int64_t shares = std::min<int64_t>(most, at::get_num_threads());
  at::parallel_for(0, shares, 1, [&](int64_t from, int64_t to) {
    const int64_t begin = from == 0 ? 0 : boundary(m, from, shares);
    products_of_tiles<N>(m, x, bias, y, begin, to == shares ? m.tiles() : boundary(m, to, shares));
  });
}

// y [..., rows] = x [..., cols] W^T + bias, summed in float32.
at::Tensor product(const at::Tensor& x, const std::optional<at::Tensor>& bias, int64_t rows, const Parts& parts) {
  const Matrix m = checked(rows, parts);
  check_inputs(m, x, bias);
  const at::NoGradGuard no_grad;
  const at::Tensor inputs = x.to(at::kFloat).contiguous();
  const at::Tensor offset = bias ? bias->to(at::kFloat).contiguous() : at::Tensor();
  const float* shift = bias ? offset.const_data_ptr<float>() : nullptr;
  at::Tensor y = outputs_of(m, x, at::kFloat);
  const float* from = inputs.const_data_ptr<float>();
  float* to = y.mutable_data_ptr<float>();
  int64_t left = x.numel() / m.cols;
  const auto take = [&](auto count) {
    for (; left >= count; left -= count, from += count * m.cols, to += count * m.rows)
      products<count>(m, from, shift, to);
  };
  take(std::integral_constant<int, 8>());
  take(std::integral_constant<int, 4>());
  take(std::integral_constant<int, 2>());
  take(std::integral_constant<int, 1>());
  return y.to(x.scalar_type());
}

// Calls visit(value of the C++ type) for float32 or bfloat16.
template <class Visit>
void for_type(at::ScalarType type, const Visit& visit) {
  AT_DISPATCH_SWITCH(type, "packed matrix",
    AT_DISPATCH_CASE(at::kFloat, [&] { visit(scalar_t()); })
    AT_DISPATCH_CASE(at::kBFloat16, [&] { visit(scalar_t()); }));
}

at::Tensor decode_cluster(const Matrix& m, int64_t cluster, at::ScalarType type) {
  TORCH_CHECK_INDEX(0 <= cluster && cluster < m.clusters, "no cluster ", cluster);
  const int64_t tiles = m.tiles_of(cluster);
  at::Tensor out = at::empty({m.cols, tiles * kLanes}, type);
  for_type(type, [&](auto zero) {
    auto* to = out.mutable_data_ptr<decltype(zero)>();
    at::parallel_for(0, tiles, std::max<int64_t>(1, kMinTileCols / m.cols), [&](int64_t begin, int64_t end) {
      decode_tiles(m, cluster, to, begin, end);
    });
  });
  return out;
}

void scatter_cluster(const Matrix& m, int64_t cluster, const at::Tensor& part, const float* bias, at::Tensor& y) {
  for_type(part.scalar_type(), [&](auto zero) {
    using T = decltype(zero);
    const T* from = part.const_data_ptr<T>();
    T* to = y.mutable_data_ptr<T>();
    const int64_t grain = kMinScattered / std::max<int64_t>(1, part.size(1)) + 1;
    at::parallel_for(0, part.size(0), grain, [&](int64_t begin, int64_t end) {
      scatter(m, cluster, from, bias, to, begin, end);
    });
  });
}

// The same, but decodes the weights of one cluster at a time: to bfloat16 if x is bfloat16, else to
// float32.
at::Tensor product_of_decoded(const at::Tensor& x, const std::optional<at::Tensor>& bias, int64_t rows,
                              const Parts& parts) {
  const Matrix m = checked(rows, parts);
  check_inputs(m, x, bias);
  const at::NoGradGuard no_grad;
  const at::ScalarType type = x.scalar_type() == at::kBFloat16 ? at::kBFloat16 : at::kFloat;
  const at::Tensor inputs = x.to(type).reshape({-1, m.cols});
  const at::Tensor offset = bias ? bias->to(at::kFloat).contiguous() : at::Tensor();
  const float* shift = bias ? offset.const_data_ptr<float>() : nullptr;
  at::Tensor y = outputs_of(m, x, type);
  for (int64_t c = 0; c < m.clusters; ++c) {
    const at::Tensor weight = decode_cluster(m, c, type);
    scatter_cluster(m, c, at::mm(inputs, weight).contiguous(), shift, y);
  }
  return y.to(x.scalar_type());
}

// Weights of a cluster's lanes [cols, lanes], rounded once to float32 or bfloat16.
at::Tensor decode(int64_t cluster, at::ScalarType type, int64_t rows, const Parts& parts) {
  return decode_cluster(checked(rows, parts), cluster, type);
}

// Reports an invalid matrix to Python as bad input.
void translate(std::exception_ptr error) {
  try {
    if (error) std::rethrow_exception(error);
  } catch (const InvalidMatrix& invalid) {
    py::set_error(py::module_::import("radio.runtime.errors").attr("RadioError"), invalid.what());
  }
}

}  // namespace

PYBIND11_MODULE(TORCH_EXTENSION_NAME, module) {
  using Release = py::call_guard<py::gil_scoped_release>;
  py::register_local_exception_translator(&translate);
  module.def("product", &product, Release());
  module.def("product_of_decoded", &product_of_decoded, Release());
  module.def("decode", &decode, Release());
}
