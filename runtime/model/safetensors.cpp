#include "runtime/model/safetensors.hpp"

#include <boost/json/basic_parser_impl.hpp>

#include <algorithm>
#include <array>

namespace atl::model {
namespace {

constexpr std::array<stored_dtype, 22> stored_dtypes{{
    {"BOOL", 8},    {"U8", 8},          {"I8", 8},          {"F8_E5M2", 8}, {"F8_E4M3", 8},
    {"F8_E8M0", 8}, {"F8_E4M3FNUZ", 8}, {"F8_E5M2FNUZ", 8}, {"I16", 16},    {"U16", 16},
    {"F16", 16},    {"BF16", 16},       {"I32", 32},        {"U32", 32},    {"F32", 32},
    {"F64", 64},    {"C64", 64},        {"I64", 64},        {"U64", 64},    {"F4", 4},
    {"F6_E2M3", 6}, {"F6_E3M2", 6},
}};

struct header_entry {
  stored_tensor tensor;
  std::uint64_t begin = 0;
  std::uint64_t end = 0;
};

/// Events of Boost.JSON's parser turned into entries. Only the format's schema is accepted:
/// {name: {dtype: string, shape: [u64...], data_offsets: [u64, u64]}, "__metadata__": {string:
/// string}}. `problem` says what was wrong when an event is refused. The parser bounds the depth
/// and checks UTF-8.
class header_handler {
public:
  static constexpr std::size_t max_object_size = std::size_t(-1);
  static constexpr std::size_t max_array_size = std::size_t(-1);
  static constexpr std::size_t max_key_size = std::size_t(-1);
  static constexpr std::size_t max_string_size = std::size_t(-1);
  using error_code = boost::json::error_code;
  using string_view = boost::json::string_view;

  std::vector<header_entry> entries;
  std::string problem;

  bool on_document_begin(error_code&) { return true; }
  bool on_document_end(error_code&) { return true; }

  bool on_object_begin(error_code& ec) {
    if (state_ == state::start) return move(state::root);
    if (state_ == state::entry_value && key_ == "__metadata__") {
      if (has_metadata_) return refuse(ec, "__metadata__ is given twice");
      has_metadata_ = true;
      return move(state::metadata);
    }
    if (state_ == state::entry_value) {
      entries.emplace_back().tensor.name = key_;
      has_dtype_ = has_shape_ = has_offsets_ = false;
      return move(state::entry);
    }
    return refuse(ec, where() + "an object where none belongs");
  }

  bool on_object_end(std::size_t, error_code& ec) {
    if (state_ == state::root) return move(state::done);
    if (state_ == state::entry && !(has_dtype_ && has_shape_ && has_offsets_))
      return refuse(ec, where() + "lacks dtype, shape or data_offsets");
    return move(state::root);
  }

  bool on_array_begin(error_code& ec) {
    if (state_ == state::shape_value) return move(state::shape);
    if (state_ == state::offsets_value) {
      offsets_count_ = 0;
      return move(state::offsets);
    }
    return refuse(ec, where() + "a list where none belongs");
  }

  bool on_array_end(std::size_t, error_code& ec) {
    if (state_ == state::offsets && offsets_count_ != 2)
      return refuse(ec, where() + "data_offsets must be two numbers");
    return move(state::entry);
  }

  bool on_key_part(string_view part, std::size_t, error_code&) { return append(part); }
  bool on_key(string_view part, std::size_t, error_code& ec) {
    append(part);
    std::string name;
    name.swap(text_);
    if (state_ == state::root) {
      key_ = std::move(name);
      return move(state::entry_value);
    }
    if (state_ == state::metadata) return move(state::metadata_value);
    if (name == "dtype") return field(ec, has_dtype_, state::dtype_value, name);
    if (name == "shape") return field(ec, has_shape_, state::shape_value, name);
    if (name == "data_offsets") return field(ec, has_offsets_, state::offsets_value, name);
    return refuse(ec, where() + "unknown field " + name);
  }

  bool on_string_part(string_view part, std::size_t, error_code&) { return append(part); }
  bool on_string(string_view part, std::size_t, error_code& ec) {
    append(part);
    std::string value;
    value.swap(text_);
    if (state_ == state::metadata_value) return move(state::metadata);
    if (state_ != state::dtype_value) return refuse(ec, where() + "a string where none belongs");
    const std::optional<stored_dtype> type = stored_dtype_from_string(value);
    if (!type) return refuse(ec, where() + "dtype " + value + " is unknown");
    entries.back().tensor.type = *type;
    return move(state::entry);
  }

