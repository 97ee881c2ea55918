#include "apps/generate.hpp"

#include "apps/inbox.hpp"
#include "apps/stop_strings.hpp"
#include "apps/values.hpp"

#include <algorithm>
#include <memory>
#include <utility>

namespace atl::apps {
namespace {

/// One request on its way: tokens to text, stop strings, times.
struct under_way {
  std::optional<request_id> id;
  std::optional<model::stream_decoder> decoder;
  std::optional<stop_strings> stops;
  answer so_far;
  bool is_cut = false;  // a stop string was hit: what still comes is not part of the answer
  bool has_ended = false;
};

std::string finish_name(actors::finish_reason reason) {
  switch (reason) {
  case actors::finish_reason::stop: return "stop";
  case actors::finish_reason::length: return "length";
  case actors::finish_reason::cancelled: return "cancelled";
  default: return "error";
  }
}

class prompt_run {
public:
  prompt_run(actors::local_cluster& cluster,
             const model_files& on,
             std::span<const prompt> prompts,
             const observe& wanted,
             const run_listener& listener)
      : cluster_{cluster},
        on_{on},
        prompts_{prompts},
        wanted_{wanted},
        listener_{listener},
        all_(prompts.size()),
        begin_{time_.now()} {}

  result<run_outcome> run() {
    submit_more();
    while (open_ > 0) {
      event_inbox::delivery got = inbox_->wait();
      if (got.interrupt != 0) {
        outcome_.interrupt = got.interrupt;
        stop_all();
      }
      for (stamped_event& e : got.events) take(e);
      hand_over();
      submit_more();
    }
    if (broken_) return *broken_;
    return outcome_;
  }

private:
  double since(time_point_ns when) const { return seconds(when - begin_); }

  actors::generation_request request_for(const prompt& p) const {
    actors::generation_request r;
    r.prompt = p.tokens;
    r.tokens_max = p.how.tokens_max;
    r.sampling = p.how.params;
    r.vocabulary = on_.vocabulary();
    r.ignore_eos = p.how.ignore_eos;
    if (wanted_.logits) r.logits = actors::logits_wanted::all;
    r.want_hidden = wanted_.hidden;
    r.want_routing = wanted_.routing;
    return r;
  }

  /// Observations of a prompt are large: of those, no more at once than sequences are computed.
  bool has_room() const {
    const auto& o = cluster_.options();
    const auto places = static_cast<std::size_t>(o.sequences_max * o.attention_shards);
    const bool is_heavy = wanted_.logits || wanted_.hidden || wanted_.routing;
    return !is_heavy || next_ - reported_ < places;
  }

  void submit_more() {
    while (!stopping_ && next_ < prompts_.size() && has_room()) {
      const std::size_t index = next_;
      under_way& u = all_[index];
      if (on_.words) u.decoder.emplace(on_.words, true);
      u.stops.emplace(prompts_[index].how.stop);
      u.so_far.prompt_tokens = static_cast<std::int64_t>(prompts_[index].tokens.size());
      u.so_far.submitted_s = since(time_.now());
      auto submitted = cluster_.submit(request_for(prompts_[index]),
                                       [index, to = inbox_](actors::generation_event&& event) {
                                         to->push(index, std::move(event));
                                       });
      if (submitted.has_error()) {
        if (submitted.error().code() == errc::overloaded && open_ > 0) return;
        const std::string what = prompts_[index].source + ": " + submitted.error().message();
        return fail(error{submitted.error().code(), what});
      }
      u.id = *submitted;
      ++open_;
      ++next_;
    }
  }

