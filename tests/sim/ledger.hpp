// The clients of a run and what they were promised: which requests were accepted where, what came
// back, and whether that is what an undisturbed cluster answers. A client whose gateway dies, or
// whose request ends with an error that the faults explain, asks again until it has its answer or
// its own deadline has passed.
//
// Checks I1 (ends once), I2 (no token twice or left out), I3, I8 (the tokens, and whose), I11 (one
// end). One thread.
#pragma once

#include "tests/sim/cluster_world.hpp"
#include "tests/sim/verdicts.hpp"

#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace atl::sim {

/// What an undisturbed cluster answers.
struct reference {
  std::vector<token_id> tokens;
  std::vector<float> logprobs;  // of those tokens, where asked for
};

struct client_request {
  actors::generation_request what;
  reference expected;
  time_point_ns at;  // it is sent
};

class ledger {
public:
  ledger(cluster_world& in, verdicts& found, std::vector<client_request> requests);

  /// Errors that requests may end with from now on: those of a cluster that lacks nodes, or none.
  void set_errors_allowed(bool allowed) {
    allows_errors_ = allowed;
    lacks_memory_ = lacks_memory_ && allowed;
  }
  /// Where a request may fail all the same: at a gateway that was cut off.
  void set_excuse(std::function<bool(node_id gateway)> excuses) { excuses_ = std::move(excuses); }
  /// From one token of a request to the next, while its gateway is well; none: any time.
  void set_gap_limit(std::optional<duration_ns> most) { gap_max_ = most; }
  /// Something stood still or was slow: what is late may be its fault.
  void set_lateness_allowed(bool allowed) { allows_lateness_ = allowed; }
  /// A node's allocator refuses: steps fail for that until errors are not allowed any more.
  void expect_want_of_memory() { lacks_memory_ = true; }
  /// Swallows or repeats ends of requests, for mutations; 1 is what is right.
  void set_ends_told(int times) { ends_told_ = times; }
  /// Tells events of one request to the listener of the next, for mutations.
  void cross_wires() { is_crossed_ = true; }

  bool is_done() const { return done_ == entries_.size(); }
  std::size_t size() const { return entries_.size(); }
  std::string unfinished() const;
  /// After a kill of a gateway: its clients notice.
  void gateway_died(const life& which);
  /// One of the clients that wait for an answer goes away; false where there is none.
  bool hang_up_one();
  std::size_t failures() const { return failures_; }
  std::size_t accepted() const { return accepted_; }
  /// What the reference is made of: the tokens of every request, after a run without faults.
  std::vector<reference> answers() const;

private:
  struct entry {
    client_request ask;
    reference got;
    life* gateway = nullptr;  // that has it
    request_id id;
    std::uint64_t attempt = 0;
    time_point_ns accepted_at;
    std::optional<time_point_ns> told_at;  // the last token of this attempt
    bool is_open = false;
    bool is_done = false;
    bool hung_up = false;
  };

  void submit(std::size_t i);
  life* choose_gateway();
  void try_later(std::size_t i, duration_ns wait);
  void hear(std::size_t i, std::uint64_t attempt, actors::generation_event&& event);
  void check_gap(std::size_t i);
  void check_tokens(std::size_t i, const actors::generation_event& event);
  void take_end(std::size_t i, const actors::generation_event& last);
  void take_error(std::size_t i, const error& cause);
  void finish(std::size_t i);
  void fail(const std::string& invariant, std::size_t i, const std::string& what);

  cluster_world& in_;
  verdicts& found_;
  random_source random_;
  std::vector<entry> entries_;
  std::size_t done_ = 0;
  std::size_t failures_ = 0;
  std::size_t accepted_ = 0;
  int ends_told_ = 1;
  std::function<bool(node_id)> excuses_;
  bool is_crossed_ = false;
  bool allows_errors_ = false;
  bool lacks_memory_ = false;
  std::optional<duration_ns> gap_max_;
  bool allows_lateness_ = false;
};

}  // namespace atl::sim
