// The tokenizer of models/tiny, loaded once.
#pragma once

#include "runtime/base/disk.hpp"
#include "runtime/model/tokenizer.hpp"

#include <memory>
#include <string>

namespace atl::openai {

inline std::shared_ptr<const model::tokenizer> words() {
  static const auto loaded =
      model::tokenizer::load(*system_disk(), std::string{ATOLL_SOURCE_DIR} + "/models/tiny")
          .value();
  return loaded;
}

}  // namespace atl::openai
