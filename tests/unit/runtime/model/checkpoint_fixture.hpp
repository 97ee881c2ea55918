// Checkpoints in memory for tests: files of a golden case taken apart into tensors, changed, and
// put together again. Only tests use it; single-threaded.
#pragma once

#include "runtime/base/disk.hpp"
#include "runtime/model/safetensors.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace atl::model {

using bytes = std::vector<std::byte>;

inline bytes to_bytes(std::string_view text) {
  const auto* data = reinterpret_cast<const std::byte*>(text.data());
  return {data, data + text.size()};
}

/// A file of raw parts: length of the header, header, data.
inline bytes raw_safetensors(std::string_view header, std::size_t data_bytes) {
  bytes file(8);
  const std::uint64_t length = header.size();
  std::memcpy(file.data(), &length, sizeof length);
  const bytes text = to_bytes(header);
  file.insert(file.end(), text.begin(), text.end());
  file.resize(file.size() + data_bytes);
  return file;
}

struct test_tensor {
  std::string dtype;
  std::vector<std::uint64_t> shape;
  bytes data;
};

using tensor_map = std::map<std::string, test_tensor>;

/// `pad` bytes of space after the header move the data, to misalign it.
inline bytes to_safetensors(const tensor_map& tensors, std::size_t pad = 0) {
  std::string header = "{";
  std::size_t offset = 0;
  for (const auto& [name, t] : tensors) {
    if (header.size() > 1) header += ",";
    header += "\"" + name + "\":{\"dtype\":\"" + t.dtype + "\",\"shape\":" + shape_text(t.shape) +
              ",\"data_offsets\":[" + std::to_string(offset) + "," +
              std::to_string(offset + t.data.size()) + "]}";
    offset += t.data.size();
  }
  header += "}";
  header.append((8 - header.size() % 8) % 8 + pad, ' ');
  bytes file = raw_safetensors(header, 0);
  for (const auto& [name, t] : tensors) file.insert(file.end(), t.data.begin(), t.data.end());
  return file;
}

class memory_file final : public mapped_file {
public:
  explicit memory_file(std::vector<std::byte> content) : content_{std::move(content)} {}
  std::span<const std::byte> bytes() const noexcept override { return content_; }
  result<void> populate(std::size_t, std::size_t) const override { return {}; }

private:
  std::vector<std::byte> content_;
};

/// Files by full path; directories are the prefixes that end before a slash. Read-only.
class memory_disk final : public disk {
public:
  std::map<std::string, bytes> files;

  result<std::shared_ptr<const mapped_file>> map(const std::string& path) override {
    if (!files.contains(path)) return error{errc::not_found, path + ": no such file"};
    return std::shared_ptr<const mapped_file>{std::make_shared<memory_file>(files[path])};
  }
  result<std::string> read(const std::string& path, std::size_t bytes_max) override {
    if (!files.contains(path)) return error{errc::not_found, path + ": no such file"};
    const bytes& content = files[path];
    if (content.size() > bytes_max) return error{errc::io, path + ": too large"};
    return std::string{reinterpret_cast<const char*>(content.data()), content.size()};
  }
  result<std::unique_ptr<file_writer>> create(const std::string& path) override {
    return error{errc::io, path + ": read-only"};
  }
  result<std::unique_ptr<file_appender>> append(const std::string& path) override {
    return error{errc::io, path + ": read-only"};
  }
  bool is_file(const std::string& path) override { return files.contains(path); }
  bool is_directory(const std::string& path) override {
    const auto at = files.lower_bound(path + "/");
    return at != files.end() && at->first.starts_with(path + "/");
  }
  result<std::vector<std::string>> list(const std::string& path) override {
    std::vector<std::string> names;
    for (const auto& [name, content] : files)
      if (name.starts_with(path + "/")) {
        const std::string rest = name.substr(path.size() + 1);
        names.push_back(rest.substr(0, rest.find('/')));
      }
    names.erase(std::unique(names.begin(), names.end()), names.end());
    return names;
  }
};

inline std::string golden_directory(const std::string& name) {
  const std::string root = ATOLL_SOURCE_DIR;
  return name == "tiny" ? root + "/models/tiny" : root + "/tests/golden/" + name;
}

/// A golden case with the tensors of all its shards in one map.
struct editable_checkpoint {
  std::string config;
  tensor_map tensors;

  explicit editable_checkpoint(const std::string& name) {
    const auto disk = system_disk();
    const std::string directory = golden_directory(name);
    config = disk->read(directory + "/config.json", 1 << 20).value();
    for (const std::string& file : disk->list(directory).value()) {
      if (!file.starts_with("model") || !file.ends_with(".safetensors")) continue;
      const auto opened = safetensors_file::open(*disk, directory + "/" + file).value();
      for (const stored_tensor& t : opened.tensors()) {
        const auto data = opened.data(t);
        tensors[t.name] = {std::string{t.type.name}, t.shape, bytes(data.begin(), data.end())};
      }
    }
  }

  void replace(const std::string& from, const std::string& to) {
    const std::size_t at = config.find(from);
    ASSERT_NE(at, std::string::npos) << from;
    config.replace(at, from.size(), to);
  }

  /// As one directory "/m" with one file.
  memory_disk on_disk(std::size_t pad = 0) const {
    memory_disk disk;
    disk.files["/m/config.json"] = to_bytes(config);
    disk.files["/m/model.safetensors"] = to_safetensors(tensors, pad);
    return disk;
  }
};

}  // namespace atl::model
