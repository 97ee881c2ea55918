#include "tests/unit/actors/agent_world.hpp"

namespace atl::actors {

agent_world::agent_world() {
  config_.set("scheduler.policy", caf::atom("testing"));
  config_.set("logger.verbosity", caf::atom("quiet"));
  system_.emplace(config_);
  scheduler_ = dynamic_cast<caf::scheduler::test_coordinator*>(&system_->scheduler());
}

agent_world::~agent_world() {
  for (auto& [id, n] : nodes_) {
    caf::anon_send_exit(n->agent, caf::exit_reason::user_shutdown);
    for (auto& g : n->groups) caf::anon_send_exit(g, caf::exit_reason::user_shutdown);
  }
  for (auto& actor : others_) caf::anon_send_exit(actor, caf::exit_reason::user_shutdown);
  while (events_->step() || scheduler_->has_job())
    while (scheduler_->has_job()) scheduler_->run_once();
  for (auto& [id, n] : nodes_) n->mail->unbind();
  if (coordinator_) coordinator_->unbind();
  nodes_.clear();
  others_.clear();
  // Timers hold on to their actors until they fire.
  scheduler_->advance_time(std::chrono::hours{1});
  while (scheduler_->has_job()) scheduler_->run_once();
  system_.reset();
}

void agent_world::open_coordinator(std::uint64_t life) {
  coordinator_ =
      std::make_shared<mailroom>(transport::node_identity{coordinator, incarnation{life}}, links());
  coordinator_->bind(coordinator_slot, [this](incoming_ptr m) {
    heard_.push_back(std::move(m));
    heard_at_.push_back(time_->now());
  });
  coordinator_->bind(asker_slot, [this](incoming_ptr m) { answers_.push_back(std::move(m)); });
  ASSERT_TRUE(coordinator_->open().has_value());
}

void agent_world::close_coordinator() {
  coordinator_->close();
  coordinator_->unbind();
  coordinator_ = nullptr;
}

agent_node& agent_world::add_node(std::uint32_t id, const agent_setup& setup) {
  auto n = std::make_unique<agent_node>();
  n->device = std::make_shared<timed_device>(events_);
  n->mail =
      std::make_shared<mailroom>(transport::node_identity{node_id{id}, incarnation{3}}, links());
  EXPECT_TRUE(n->mail->open().has_value());
  n->memory = std::make_shared<memory_budget>("experts", setup.memory);
  agent_parts parts;
  parts.mail = n->mail.get();
  parts.time = time_.get();
  parts.coordinator_node = coordinator;
  parts.config = setup.config;
  parts.weights = setup.weights;
  parts.memory = n->memory;
  parts.device = n->device.get();
  parts.buffers = n->buffers.get();
  parts.compute = compute_for(setup.config);
  parts.routers = setup.routers;
  for (std::uint32_t g = 0; g < setup.groups; ++g) {
    group_parts group;
    group.id = group_id{g};
    group.slot = g;
    group.mail = n->mail.get();
    group.device = n->device.get();
    group.time = time_.get();
    group.buffers = n->buffers.get();
    group.compute = compute_for(setup.config);
    group.config = setup.config;
    group.cost = setup.cost;
    n->groups.push_back(spawn_group(*system_, group));
  }
  parts.groups = n->groups;
  if (setup.joins) {
    parts.join.emplace();
    parts.join->roles = wire::role_expert;
    parts.join->name = "box";
    parts.join->groups = setup.groups;
    parts.join->speed = static_cast<float>(setup.cost.speed());
  }
  agent_node* at = n.get();
  parts.welcomed = [at](const wire::welcome& w) { at->welcomes.push_back(w); };
  parts.refused = [at](const error& e) { at->refusals.push_back(e); };
  parts.members = [at](members_ptr m) { at->members.push_back(std::move(m)); };
  parts.dismissed = [at](std::optional<error> e) { at->dismissals.push_back(std::move(e)); };
  n->agent = spawn_agent(*system_, parts);
  caf::anon_send(n->agent, start_atom::value);
  caf::anon_send(n->agent, tick_atom::value);
  n->mail->watch_connections(
      [agent = n->agent](connection_lost l) { caf::anon_send(agent, std::move(l)); });
  nodes_.emplace_back(id, std::move(n));
  return *at;
}

void agent_world::step(time_point_ns end) {
  turns();
  const time_point_ns before = time_->now();
  auto until = std::min(end, before + milliseconds{10});
  if (const auto next = events_->next_time()) until = std::min(until, std::max(*next, before));
  events_->run_until(until);
  scheduler_->advance_time(caf::timespan{(time_->now() - before).count()});
  turns();
}

wire::placed agent_world::load(std::uint32_t node, const wire::load& what, duration_ns limit) {
  const std::size_t before = heard<wire::placed>(node).size();
  say(node, what);
  EXPECT_TRUE(run_until([&] { return heard<wire::placed>(node).size() > before; }, limit));
  const auto all = heard<wire::placed>(node);
  return all.size() > before ? all.back() : wire::placed{};
}

void agent_world::ask_row(std::uint32_t node,
                          std::uint32_t layer,
                          std::uint32_t expert,
                          std::uint32_t width) {
  wire::dispatch d;
  d.call = {shard_id{0}, ++asked_, 0, layer_index{layer}};
  d.epoch = epoch{1};
  d.input.count = 1;
  d.input.width = width;
  d.input.payload = transport::own_payload(experts::check_row(layer_index{layer}, expert, width));
  d.offsets = {0, 1};
  d.assignments = {{expert, 0}};
  ASSERT_TRUE(coordinator_->send(asker_slot, {node_id{node}, group_slot_base}, d).has_value());
}

std::optional<std::uint64_t> agent_world::row_check(std::uint32_t node,
                                                    std::uint32_t layer,
                                                    std::uint32_t expert,
                                                    std::uint32_t width) {
  const std::size_t before = answers_.size();
  ask_row(node, layer, expert, width);
  EXPECT_TRUE(run_until([&] { return answers_.size() > before; }));
  return answers_.size() > before ? hash_of(answers_.back()) : std::nullopt;
}

std::optional<std::uint64_t> agent_world::hash_of(const incoming_ptr& m) {
  const auto* r = std::get_if<wire::results>(&m->body);
  if (r == nullptr) return std::nullopt;
  std::vector<float> row(r->output.width);
  std::memcpy(row.data(), r->output.payload.bytes.data(), r->output.payload.bytes.size());
  return experts::check_of(row);
}

std::uint64_t agent_world::right_check(const model::model_weights& from,
                                       std::uint32_t layer,
                                       std::uint32_t expert) {
  const auto compute = compute_for(from.config);
  EXPECT_TRUE(compute->hold(layer, expert, from.layers[layer].experts[expert]).has_value());
  const auto row = experts::check_row(layer_index{layer}, expert, from.config.hidden);
  std::vector<float> answer(row.size());
  experts::group_call call;
  call.layer = layer;
  call.experts = {{expert, {row.data()}, {answer.data()}}};
  tensor::inline_device device;
  device.submit(compute->forward(call));
  return experts::check_of(answer);
}

}  // namespace atl::actors
