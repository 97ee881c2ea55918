// Requests of several kinds, each with one right answer.
#pragma once

#include "tests/unit/actors/replay_world.hpp"

#include <string>

namespace atl::actors::replay {

inline const std::string choice =
    R"({"any_of":[{"text":"the quick brown fox jumps"},{"text":"the slow red dog sleeps"}]})";

inline generation_request request(int kind, std::int64_t tokens = 7) {
  generation_request r;
  const int length = 20 + kind * 13 % 40;
  for (int i = 0; i < length; ++i) r.prompt.push_back((i * 37 + kind * 101 + 11) % 6000);
  r.tokens_max = tokens;
  r.ignore_eos = true;
  return r;
}

inline generation_request sampled(std::uint64_t seed) {
  auto r = request(static_cast<int>(seed) + 3);
  r.sampling.temperature = 0.9F;
  r.sampling.seed = seed;
  r.sampling.repetition_penalty = 1.3F;
  r.sampling.frequency_penalty = 0.2F;
  return r;
}

inline generation_request with_logprobs() {
  auto r = sampled(5);
  r.logprobs_top = 3;
  r.prompt_logprobs = true;
  return r;
}

inline generation_request observed(logits_wanted logits) {
  auto r = request(4, 5);
  r.logits = logits;
  r.want_hidden = r.want_routing = logits == logits_wanted::all;
  return r;
}

inline generation_request constrained() {
  auto r = request(2, 60);
  r.prompt = words()->encode("Say one of these:", {}).value();
  r.vocabulary = words()->vocabulary_size();
  r.sampling.temperature = 1.5F;
  r.sampling.seed = 3;
  r.constraint = choice;
  r.ignore_eos = false;
  return r;
}

}  // namespace atl::actors::replay
