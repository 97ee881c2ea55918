// Columns of text for people. One thread.
#pragma once

#include <string>
#include <vector>

namespace atl::ops {

class table {
public:
  /// Without names there is no first line.
  explicit table(const std::vector<std::string>& names);
  void add(std::vector<std::string> row);
  /// Columns are two blanks apart; what would steer a terminal is left out.
  std::string text() const;

private:
  std::vector<std::vector<std::string>> rows_;
};

}  // namespace atl::ops