  bool on_uint64(std::uint64_t value, string_view, error_code& ec) {
    if (state_ == state::shape) {
      entries.back().tensor.shape.push_back(value);
      return true;
    }
    if (state_ == state::offsets && offsets_count_ < 2) {
      (offsets_count_++ == 0 ? entries.back().begin : entries.back().end) = value;
      return true;
    }
    return refuse(ec, where() + "a number where none belongs");
  }
  bool on_int64(std::int64_t value, string_view text, error_code& ec) {
    if (value < 0) return refuse(ec, where() + "a negative number");
    return on_uint64(static_cast<std::uint64_t>(value), text, ec);
  }
  bool on_double(double, string_view, error_code& ec) {
    return refuse(ec, where() + "a number that is fractional or above 2^64");
  }
  bool on_number_part(string_view, error_code&) { return true; }
  bool on_bool(bool, error_code& ec) {
    return refuse(ec, where() + "a boolean where none belongs");
  }
  bool on_null(error_code& ec) { return refuse(ec, where() + "null where a value belongs"); }
  bool on_comment_part(string_view, error_code&) { return true; }
  bool on_comment(string_view, error_code&) { return true; }

private:
  enum class state {
    start,
    root,
    entry_value,
    metadata,
    metadata_value,
    entry,
    dtype_value,
    shape_value,
    shape,
    offsets_value,
    offsets,
    done
  };

  bool move(state next) {
    state_ = next;
    return true;
  }

  bool append(string_view part) {
    text_.append(part.data(), part.size());
    return true;
  }

  bool field(error_code& ec, bool& seen, state next, const std::string& name) {
    if (seen) return refuse(ec, where() + name + " is given twice");
    seen = true;
    return move(next);
  }

  bool refuse(error_code& ec, std::string why) {
    problem = std::move(why);
    ec = boost::json::make_error_code(boost::json::error::syntax);
    return false;
  }

  std::string where() const {
    return key_.empty() ? std::string{"header: "} : "tensor " + key_.substr(0, 200) + ": ";
  }

