#include "apps/cluster/table.hpp"

#include <algorithm>

namespace atl::ops {

table::table(const std::vector<std::string>& names) {
  if (!names.empty()) rows_.push_back(names);
}

void table::add(std::vector<std::string> row) {
  for (auto& cell : row)
    cell.erase(std::remove_if(
                   cell.begin(), cell.end(), [](unsigned char c) { return c < 0x20 || c == 0x7f; }),
               cell.end());
  rows_.push_back(std::move(row));
}

std::string table::text() const {
  std::vector<std::size_t> widths;
  for (const auto& row : rows_)
    for (std::size_t i = 0; i < row.size(); ++i) {
      if (i == widths.size()) widths.push_back(0);
      widths[i] = std::max(widths[i], row[i].size());
    }
  std::string text;
  for (const auto& row : rows_) {
    std::string line;
    for (std::size_t i = 0; i < row.size(); ++i)
      line += row[i] + std::string(widths[i] - row[i].size() + 2, ' ');
    line.erase(line.find_last_not_of(' ') + 1);
    text += line + "\n";
  }
  return text;
}

}  // namespace atl::ops
