// Carries placements out, copy by copy, and rolls back by planning again: at any moment it compares
// what the groups hold with what there should be (repair_plan.hpp) and orders the difference.
//
//   copy      absent -> ordered -> held -> in the map of epoch N -> leaving (out since M) ->
//   released
//                         |                                            |
//                         +-- failed, late: absent, barred a while     +-- needed again: held
//
// A copy enters the map when all that its own expert wants are held, with one map each `flip_gap`
// while other loads are open, or at once where its expert has no other; it is released when every
// reader has adopted an epoch without it and has no call of an older one. Copies of a group that is
// gone leave the map in an epoch of their own. Pure: facts come in, messages come out of step().
// One owner.
#pragma once

#include "cluster/elastic/elastic.hpp"
#include "cluster/placement_index.hpp"
#include "cluster/placement_types.hpp"

#include <functional>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

namespace atl::cluster {

class placement_driver {
public:
  using epoch_source = std::function<epoch()>;

  /// `epochs` gives a later one with each call.
  placement_driver(driver_settings settings, epoch_source epochs);

  /// All living groups. What a group that is not among them held is gone.
  void set_seats(std::vector<seat> seats);
  /// That life of the group is over: what it held is gone.
  void forget(group_id group);
  /// The group of a new life says what it holds.
  void claimed(group_id group, std::span<const transport::wire::checked_expert> held);
  /// The same life says it again. What it was asked to do and has not said to be done is repeated.
  void claimed_again(group_id group,
                     std::span<const transport::wire::checked_expert> held,
                     time_point_ns now);
  void answered(const transport::wire::placed& answer, time_point_ns now);
  /// In place of an earlier one. The expert is one of the shape.
  void set_wish(layer_index layer, expert_index expert, expert_wish wish);
  /// Where copies are to go, in place of an earlier goal; without one they are evened out by count.
  /// Wishes win: it does not count for an expert whose wish it contradicts. Lists of the shape.
  void set_goal(std::optional<placement_goal> goal);
  const std::optional<placement_goal>& goal() const noexcept { return goal_; }
  /// All groups that take copies were there when the goal was made.
  bool goal_knows_all() const;
  goal_distance distance() const;
  /// What a plan is made of, as far as the driver knows it: names, speeds, domains, loads and
  /// limits are the caller's.
  elastic_input facts() const;
  /// Copies that were lost, or are on draining nodes, are being made elsewhere.
  bool is_repairing() const;
  /// Copies that were ordered and came, ever.
  std::uint64_t copies_loaded() const noexcept { return copies_loaded_; }

  /// A node whose routers use the map, and which epoch they use already (0: none). Again for a node
  /// that is one: it is sent the map once more.
  void add_reader(node_id node, epoch in_use);
  void remove_reader(node_id node);
  void adopted(node_id node, epoch used, epoch oldest);

  /// From now on there are placements. With `is_resumed`, experts that are held are used at once;
  /// otherwise the first map waits for all of its copies.
  void open(bool is_resumed);
  bool is_open() const noexcept { return is_open_; }

  std::vector<placement_message> step(time_point_ns now);
  std::optional<time_point_ns> next_due() const;

  /// What went wrong or is worth telling, since the last call.
  std::vector<std::string> take_news() { return std::exchange(news_, {}); }
  placement_summary summary() const;
  /// The epoch of the map, 0: there is none yet.
  epoch published() const noexcept { return published_; }
  node_copies copies_on(node_id node) const;
  const experts::expert_shape& shape() const noexcept { return settings_.shape; }
  /// Of plans to come.
  void set_moves_max(std::size_t copies) noexcept { settings_.moves_max = copies; }
  /// Nodes that are to hold the expert by the present plan.
  std::vector<node_id> planned_for(layer_index layer, expert_index expert) const;
  /// Experts that may be put on a node besides what it has or is to get.
  std::size_t room_on(node_id node) const;
  /// By ascending group; none where the shape has no such expert.
  std::vector<copy_view> copies_of(layer_index layer, expert_index expert) const;
  /// Every reader uses the first map, or a later one.
  bool is_in_force() const;
  /// Experts of which this node alone has a copy.
  std::vector<experts::expert_map::held_expert> only_on(node_id node) const;
  /// Of those, the ones that nobody else has room for.
  std::vector<experts::expert_map::held_expert> stuck_on(node_id node) const;
  const std::map<group_id, seat>& seats() const noexcept { return seats_; }

private:
  using state = expert_digest::kind;
  struct copy {
    group_id group;
    state is = state::ordered;
    bool is_mapped = false;
    std::uint32_t share = 1;
    epoch out_since = {};  // of a leaving one: the first epoch without it, 0: not published yet
  };
  struct order {
    transport::wire::load message;
    node_id to;
    time_point_ns since;
  };
  struct bar {
    time_point_ns until = {};
    std::uint32_t failures = 0;
    bool is_final = false;  // for the life of the group
    bool is_over = false;   // tried again since
  };
  struct reader {
    bool uses_none = false;  // no epoch so far
    epoch used = {};
    epoch oldest = {};
  };
  using slot_key = std::pair<group_id, layer_index>;
  using barred_key = std::pair<std::size_t, group_id>;
  using order_list = std::map<slot_key, order>;

