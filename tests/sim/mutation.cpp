#include "tests/sim/mutation.hpp"

#include "tests/sim/run.hpp"

#include <utility>

namespace atl::sim {
namespace {

namespace wire = transport::wire;
using kind = transport::frame_kind;
using std::chrono::milliseconds;

// Whose heartbeats are lost.
constexpr node_id deaf{3};

void spoil_row(transport::frame& f) {
  std::vector<std::byte> bytes{f.payload.bytes.begin(), f.payload.bytes.end()};
  for (std::size_t i = 3; i < bytes.size(); i += 4) bytes[i] ^= std::byte{0x80};  // signs
  f.payload = transport::own_payload(std::move(bytes));
}

template <class Change>
void spoil_tokens(transport::frame& f, Change change) {
  const auto body = wire::decode(f);
  if (body.has_error()) return;
  auto said = std::get<wire::tokens>(*body);
  change(said);
  auto changed = wire::encode(said, f.header.source, f.header.destination);
  if (changed.has_value()) f = std::move(*changed);
}

}  // namespace

const std::vector<known_mutation>& mutations() {
  static const std::vector<known_mutation> all{
      {"end_never", "I7"},
      {"end_twice", "I11"},
      {"wrong_token", "I3"},
      {"wrong_row", "I3"},
      {"crossed_listeners", "I8"},
      {"undead_actors", "I4"},
      {"late_detector", "I5"},
      {"lost_heartbeats", "I5"},
      {"greedy_shards", "I6"},
      {"lost_records", "I9"},
      {"lost_loads", "I10"},
      {"lost_adoptions", "I10"},
      {"lost_members", "I1"},
      {"lost_token", "I2"},
      {"repeats_pass", "I2"},
  };
  return all;
}

void mutation::change(world_plan& plan) const {
  if (is("late_detector")) {
    plan.watch.suspect_after = milliseconds{4000};
    plan.watch.dead_after = milliseconds{6000};
  }
  if (is("greedy_shards")) plan.extra_pages = 16;
  if (is("undead_actors")) plan.leaves_actors = true;
}

void mutation::change(wiring& wires) const {
  if (is("repeats_pass")) wires.renumber();
  if (is("zombies_pass")) wires.rejuvenate();
}

void mutation::change(ledger& clients) const {
  if (is("end_twice")) clients.set_ends_told(2);
  if (is("end_never")) clients.set_ends_told(0);
  if (is("crossed_listeners")) clients.cross_wires();
}

bool mutation::passes(transport::frame& f, transport::node_identity from) const {
  if (name_.empty()) return true;
  const kind k = f.header.kind;
  if (k == kind::results && is("wrong_row")) spoil_row(f);
  if (k == kind::tokens && is("wrong_token"))
    spoil_tokens(f, [](auto& said) {
      for (auto& t : said.values) t ^= 1;
    });
  if (k == kind::tokens && is("lost_token"))
    spoil_tokens(f, [](auto& said) {
      if (!said.values.empty() && said.logprobs.chosen.empty())
        said.values.erase(said.values.begin());
    });
  if (!is_on_) return true;
  const bool is_lost = (k == kind::heartbeat && is("lost_heartbeats") && from.node == deaf) ||
                       (k == kind::load && is("lost_loads")) ||
                       (k == kind::members && is("lost_members")) ||
                       (k == kind::adopted && is("lost_adoptions"));
  return !is_lost;
}

bool mutation::keeps_record(const std::string&) const { return !is("lost_records"); }

}  // namespace atl::sim
