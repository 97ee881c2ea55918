// Cuts a growing text where one of several strings first appears, however its pieces fall across
// tokens. Text that may be the beginning of a stop string is held back until more is known. One
// thread.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace atl::apps {

class stop_strings {
public:
  /// None of them empty.
  explicit stop_strings(std::vector<std::string> stops);

  /// What may be shown after `more`. After a hit nothing more comes.
  std::string push(std::string_view more);
  /// What was held back, when the text has ended without a hit.
  std::string flush();
  bool is_hit() const noexcept { return hit_; }

private:
  std::vector<std::string> stops_;
  std::string held_;
  bool hit_ = false;
};

}  // namespace atl::apps