  state state_ = state::start;
  std::string text_;
  std::string key_;
  bool has_metadata_ = false;
  bool has_dtype_ = false;
  bool has_shape_ = false;
  bool has_offsets_ = false;
  int offsets_count_ = 0;
};

error malformed(const std::string& path, const std::string& what) {
  return {errc::invalid_model, path + ": " + what + "; the file is damaged, get it anew"};
}

result<std::vector<header_entry>> parse_header(std::string_view text, const std::string& path) {
  try {
    boost::json::basic_parser<header_handler> parser{boost::json::parse_options{}};
    boost::json::error_code ec;
    const std::size_t read = parser.write_some(false, text.data(), text.size(), ec);
    header_handler& handler = parser.handler();
    if (!handler.problem.empty()) return malformed(path, handler.problem);
    if (ec) return malformed(path, "the header is not UTF-8 JSON (" + ec.message() + ")");
    if (text.find_first_not_of(" \t\r\n", read) != std::string_view::npos)
      return malformed(path, "the header goes on after its JSON object");
    return std::move(handler.entries);
  } catch (const std::exception& e) {
    return malformed(path, std::string{"the header cannot be read ("} + e.what() + ")");
  }
}

/// Bytes of the tensor, or nullopt on overflow or a broken last byte.
std::optional<std::uint64_t> tensor_bytes(const stored_tensor& tensor) noexcept {
  std::uint64_t count = 1;
  for (const std::uint64_t extent : tensor.shape)
    if (__builtin_mul_overflow(count, extent, &count)) return std::nullopt;
  if (__builtin_mul_overflow(count, std::uint64_t{tensor.type.bits}, &count)) return std::nullopt;
  if (count % 8 != 0) return std::nullopt;
  return count / 8;
}

/// Sizes, offsets, tiling: what the header says against itself and the `data_bytes` there are.
result<void> check_layout(std::vector<header_entry>& entries,
                          std::uint64_t data_bytes,
                          const std::string& path) {
  std::sort(entries.begin(), entries.end(), [](const header_entry& a, const header_entry& b) {
    return std::pair{a.begin, a.end} < std::pair{b.begin, b.end};
  });
  std::uint64_t position = 0;
  for (const header_entry& entry : entries) {
    const std::string where = "tensor " + entry.tensor.name + ": ";
    if (entry.begin != position || entry.end < entry.begin)
      return malformed(path,
                       where + "data_offsets [" + std::to_string(entry.begin) + ", " +
                           std::to_string(entry.end) + "] should begin at " +
                           std::to_string(position) + " (tensors overlap or leave a hole)");
    const std::optional<std::uint64_t> bytes = tensor_bytes(entry.tensor);
    if (!bytes)
      return malformed(path,
                       where + "the size of shape " + shape_text(entry.tensor.shape) +
                           " overflows or ends inside a byte");
    if (*bytes != entry.end - entry.begin)
      return malformed(path,
                       where + "shape " + shape_text(entry.tensor.shape) + " of " +
                           std::string{entry.tensor.type.name} + " needs " +
                           std::to_string(*bytes) + " bytes, data_offsets give " +
                           std::to_string(entry.end - entry.begin));
    position = entry.end;
  }
  if (position != data_bytes)
    return malformed(path,
                     "tensors need " + std::to_string(position) + " bytes of data, the file has " +
                         std::to_string(data_bytes) +
                         (position > data_bytes ? " (cut short)" : " (bytes left over)"));
  return {};
}

}  // namespace

std::optional<stored_dtype> stored_dtype_from_string(std::string_view name) noexcept {
  for (const stored_dtype& type : stored_dtypes)
    if (type.name == name) return type;
  return std::nullopt;
}

std::optional<tensor::dtype> compute_dtype(const stored_dtype& type) noexcept {
  if (type.name == "F32") return tensor::dtype::f32;
  if (type.name == "F16") return tensor::dtype::f16;
  if (type.name == "BF16") return tensor::dtype::bf16;
  if (type.name == "F8_E4M3") return tensor::dtype::f8_e4m3;
  return std::nullopt;
}

std::string shape_text(std::span<const std::uint64_t> shape) {
  std::string text = "[";
  for (const std::uint64_t extent : shape)
    text += (text.size() > 1 ? ", " : "") + std::to_string(extent);
  return text + "]";
}

result<std::vector<stored_tensor>> parse_safetensors(std::span<const std::byte> file,
                                                     const std::string& path) {
  constexpr std::uint64_t length_bytes = 8;
  if (file.size() < length_bytes)
    return malformed(
        path, "has " + std::to_string(file.size()) + " bytes, too few for a safetensors header");
  std::uint64_t header_bytes = 0;
  for (std::size_t i = 0; i < length_bytes; ++i)
    header_bytes |= std::to_integer<std::uint64_t>(file[i]) << (8 * i);
  if (header_bytes > safetensors_header_bytes_max)
    return malformed(path,
                     "the header claims " + std::to_string(header_bytes) + " bytes, at most " +
                         std::to_string(safetensors_header_bytes_max) + " are allowed");
  if (header_bytes > file.size() - length_bytes)
    return malformed(path,
                     "the header claims " + std::to_string(header_bytes) + " bytes, the file has " +
                         std::to_string(file.size()));
  const std::string_view text{reinterpret_cast<const char*>(file.data()) + length_bytes,
                              static_cast<std::size_t>(header_bytes)};
  ATOLL_ASSIGN(std::vector<header_entry> entries, parse_header(text, path));
  ATOLL_TRY(check_layout(entries, file.size() - length_bytes - header_bytes, path));

  std::vector<stored_tensor> tensors;
  tensors.reserve(entries.size());
  for (header_entry& entry : entries) {
    entry.tensor.offset = static_cast<std::size_t>(length_bytes + header_bytes + entry.begin);
    entry.tensor.bytes = static_cast<std::size_t>(entry.end - entry.begin);
    tensors.push_back(std::move(entry.tensor));
  }
  const auto by_name = [](const stored_tensor& a, const stored_tensor& b) {
    return a.name < b.name;
  };
  std::sort(tensors.begin(), tensors.end(), by_name);
  const auto twice =
      std::adjacent_find(tensors.begin(), tensors.end(), [](const auto& a, const auto& b) {
        return a.name == b.name;
      });
  if (twice != tensors.end()) return malformed(path, "tensor " + twice->name + " is given twice");
  return tensors;
}

result<safetensors_file> safetensors_file::open(disk& files, const std::string& path) {
  safetensors_file file;
  file.path_ = path;
  ATOLL_ASSIGN(file.mapping_, files.map(path));
  ATOLL_ASSIGN(file.tensors_, parse_safetensors(file.mapping_->bytes(), path));
  return file;
}

const stored_tensor* safetensors_file::find(std::string_view name) const noexcept {
  const auto at = std::lower_bound(
      tensors_.begin(), tensors_.end(), name, [](const stored_tensor& t, std::string_view n) {
        return t.name < n;
      });
  return at != tensors_.end() && at->name == name ? &*at : nullptr;
}

}  // namespace atl::model
