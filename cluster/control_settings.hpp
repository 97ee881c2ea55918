// What the coordinator's mind (control.hpp) is made for, and what it asks its owner to do.
#pragma once

#include "cluster/control_view.hpp"
#include "cluster/tuned_settings.hpp"
#include "runtime/tensor/dtype.hpp"
#include "transport/plane.hpp"

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <variant>
#include <vector>

namespace atl::cluster {

struct placed_model {
  experts::expert_shape shape;
  std::size_t expert_bytes = 0;  // weights of one (layer, expert)
};

using ticket_function = std::function<std::vector<std::byte>(
    std::span<const std::byte> key, transport::node_identity from, transport::node_identity to)>;

/// Members have so long to be heard again once the first of them is, after all were silent.
inline constexpr duration_ns cut_off_patience = std::chrono::seconds{3};

/// Who lost a path says so every two seconds.
inline constexpr duration_ns loss_patience = std::chrono::seconds{10};

/// Machines that come with an unknown token are an event at most this often.
inline constexpr duration_ns stranger_pause = std::chrono::seconds{10};

/// What operators ask for an expert is so within this time, or is given up.
inline constexpr duration_ns change_patience = std::chrono::minutes{5};

struct control_settings {
  std::string cluster;        // id
  placed_model model;         // no layers: there is nothing to place
  std::string fingerprint;    // of the checkpoint; empty: that of the first to join with one
  std::string numeric_class;  // empty: that of the first to join that computes
  std::optional<tensor::dtype> activations;  // of rows; empty: those of the first that sends some
  std::uint32_t copies = 1;     // of each expert, on different nodes as far as there are enough
  std::size_t moves_max = 256;  // copies moved for balance and drains in one plan, 0: no bound
  balance_policy policy = balance_policy::off;  // until operators choose another
  std::uint32_t expert_nodes_min = 1;           // the first placement waits for so many
  duration_ns settle{0};  // after a restart, members of before have so long to say join
  duration_ns load_patience = std::chrono::minutes{2};
  duration_ns drain_deadline = std::chrono::minutes{5};
  duration_ns drain_quiet = std::chrono::seconds{1};  // reports count from then on
  std::uint32_t group_slot_first = 0;                 // where a node's first group takes frames
  std::optional<node_id> self;            // the coordinator's own node: it is never declared dead
  bool admits_unknown = false;            // nodes join without having been admitted: one process
  ticket_function ticket;                 // empty: no tickets
  std::function<std::int64_t()> unix_ms;  // the calendar, for expiry and what people read
};

/// The settings with what operators changed.
control_settings tuned(control_settings as_started, const tuned_settings& by);

struct send_effect {
  transport::node_identity to;  // of that life; a later one would not know what to do with it
  std::variant<transport::wire::welcome,
               transport::wire::members,
               transport::wire::place,
               transport::wire::load,
               transport::wire::release,
               transport::wire::dismissed>
      body;
};

struct record_effect {
  std::string bytes;
  /// Nothing after it may be sent before it is durable. Otherwise only the attempt counts: without
  /// it a restarted coordinator knows less, and harms nobody.
  bool is_needed = true;
  /// It may be large: where it cannot be written, it is given up rather than tried again.
  bool is_bulky = false;
};

struct elastic_input;  // elastic/elastic.hpp

/// A plan is to be made (plan_elastic), beside control and not within a turn of it: it may take a
/// second. control::planned() takes it. At most one at a time, and it depends on no record.
struct plan_effect {
  std::uint64_t job = 0;
  std::shared_ptr<const elastic_input> input;
};

using effect = std::variant<record_effect, send_effect, event, plan_effect>;

}  // namespace atl::cluster