  std::optional<std::size_t> index_of(layer_index layer, std::uint32_t expert) const;
  layer_index layer_of(std::size_t i) const;
  std::uint32_t expert_of(std::size_t i) const;
  std::string named(std::size_t i) const;
  /// The expert has changed: what is counted of it follows before the next look.
  void touch(std::size_t i) const;
  void touch_all() const;
  void refresh() const;
  expert_digest digest_of(std::size_t i) const;
  void measure_goal(std::size_t i, expert_digest& d) const;
  const placement_index& counts() const;
  bool was_released(std::size_t i, group_id group) const;
  bool note_seats(const std::map<group_id, seat>& next);
  copy* find(std::size_t i, group_id group);
  const copy* find(std::size_t i, group_id group) const;
  bool is_wanted(std::size_t i, group_id group) const;
  bool agrees(std::size_t i, group_id group, std::uint64_t check);
  std::size_t nodes_holding(std::size_t i, node_id besides) const;
  const expert_wish& wish_of(std::size_t i) const;
  std::uint32_t wanted(std::size_t i) const;
  const std::vector<experts::replica>* goal_of(std::size_t i) const;
  void add_limits(repair_input& to) const;
  void add_wishes(repair_input& to) const;
  void add_goal(repair_input& to) const;
  std::optional<group_id> group_for(std::size_t i, node_id node) const;

  static bool answers(const transport::wire::load& order,
                      const transport::wire::placed& answer,
                      const std::map<std::uint32_t, std::uint64_t>& held);
  void note_held(std::size_t i, group_id group, std::uint64_t check);
  order_list::iterator end_order(order_list::iterator at);
  void put_off(bar& b);
  void expires_by(time_point_ns at);
  void fail(const order& failed, const std::set<std::uint32_t>& but, const std::string& why);
  void leave(copy& c);
  void revive();
  void use_held();
  void expire(time_point_ns now);
  void trim();
  copy* surplus_of(std::size_t i, const std::map<group_id, std::size_t>& held);
  repair_input planning_input() const;
  void bar_unfetchable(repair_input& input) const;
  void plan();
  void give_orders(time_point_ns now, std::vector<placement_message>& out);
  bool add_order(std::size_t i, group_id group, std::map<slot_key, transport::wire::load>& made);
  std::vector<node_id> sources_of(std::size_t i, node_id to) const;
  bool is_complete() const { return counts().incomplete() == 0; }
  bool is_due(std::size_t i) const;
  duration_ns flip_gap() const;
  bool use_target(std::size_t i);
  bool flip();
  bool flip_lost();
  void publish(std::vector<placement_message>& out);
  std::vector<transport::wire::expert_name> coming() const;
  transport::wire::place map_message() const;
  void release(std::vector<placement_message>& out);

  driver_settings settings_;
  epoch_source epochs_;
  std::map<layer_index, std::size_t> row_of_layer_;
  std::map<group_id, seat> seats_;
  std::map<node_id, reader> readers_;
  std::vector<std::vector<copy>> copies_;  // by expert
  // Released copies: what comes late from them is no news, and what is still there goes again.
  std::unordered_map<group_id, expert_set> released_;
  std::vector<std::uint64_t> checks_;  // by expert; 0: not known yet
  experts::replica_lists target_;      // by expert
  std::optional<placement_goal> goal_;
  std::map<std::size_t, expert_wish> wishes_;  // by expert
  mutable placement_index index_;
  mutable std::vector<std::size_t> touched_;  // experts, each once
  mutable std::vector<bool> is_touched_;      // by expert
  mutable std::optional<bool> goal_knows_all_;
  order_list orders_;
  std::map<barred_key, bar> barred_;
  std::map<group_id, bar> silent_;  // groups that did not answer: they get nothing new for a while
  std::optional<time_point_ns> expiry_;   // of an order or a bar, or before the first
  std::vector<placement_message> again_;  // repeats, for the next step
  std::vector<std::string> news_;
  epoch plan_epoch_;
  epoch published_;
  std::vector<transport::wire::expert_name> told_coming_;  // with it
  epoch first_published_;
  std::optional<time_point_ns> flipped_at_;
  std::optional<time_point_ns> flip_due_;  // something waits for the gap
  time_point_ns now_;
  std::uint64_t copies_loaded_ = 0;
  std::size_t unplaceable_ = 0, short_of_ = 0;
  bool is_open_ = false;
  bool is_resumed_ = false;
  bool is_stale_ = true;      // the target was made from other facts
  bool has_changed_ = false;  // the map, since it was published
  bool has_found_ = false;    // copies that nobody ordered
};

}  // namespace atl::cluster
