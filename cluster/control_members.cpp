#include "cluster/certificates.hpp"
#include "cluster/control.hpp"
#include "runtime/base/assert.hpp"
#include "runtime/base/sizes.hpp"

#include <algorithm>
#include <limits>

namespace atl::cluster {

namespace wire = transport::wire;

namespace {

// A node that is told that its life is over may have said more before it heard it.
constexpr duration_ns dismissed_again = std::chrono::seconds{1};

std::string named(node_id node) { return "node " + std::to_string(node.value); }

std::string text(std::uint64_t n) { return std::to_string(n); }

std::string roles_text(std::uint32_t roles) {
  std::string all;
  const auto add = [&](std::uint32_t role, const char* name) {
    if ((roles & role) == 0) return;
    if (!all.empty()) all += ", ";
    all += name;
  };
  add(wire::role_coordinator, "coordinator");
  add(wire::role_gateway, "gateway");
  add(wire::role_attention, "attention");
  add(wire::role_expert, "expert");
  return all;
}

std::string whereabouts(const wire::join& said) {
  return "\"" + said.name + "\"" + (said.tls.empty() ? "" : " at " + said.tls);
}

}  // namespace

/// What the life itself has against it.
std::optional<wire::failure> control::check_life(const node_record& n,
                                                 transport::node_identity from,
                                                 const wire::join& said) const {
  if (from.life <= n.life_over)
    return wire::failure{errc::stale_epoch,
                         named(from.node) + " speaks of its life " + text(from.life.value) +
                             ", which is over (" + text(n.life_over.value) +
                             " and earlier ones are); it has to begin a new one"};
  const auto at = live_.find(from.node);
  const incarnation known = at == live_.end() ? n.life : at->second.life;
  if (from.life < known)
    return wire::failure{errc::stale_epoch,
                         named(from.node) + " is in its life " + text(known.value) + ", not " +
                             text(from.life.value) + "; it has to begin a new one"};
  if (at == live_.end()) return std::nullopt;
  const bool is_same = from.life == known && said.tls == at->second.said.tls &&
                       said.ucx == at->second.said.ucx && said.name == at->second.said.name;
  if (is_same) return std::nullopt;
  return wire::failure{errc::unavailable,
                       named(from.node) + " is a member already, as " +
                           whereabouts(at->second.said) + ", life " + text(known.value) +
                           ", and was heard of late; " + whereabouts(said) + ", life " +
                           text(from.life.value) +
                           ", can take its place when that one is gone. Two nodes must not share "
                           "one state directory"};
}

/// Epochs only grow, for good: none is believed that this cluster cannot have come to.
std::optional<wire::failure> control::check_epoch(transport::node_identity from,
                                                  const wire::join& said) const {
  // Ahead of the journal where the coordinator's directory was lost or restored from a copy.
  constexpr std::uint64_t ahead_max = std::uint64_t{1} << 32;
  const std::uint64_t reserved = kept_.counters.epochs_reserved;
  const bool is_far = said.epoch.value > reserved && said.epoch.value - reserved > ahead_max;
  const bool is_past_all = said.epoch.value > std::numeric_limits<std::uint64_t>::max() / 2;
  if (!is_far && !is_past_all) return std::nullopt;
  return wire::failure{errc::invalid_argument,
                       named(from.node) + " says that it uses the placement of epoch " +
                           text(said.epoch.value) + ", and this cluster is at about " +
                           text(epoch_used_) + "; start the node again"};
}

/// What does not fit the cluster: model, arithmetic, memory.
std::optional<wire::failure> control::check_kind(transport::node_identity from,
                                                 const wire::join& said) const {
  if (!settings_.fingerprint.empty() && !said.model.empty() && said.model != settings_.fingerprint)
    return wire::failure{errc::invalid_model,
                         named(from.node) + " has a model with fingerprint " + said.model +
                             ", the cluster serves one with " + settings_.fingerprint +
                             "; give it the same checkpoint"};
  const bool computes = (said.roles & (wire::role_attention | wire::role_expert)) != 0;
  if (computes && !settings_.numeric_class.empty() && said.numeric_class != settings_.numeric_class)
    return wire::failure{errc::unsupported,
                         named(from.node) + " computes in numeric class " + said.numeric_class +
                             ", the cluster in " + settings_.numeric_class +
                             "; answers would differ by where they are computed, and a placement "
                             "apart for another class is not built"};
  // Frames of one medium do not reach the other.
  const bool has_data = (said.roles & ~wire::role_coordinator) != 0 && !said.tls.empty();
  for (const auto& [node, n] : live_) {
    const bool is_other =
        node != from.node && !n.said.tls.empty() && (n.said.roles & ~wire::role_coordinator) != 0;
    if (!has_data || !is_other || n.said.ucx.empty() == said.ucx.empty()) continue;
    const std::string_view here = n.said.ucx.empty() ? "tls" : "ucx";
    const std::string_view there = said.ucx.empty() ? "tls" : "ucx";
    return wire::failure{errc::unsupported,
                         named(from.node) + " sends data by " + std::string{there} + ", " +
                             named(node) + " and the others by " + std::string{here} +
                             ": give all nodes the same --data-transport, or interfaces for "
                             "which auto chooses the same"};
  }
  // A gateway tells clients what answers depend on, so it has to know.
  const bool sends = (said.roles & (wire::role_attention | wire::role_gateway)) != 0;
  if (sends && settings_.activations && said.activations != *settings_.activations)
    return wire::failure{
        errc::unsupported,
        named(from.node) + " runs with --activations " + std::string{to_string(said.activations)} +
            ", the cluster with " + std::string{to_string(*settings_.activations)} +
            "; answers would differ by where they are computed: give all nodes with the roles "
            "attention and gateway the same"};
  const bool holds_experts =
      (said.roles & wire::role_expert) != 0 && !settings_.model.shape.layers.empty();
  if (holds_experts && said.groups == 0)
    return wire::failure{errc::invalid_argument,
                         named(from.node) + " has the role expert and runs no expert group"};
  if (holds_experts && said.expert_bytes < settings_.model.expert_bytes)
    return wire::failure{errc::out_of_memory,
                         named(from.node) + " has " + human_size(said.expert_bytes) +
                             " for expert weights, and one expert takes " +
                             human_size(settings_.model.expert_bytes) +
                             ": it could hold nothing; give it more memory or another role"};
  return std::nullopt;
}

std::optional<wire::failure> control::check_join(transport::node_identity from,
                                                 const wire::join& said) {
  auto at = kept_.nodes.find(from.node);
  if (at == kept_.nodes.end() && settings_.admits_unknown) {
    kept_.counters.node_next = std::max(kept_.counters.node_next, from.node.value + 1);
    at = kept_.nodes.emplace(from.node, node_record{.node = from.node, .name = said.name}).first;
    at->second.roles = said.roles;
  }
  if (at == kept_.nodes.end())
    return wire::failure{errc::unauthorised,
                         named(from.node) + " is not known to this cluster; join with a token"};
  const node_record& n = at->second;
  if (n.is_removed)
    return wire::failure{errc::unauthorised,
                         named(from.node) + " was removed from this cluster; join anew with a "
                                            "token and an empty state directory"};
  if ((said.roles & ~n.roles) != 0)
    return wire::failure{errc::unauthorised,
                         named(from.node) + " wants the roles " + roles_text(said.roles) +
                             " and was admitted for " + roles_text(n.roles)};
  if (const auto no = check_epoch(from, said)) return no;
  if (const auto no = check_life(n, from, said)) return no;
  return check_kind(from, said);
}

void control::joined(transport::node_identity from, const wire::join& said, time_point_ns now) {
  if (!first_join_ && from.node != settings_.self) first_join_ = now;
  if (const auto known = live_.find(from.node);
      known != live_.end() && known->second.given_up && from.life > known->second.life) {
    const std::string why = *known->second.given_up;
    bury(from.node, "died", "died: " + why);  // it has begun a new life
  }
  if (const auto no = check_join(from, said)) {
    tell("refused", from.node, no->text);
    wire::welcome answer;
    answer.cause = no;
    effects_.emplace_back(send_effect{from, std::move(answer)});
    if (no->code == errc::stale_epoch) dismiss(from, no);
    return reconcile(now);
  }
  if (settings_.fingerprint.empty()) settings_.fingerprint = said.model;
  const bool computes = (said.roles & (wire::role_attention | wire::role_expert)) != 0;
  if (computes && settings_.numeric_class.empty()) settings_.numeric_class = said.numeric_class;
  const bool sends = (said.roles & (wire::role_attention | wire::role_gateway)) != 0;
  if (sends && !settings_.activations) settings_.activations = said.activations;
  epoch_used_ = std::max(epoch_used_, said.epoch.value);
  if (said.epoch != epoch{} && driver_.published() == epoch{} && !is_resumed_) {
    // Somebody uses a placement that is not in the journal: its copies are in use.
    is_resumed_ = true;
    if (driver_.is_open()) driver_.open(true);
  }

  const auto [at, is_new] = live_.try_emplace(from.node);
  live_node& n = at->second;
  node_record& kept = kept_.nodes.at(from.node);
  n.said = said;
  n.said.held.clear();
  // No name of a domain has a space.
  if (n.said.domain.empty()) n.said.domain = named(from.node);
  n.life = from.life;
  n.given_up.reset();
  judge_later(now);
  if (is_new) {
    n.since = now;
    n.used = said.epoch;
    const bool goes_on = kept.life == from.life;  // only the coordinator is new
    keep_membership(kept, from.life, said);
    if (goes_on)
      resume_drains(from.node, now);
    else
      end_operations(from.node, "the node has begun a new life");
    tell("joined",
         from.node,
         named(from.node) + " " + whereabouts(said) + " joined as " + roles_text(said.roles));
    note_memory(n, from.node);
  }
  news_.change();
  welcome(from);
  driver_.set_seats(seats());
  if ((said.roles & wire::role_expert) != 0) {
    const group_id first{kept.group_first};
    if (is_new)
      driver_.claimed(first, said.held);
    else
      driver_.claimed_again(first, said.held, now);
  }
  if ((said.roles & wire::role_attention) != 0) driver_.add_reader(from.node, said.epoch);
  reconcile(now);
}

/// Says so where a node cannot hold an even share; it holds what it can.
void control::note_memory(live_node& n, node_id node) {
  const std::size_t all = settings_.model.shape.layers.size() * settings_.model.shape.experts;
  const std::size_t share = (all * settings_.copies + settings_.expert_nodes_min - 1) /
                            std::max(settings_.expert_nodes_min, 1U);
  const std::size_t holds = experts_max(n);
  if ((n.said.roles & wire::role_expert) == 0 || holds >= std::min(share, all)) return;
  n.note = "memory for " + text(holds) + " experts (" + human_size(n.said.expert_bytes) +
           "), an even share would be " + text(std::min(share, all));
  tell("memory", node, named(node) + " has " + n.note);
}

/// Writes down that this life is a member, and gives numbers to groups and shards that have none.
void control::keep_membership(node_record& n, incarnation life, const wire::join& said) {
  marks& m = kept_.counters;
  const bool needs_groups = said.groups > n.groups;
  const bool needs_shards = said.shards > n.shards;
  if (needs_groups) {
    n.group_first = m.group_next;
    m.group_next += said.groups;
  }
  if (needs_shards) {
    n.shard_first = m.shard_next;
    m.shard_next += said.shards;
  }
  n.groups = std::max(n.groups, said.groups);
  n.shards = std::max(n.shards, said.shards);
  if (!said.name.empty()) n.name = said.name;
  n.life = life;
  if (needs_groups || needs_shards) record(to_record(m), true);
  record(to_record(n), needs_groups || needs_shards);
}

void control::welcome(transport::node_identity to) {
  const node_record& n = kept_.nodes.at(to.node);
  wire::welcome answer;
  answer.cluster = settings_.cluster;
  answer.group_first = n.group_first;
  answer.shard_first = n.shard_first;
  effects_.emplace_back(send_effect{to, std::move(answer)});
}

/// The life is over: what it held is gone, and it never comes back.
void control::bury(node_id node, const std::string& kind, const std::string& why) {
  const auto at = live_.find(node);
  ATOLL_ASSERT(at != live_.end());
  node_record& kept = kept_.nodes.at(node);
  kept.life_over = at->second.life;
  record(to_record(kept), false);
  for (std::uint32_t g = 0; g < kept.groups; ++g) driver_.forget(group_id{kept.group_first + g});
  driver_.remove_reader(node);
  std::erase_if(losses_,
                [node](const path_loss& l) { return l.reporter == node || l.subject == node; });
  live_.erase(at);
  news_.change();
  tell(kind, node, named(node) + " " + why);
  const auto drain = drains_.find(node);
  if (drain == drains_.end()) return;
  const std::uint64_t id = drain->second.operation;
  drains_.erase(drain);
  end(kept_.operations.at(id), operation_state::done, "the node is gone: " + why);
}

void control::dismiss(transport::node_identity who, std::optional<wire::failure> cause) {
  effects_.emplace_back(send_effect{who, wire::dismissed{who.life, std::move(cause)}});
}

/// Whether this is what a member says. One whose life is over is told so.
bool control::speaks(transport::node_identity from, time_point_ns now) {
  const auto at = live_.find(from.node);
  if (at != live_.end() && at->second.life == from.life) return true;
  const auto kept = kept_.nodes.find(from.node);
  if (kept == kept_.nodes.end() || from.life > kept->second.life_over) return false;
  const auto told = dismissed_at_.find(from.node);
  if (told != dismissed_at_.end() && now < told->second + dismissed_again) return false;
  dismissed_at_[from.node] = now;
  dismiss(from,
          wire::failure{errc::stale_epoch,
                        named(from.node) + " was given up in its life " + text(from.life.value) +
                            "; it has to begin a new one and join again"});
  return false;
}

/// Whether nobody at all is heard, of two nodes or more: then it is this node that is cut off, and
/// giving the others up would end what they do without it.
bool control::is_cut_off(node_id but_for) const {
  std::size_t others = 0;
  for (const auto& [id, n] : live_) {
    if (id == settings_.self) continue;
    ++others;
    if (id != but_for && !n.is_suspect) return false;
  }
  return others >= 2;
}

/// Somebody is heard: those who were given up while nobody was may come back as well, or not.
void control::judge_later(time_point_ns now) {
  const bool has_silent = std::any_of(
      live_.begin(), live_.end(), [](const auto& n) { return n.second.given_up.has_value(); });
  if (has_silent && !judged_again_at_) judged_again_at_ = now + cut_off_patience;
}

/// Some are heard again: who still is not, was lost meanwhile.
void control::judge_again(time_point_ns now) {
  if (!judged_again_at_ || now < *judged_again_at_) return;
  judged_again_at_.reset();
  std::vector<std::pair<transport::node_identity, std::string>> lost;
  for (const auto& [id, n] : live_)
    if (n.given_up) lost.push_back({{id, n.life}, *n.given_up});
  for (const auto& [who, why] : lost) {
    dismiss(who, wire::failure{errc::stale_epoch, "the coordinator gave it up: " + why});
    bury(who.node, "died", "died: " + why);
  }
}

void control::peer_changed(transport::node_identity peer,
                           transport::plane path,
                           member_state state,
                           const std::string& why,
                           time_point_ns now) {
  const auto at = live_.find(peer.node);
  if (path != transport::plane::control || at == live_.end() || at->second.life != peer.life ||
      peer.node == settings_.self)
    return;
  if (state == member_state::dead && is_cut_off(peer.node)) {
    at->second.given_up = why;
    tell("suspect",
         peer.node,
         named(peer.node) + " is not heard, like all others: this node may be the one cut off");
    return reconcile(now);
  }
  if (state == member_state::dead) {
    dismiss(peer, wire::failure{errc::stale_epoch, "the coordinator gave it up: " + why});
    bury(peer.node, "died", "died: " + why);
    return reconcile(now);
  }
  const bool is_suspect = state == member_state::suspect;
  if (!is_suspect) {
    at->second.given_up.reset();
    judge_later(now);
  }
  if (at->second.is_suspect == is_suspect) return;
  at->second.is_suspect = is_suspect;
  news_.change();
  tell(is_suspect ? "suspect" : "alive",
       peer.node,
       named(peer.node) + (is_suspect ? " is suspected: " + why : " is heard again"));
  reconcile(now);
}

std::size_t control::experts_max(const live_node& n) const {
  const std::size_t each = std::max<std::size_t>(settings_.model.expert_bytes, 1);
  return static_cast<std::size_t>(n.said.expert_bytes / each);
}

/// The groups that may hold experts. Groups of one node share its weights: where its memory does
/// not hold all experts, each gets its part of it.
std::vector<seat> control::seats() const {
  const std::size_t all = settings_.model.shape.layers.size() * settings_.model.shape.experts;
  std::vector<seat> seats;
  for (const auto& [id, n] : live_) {
    if ((n.said.roles & wire::role_expert) == 0) continue;
    const node_record& kept = kept_.nodes.at(id);
    const std::size_t fits = experts_max(n);
    for (std::uint32_t g = 0; g < n.said.groups; ++g) {
      seat s;
      s.who.group = group_id{kept.group_first + g};
      s.who.node = id;
      s.who.capacity = fits >= all ? all : fits / n.said.groups;
      s.who.accepts_new = n.is_told && !n.is_suspect && !kept.is_cordoned;
      s.who.drains = kept.is_drained || drains_.count(id) > 0;
      s.slot = settings_.group_slot_first + g;
      s.has_weights = !n.said.model.empty();
      seats.push_back(s);
    }
  }
  return seats;
}

/// Without tickets, which are the receiver's.
wire::members control::all_members() const {
  wire::members all;
  all.version = version_;
  add_revoked(kept_, settings_.unix_ms ? settings_.unix_ms() : 0, all);
  all.list.reserve(live_.size());
  for (const auto& [id, n] : live_) {
    const node_record& kept = kept_.nodes.at(id);
    wire::member_info m;
    m.node = id;
    m.life = n.life;
    m.state = n.is_suspect                               ? wire::member_state::suspect
              : drains_.count(id) > 0 || kept.is_drained ? wire::member_state::draining
              : kept.is_cordoned                         ? wire::member_state::cordoned
                                                         : wire::member_state::alive;
    m.roles = n.said.roles;
    m.shards = n.said.shards;
    m.shard_first = kept.shard_first;
    m.sequences_max = n.said.sequences_max;
    m.pages_total = n.said.pages_total;
    m.name = kept.name;
    m.tls = n.said.tls;
    m.ucx = n.said.ucx;
    all.list.push_back(std::move(m));
  }
  return all;
}

/// When all are to be sent the list, if it has changed. What it costs grows with the square of
/// members, some 0.2 us a pair: of many it comes at most so often that it takes a fifth of the
/// time. The first change after a rest is told at once.
std::optional<time_point_ns> control::list_due() const {
  // After a restart nodes keep what they know until all had the time to say join again: a list of
  // those who were quick would bury the others.
  if (!news_.is_untold || (is_resumed_ && !driver_.is_open())) return std::nullopt;
  const auto n = static_cast<std::int64_t>(live_.size());
  constexpr std::int64_t few = 64;
  if (n <= few || !news_.told_at) return started_;
  return *news_.told_at + duration_ns{1000 * n * n};
}

void control::tell_members(time_point_ns now) {
  if (!list_due()) return;
  news_.is_untold = false;
  news_.told_at = now;
  ++version_;
  reserve();
  const wire::members all = all_members();
  for (auto& [id, n] : live_) {
    news_.are_seats_stale = news_.are_seats_stale || !n.is_told;
    n.is_told = true;
    wire::members list = all;
    auto m = list.list.begin();
    for (const auto& [node, other] : live_) {
      if (settings_.ticket && !other.said.ticket_key.empty() && node != id)
        m->ticket = settings_.ticket(other.said.ticket_key, {id, n.life}, {node, other.life});
      ++m;
    }
    effects_.emplace_back(send_effect{{id, n.life}, std::move(list)});
  }
}

void control::path_reported(transport::node_identity from,
                            const wire::path_report& r,
                            time_point_ns now) {
  if (!speaks(from, now)) return;
  const auto peer = live_.find(r.peer);
  if (peer == live_.end() || peer->second.life != r.life) return;
  const auto at = std::find_if(losses_.begin(), losses_.end(), [&](const path_loss& l) {
    return l.reporter == from.node && l.subject == r.peer;
  });
  if (r.is_lost && at != losses_.end()) at->repeated = now;
  if (r.is_lost == (at != losses_.end())) return;
  if (r.is_lost)
    losses_.push_back({from.node, r.peer, now, now});
  else
    losses_.erase(at);
  tell(r.is_lost ? "path lost" : "path back",
       from.node,
       named(from.node) + (r.is_lost ? " lost its data path to " : " has its data path again to ") +
           named(r.peer) + (r.why.empty() ? "" : ": " + r.why));
  reconcile(now);
}

bool control::fence(time_point_ns now) {
  // What is not repeated was taken back, by words that got lost.
  std::erase_if(losses_, [now](const path_loss& l) { return now >= l.repeated + loss_patience; });
  if (losses_.empty()) return false;
  std::vector<data_member> members;
  for (const auto& [id, n] : live_) {
    if (n.is_suspect) continue;
    members.push_back({.node = id,
                       .is_gateway = (n.said.roles & wire::role_gateway) != 0,
                       .is_attention = (n.said.roles & wire::role_attention) != 0,
                       .is_expert = (n.said.roles & wire::role_expert) != 0});
  }
  const auto fault = judge_paths(members, losses_, now);
  if (!fault || fault->node == settings_.self) return false;
  dismiss({fault->node, live_.at(fault->node).life},
          wire::failure{errc::stale_epoch, "it was fenced: " + fault->why});
  bury(fault->node, "died", "was fenced: " + fault->why);
  return true;
}

void control::leaving(transport::node_identity from, const wire::leave& l, time_point_ns now) {
  if (!speaks(from, now)) return;
  const auto within = std::chrono::milliseconds{static_cast<std::int64_t>(l.deadline_ms)};
  const auto known = drains_.find(from.node);
  if (known == drains_.end()) {
    begin_drain(from.node, within, true, true, now);
  } else {
    known->second.is_leave = true;
    known->second.deadline = std::min(known->second.deadline, now + within);
  }
  reconcile(now);
}

}  // namespace atl::cluster
