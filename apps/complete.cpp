// atoll complete: texts continued by the model.
#include "apps/commands.hpp"
#include "apps/generate.hpp"
#include "apps/inbox.hpp"
#include "apps/json_text.hpp"
#include "apps/output.hpp"
#include "apps/values.hpp"
#include "runtime/base/random.hpp"

#include <utility>

namespace atl::apps {
namespace {

result<std::vector<prompt>> gather(disk& files, const complete_options& o) {
  if (o.text && !o.prompts.empty())
    return error{errc::invalid_argument, "-p and --prompts exclude each other; give one"};
  if (!o.prompts.empty())
    return read_prompts(files, o.prompts, line_fields::prompt_sampling, o.how);
  if (!o.text)
    return error{errc::invalid_argument, "there is no prompt; give -p TEXT or --prompts FILE"};
  std::vector<prompt> one(1);
  one[0].source = "-p";
  one[0].id = "0";
  one[0].text = o.text;
  one[0].how = o.how;
  return one;
}

/// Without a seed every request draws its own numbers.
void seed_others(std::vector<prompt>& prompts) {
  const philox draws{system_entropy()};
  for (std::size_t i = 0; i < prompts.size(); ++i)
    if (!prompts[i].how.is_seeded) prompts[i].how.params.seed = draws.at(0, i);
}

std::string json_line(const prompt& p, const answer& a, bool has_text) {
  std::string line = "{\"id\":" + p.id + ",\"text\":" + (has_text ? quoted(a.text) : "null");
  line += ",\"tokens\":";
  append_list(line, a.tokens);
  line += ",\"finish_reason\":" + quoted(a.finish);
  if (a.cause) line += ",\"error\":" + quoted(a.cause->message());
  const auto generated = static_cast<std::int64_t>(a.tokens.size());
  line += ",\"usage\":{\"prompt_tokens\":" + std::to_string(a.prompt_tokens) +
          ",\"completion_tokens\":" + std::to_string(generated) +
          ",\"total_tokens\":" + std::to_string(a.prompt_tokens + generated) + "}";
  std::string first = "null", rate = "null";
  if (a.first_token_s) {
    first = fixed(*a.first_token_s - a.submitted_s, 6);
    const double rest = a.ended_s - *a.first_token_s;
    if (generated > 1 && rest > 0) rate = fixed(static_cast<double>(generated - 1) / rest, 3);
  }
  return line + ",\"timings\":{\"first_token_s\":" + first +
         ",\"total_s\":" + fixed(a.ended_s - a.submitted_s, 6) + ",\"tokens_per_second\":" + rate +
         "}}\n";
}

/// What the answers are written as.
class answer_writer {
public:
  answer_writer(output& to, const complete_options& o, std::span<const prompt> prompts, bool words)
      : to_{to},
        options_{o},
        prompts_{prompts},
        has_words_{words},
        is_streamed_{!o.as_json && words && o.text.has_value()} {}

  run_listener listener() {
    run_listener l;
    if (is_streamed_)
      l.text = [this](std::size_t, std::string_view piece) -> result<void> {
        ATOLL_TRY(to_.write(piece));
        return to_.flush();
      };
    l.done = [this](std::size_t index, answer&& a) { return done(index, a); };
    return l;
  }

  const speed_meter& speed() const { return speed_; }

private:
  result<void> done(std::size_t index, const answer& a) {
    speed_.add(a);
    if (!options_.as_json && a.finish == "cancelled" && a.tokens.empty()) return {};
    if (!options_.as_json && prompts_.size() > 1)
      ATOLL_TRY(to_.write("== " + prompts_[index].id + " ==\n"));
    if (options_.as_json) {
      ATOLL_TRY(to_.write(json_line(prompts_[index], a, has_words_)));
    } else if (is_streamed_) {
      if (!a.text.ends_with('\n')) ATOLL_TRY(to_.write("\n"));
    } else if (has_words_) {
      ATOLL_TRY(to_.write(a.text + "\n"));
    } else {
      std::string line;
      append_list(line, a.tokens);
      ATOLL_TRY(to_.write(line + "\n"));
    }
    return to_.is_file() ? result<void>{} : to_.flush();
  }

  output& to_;
  const complete_options& options_;
  std::span<const prompt> prompts_;
  bool has_words_;
  bool is_streamed_;
  speed_meter speed_;
};

}  // namespace

result<int> run_complete(complete_options o) {
  const auto files = system_disk();
  ATOLL_ASSIGN(std::vector<prompt> prompts, gather(*files, o));
  seed_others(prompts);
  ATOLL_ASSIGN(const model_files found, find_model(*files, o.engine));
  ATOLL_TRY(encode_prompts(
      prompts, found.words.get(), o.with_bos, found.config.vocab_size, found.cluster.context_max));
  hold_interrupts();
  ATOLL_ASSIGN(const auto cluster, start_engine(*files, found, o.engine));
  ATOLL_ASSIGN(output to, output::open(*files, o.out));
  answer_writer writer{to, o, prompts, found.words != nullptr};
  const run_listener listener = writer.listener();
  ATOLL_ASSIGN(const run_outcome ran, run_prompts(*cluster, found, prompts, {}, listener));
  if (ran.failure) {
    note("atoll: a request failed: " + ran.failure->message() + "\n");
    return 1;
  }
  if (ran.interrupt == 0 || !to.is_file()) ATOLL_TRY(to.finish());
  if (ran.interrupt != 0) note("atoll: interrupted\n");
  if (!o.engine.quiet) note("atoll: " + writer.speed().summary(cluster->description()) + "\n");
  return ran.interrupt == 0 ? 0 : 128 + ran.interrupt;
}

}  // namespace atl::apps
