// Bringing ranges of mapped files into memory, on as many threads as the file cache can use.
#pragma once

#include "runtime/base/disk.hpp"
#include "runtime/base/result.hpp"

#include <cstddef>
#include <functional>
#include <memory>
#include <vector>

namespace atl::model {

struct file_range {
  std::shared_ptr<const mapped_file> file;
  std::size_t offset = 0;
  std::size_t length = 0;
};

/// Sorts ranges and joins those of one file that touch or nearly do.
std::vector<file_range> join_ranges(std::vector<file_range> ranges);

/// Brings all ranges into memory before returning, or returns the first error. Uses a few threads
/// of its own; `progress` is called on the calling thread, with bytes done and bytes in all, the
/// last time when they are equal.
result<void>
populate_ranges(const std::vector<file_range>& ranges,
                const std::function<void(std::size_t done, std::size_t total)>& progress);

}  // namespace atl::model
