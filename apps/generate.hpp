// Runs requests through a cluster, as many at once as it takes, and turns their tokens into text.
// The calling thread waits; callbacks come on it.
#pragma once

#include "actors/local_cluster.hpp"
#include "apps/engine.hpp"
#include "apps/prompts.hpp"
#include "runtime/base/result.hpp"

#include <cstddef>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace atl::apps {

struct answer {
  std::string text;  // empty without a tokenizer
  std::vector<token_id> tokens;
  std::string finish;  // "stop", "length", "cancelled" or "error"
  std::optional<error> cause;
  std::vector<actors::observation> seen;
  std::int64_t prompt_tokens = 0;
  // Seconds since the run began.
  double submitted_s = 0;
  std::optional<double> first_token_s;
  double ended_s = 0;
};

struct observe {
  bool logits = false;  // of all positions
  bool hidden = false;
  bool routing = false;
};

struct run_listener {
  /// A piece of text as it comes.
  std::function<result<void>(std::size_t index, std::string_view text)> text;
  /// In the order of the prompts, each as soon as it and all before it have ended.
  std::function<result<void>(std::size_t index, answer&& done)> done;
};

struct run_outcome {
  int interrupt = 0;             // the signal that cut it short
  std::optional<error> failure;  // the first request that failed
};

/// An error of the listener cancels the rest and is returned.
result<run_outcome> run_prompts(actors::local_cluster& cluster,
                                const model_files& on,
                                std::span<const prompt> prompts,
                                const observe& wanted,
                                const run_listener& listener);

/// Speeds of a run, from its answers.
class speed_meter {
public:
  void add(const answer& done);
  /// "2 actors ...; 100 prompt tokens, 50.0 tokens/s; 20 generated, 10.0 tokens/s".
  std::string summary(const std::string& what_ran) const;

private:
  std::int64_t prompt_tokens_ = 0;
  std::int64_t generated_ = 0;
  std::int64_t after_first_ = 0;
  double prompts_end_s_ = 0;
  double first_token_s_ = -1;
  double end_s_ = 0;
};

}  // namespace atl::apps