  void take(stamped_event& e) {
    under_way& u = all_[e.request];
    answer& a = u.so_far;
    if (!e.event.tokens.empty() && !a.first_token_s) a.first_token_s = since(e.when);
    for (actors::observation& o : e.event.observations) a.seen.push_back(std::move(o));
    for (const token_id token : e.event.tokens) {
      if (u.is_cut) break;
      a.tokens.push_back(token);
      if (u.decoder) show(e.request, u.decoder->push(token));
    }
    if (e.event.finish == actors::finish_reason::none) return;
    if (u.decoder && !u.is_cut) show(e.request, u.decoder->flush());
    if (!u.is_cut) show_plain(e.request, u.stops->flush());
    a.ended_s = since(e.when);
    a.finish = u.is_cut ? "stop" : finish_name(e.event.finish);
    if (!u.is_cut && e.event.cause) a.cause = e.event.cause;
    u.has_ended = true;
    --open_;
  }

  void show(std::size_t index, const std::string& piece) {
    under_way& u = all_[index];
    show_plain(index, u.stops->push(piece));
    if (!u.stops->is_hit() || u.is_cut) return;
    u.is_cut = true;
    cluster_.cancel(*u.id);
  }

  void show_plain(std::size_t index, const std::string& text) {
    if (text.empty()) return;
    all_[index].so_far.text += text;
    if (!broken_ && listener_.text) check(listener_.text(index, text));
  }

  void hand_over() {
    while (reported_ < next_ && all_[reported_].has_ended) {
      answer& a = all_[reported_].so_far;
      if (a.cause && !outcome_.failure) outcome_.failure = a.cause;
      if (!broken_) check(listener_.done(reported_, std::move(a)));
      all_[reported_] = {};
      ++reported_;
    }
  }

  void check(const result<void>& told) {
    if (told.has_error()) fail(told.error());
  }

  void fail(error why) {
    if (!broken_) broken_ = std::move(why);
    stop_all();
  }

  void stop_all() {
    stopping_ = true;
    for (const under_way& u : all_)
      if (u.id && !u.has_ended) cluster_.cancel(*u.id);
  }

  actors::local_cluster& cluster_;
  const model_files& on_;
  std::span<const prompt> prompts_;
  observe wanted_;
  const run_listener& listener_;
  // Shared: a worker may still be leaving push() when the last event has been read.
  std::shared_ptr<event_inbox> inbox_ =
      std::make_shared<event_inbox>(std::make_shared<steady_clock>());
  std::vector<under_way> all_;
  steady_clock time_;
  time_point_ns begin_;
  std::size_t next_ = 0;      // to be submitted
  std::size_t reported_ = 0;  // handed over
  std::size_t open_ = 0;      // submitted and not ended
  bool stopping_ = false;
  std::optional<error> broken_;
  run_outcome outcome_;
};

}  // namespace

result<run_outcome> run_prompts(actors::local_cluster& cluster,
                                const model_files& on,
                                std::span<const prompt> prompts,
                                const observe& wanted,
                                const run_listener& listener) {
  return prompt_run{cluster, on, prompts, wanted, listener}.run();
}

void speed_meter::add(const answer& done) {
  const auto count = static_cast<std::int64_t>(done.tokens.size());
  prompt_tokens_ += done.prompt_tokens;
  generated_ += count;
  after_first_ += std::max<std::int64_t>(0, count - 1);
  const double first = done.first_token_s.value_or(done.ended_s);
  prompts_end_s_ = std::max(prompts_end_s_, first);
  if (first_token_s_ < 0 || first < first_token_s_) first_token_s_ = first;
  end_s_ = std::max(end_s_, done.ended_s);
}

std::string speed_meter::summary(const std::string& what_ran) const {
  const auto rate = [](std::int64_t tokens, double time) {
    return time > 0 ? fixed(static_cast<double>(tokens) / time, 1) : std::string{"-"};
  };
  return what_ran + "; prompt " + std::to_string(prompt_tokens_) + " tokens, " +
         rate(prompt_tokens_, prompts_end_s_) + " tokens/s; generated " +
         std::to_string(generated_) + " tokens, " + rate(after_first_, end_s_ - first_token_s_) +
         " tokens/s";
}

}  // namespace atl::apps
