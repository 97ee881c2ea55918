#include "tests/unit/actors/router_world.hpp"

#include "runtime/base/disk.hpp"
#include "runtime/base/random.hpp"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>

namespace atl::actors {

router_world::router_world(std::uint32_t group_rows_max, tensor::dtype type)
    : codec_{kernels::row_codec::make(*kernels::best_isa(), type)} {
  config_.set("scheduler.policy", caf::atom("testing"));
  config_.set("logger.verbosity", caf::atom("quiet"));
  system_.emplace(config_);
  scheduler_ = dynamic_cast<caf::scheduler::test_coordinator*>(&system_->scheduler());
  weights_ = model::load_weights(*system_disk(), ATOLL_SOURCE_DIR "/models/tiny", {}).value();
  link = std::make_shared<kept_link>();
  mail_ = std::make_unique<mailroom>(transport::node_identity{node_id{1}, incarnation{1}},
                                     node_links{link, nullptr, nullptr, nullptr});
  router_parts parts;
  parts.shard = shard_id{7};
  parts.slot = 2;
  parts.mail = mail_.get();
  parts.device = &device;
  parts.time = &time_;
  parts.buffers = &buffers_;
  parts.compute = experts::router_compute::make(weights_, {*kernels::best_isa()}).value();
  parts.config = weights_->config;
  parts.lanes = lanes;
  parts.codec = codec_;
  parts.group_rows_max = group_rows_max;
  router = spawn_router(*system_, parts);
  // It takes what a router says to its shard, whatever else shards are told.
  // An argument: without one CAF takes a reference to nothing.
  const auto listen = [](caf::event_based_actor*, router_world* to) -> caf::behavior {
    return {[to](const rows_routed& r) { to->routed.push_back(r); }};
  };
  const caf::actor shard = system_->spawn(listen, this);
  shard_ = caf::actor_cast<shard_actor>(shard);
  agent_.emplace(*system_);
  caf::anon_send(router, start_atom::value, shard_);
  run();
}

router_world::~router_world() {
  device.go();
  (*agent_)->send_exit(router, caf::exit_reason::user_shutdown);
  (*agent_)->send_exit(shard_, caf::exit_reason::user_shutdown);
  run();
  mail_->unbind();
  router = router_actor{};
  shard_ = shard_actor{};
  agent_.reset();
  run();
  mail_.reset();
  system_.reset();
}

void router_world::place(std::uint64_t version,
                         const holders_function& holders,
                         std::uint32_t groups) {
  auto message = std::make_shared<incoming>();
  message->source = {node_id{1}, coordinator_slot};
  wire::place p;
  p.epoch = epoch{version};
  for (std::int64_t l = layer; l < weights_->config.layers; ++l)
    for (std::uint32_t e = 0; e < experts(); ++e) {
      const layer_index at{static_cast<std::uint32_t>(l)};
      const auto in = holders(e);
      for (const std::uint32_t g : in) p.entries.push_back({at, e, group_id{g}, 1.0F});
      if (in.empty() && coming) p.coming.push_back({at, e});
    }
  for (std::uint32_t g = 0; g < groups; ++g) p.groups.push_back({group_id{g}, node_of(g), 0});
  message->body = std::move(p);
  if (is_by_agent)
    (*agent_)->send(router, incoming_ptr{message});
  else
    caf::anon_send(router, incoming_ptr{message});
  run();
}

void router_world::list(std::uint64_t version,
                        const std::map<std::uint32_t, std::uint64_t>& lives) {
  auto all = std::make_shared<wire::members>();
  all->version = version;
  const auto add = [&](node_id node, std::uint64_t life) {
    wire::member_info m;
    m.node = node;
    m.life = incarnation{life};
    all->list.push_back(m);
  };
  add(node_id{1}, 1);
  for (const auto& [group, life] : lives) add(node_of(group), life);
  caf::anon_send(router, members_ptr{all});
  run();
}

void router_world::ask(std::uint32_t lane, std::int64_t rows) {
  random_source random{static_cast<std::uint64_t>(rows)};
  auto& l = lane_[lane];
  l.rows = rows;
  l.normed = std::make_shared<std::vector<float>>(static_cast<std::size_t>(rows * width()));
  for (float& x : *l.normed) x = static_cast<float>(random.normal());
  l.routed.assign(l.normed->size(), -1.0F);
  route_rows r;
  r.lane = lane;
  r.layer = layer;
  r.rows = rows;
  r.normed = l.normed->data();
  r.routed = l.routed.data();
  r.want_routing = true;
  r.keep = l.normed;
  caf::anon_send(router, r);
  run();
}

std::vector<asked> router_world::sent() {
  std::vector<asked> all;
  for (const auto& f : std::exchange(link->frames, {})) {
    auto body = transport::wire::decode(f);
    EXPECT_TRUE(body.has_value());
    EXPECT_EQ(f.header.source, (transport::address{node_id{1}, router_slot_base + 2}));
    all.push_back({f.header.destination, std::get<wire::dispatch>(*body)});
  }
  return all;
}

wire::results router_world::answer_to(const asked& a) const {
  wire::results r;
  r.call = a.rows.call;
  r.epoch = a.rows.epoch;
  r.output.count = static_cast<std::uint32_t>(a.rows.assignments.size());
  r.output.width = a.rows.input.width;
  r.output.type = codec_.type;
  EXPECT_EQ(a.rows.input.type, codec_.type);
  const std::size_t bytes = wire::row_bytes(codec_.type, r.output.width);
  std::vector<std::byte> out(r.output.count * bytes);
  std::vector<float> in(r.output.width), answer(r.output.width);
  for (std::uint32_t row = 0; row < a.rows.input.count; ++row) {
    codec_.decode(a.rows.input.payload.bytes.data() + row * bytes, width(), in.data());
    for (std::uint32_t i = a.rows.offsets[row]; i < a.rows.offsets[row + 1]; ++i) {
      for (std::size_t h = 0; h < in.size(); ++h)
        answer[h] = output(in[h], a.rows.assignments[i].expert);
      codec_.encode(answer.data(), width(), out.data() + i * bytes);
    }
  }
  r.output.payload = transport::own_payload(std::move(out));
  return r;
}

std::vector<float> router_world::travelled(const std::vector<float>& rows) const {
  const auto w = static_cast<std::size_t>(width());
  std::vector<float> after(rows.size());
  std::vector<std::byte> row(wire::row_bytes(codec_.type, static_cast<std::uint32_t>(w)));
  for (std::size_t at = 0; at < rows.size(); at += w) {
    codec_.encode(rows.data() + at, width(), row.data());
    codec_.decode(row.data(), width(), after.data() + at);
  }
  return after;
}

void router_world::expect_routed(std::uint32_t lane) {
  ASSERT_FALSE(routed.empty());
  const rows_routed& r = routed.back();
  ASSERT_FALSE(r.failure.has_value()) << r.failure->message();
  ASSERT_EQ(r.lane, lane);
  const auto& l = lane_[lane];
  const std::vector<float> asked = travelled(*l.normed);
  for (std::int64_t row = 0; row < l.rows; ++row) {
    std::vector<float> sum(static_cast<std::size_t>(width()), 0.0F);
    for (std::int64_t rank = 0; rank < r.routing->k; ++rank) {
      const auto i = static_cast<std::size_t>(row * r.routing->k + rank);
      std::vector<float> answer(sum.size());
      for (std::size_t h = 0; h < sum.size(); ++h)
        answer[h] = output(asked[row * sum.size() + h], r.routing->experts[i]);
      answer = travelled(answer);
      for (std::size_t h = 0; h < sum.size(); ++h)
        sum[h] = std::fma(r.routing->weights[i], answer[h], sum[h]);
    }
    for (std::size_t h = 0; h < sum.size(); ++h)
      ASSERT_EQ(std::bit_cast<std::uint32_t>(l.routed[row * sum.size() + h]),
                std::bit_cast<std::uint32_t>(sum[h]));
  }
}

held router_world::counts() {
  held answer;
  auto question = (*agent_)->request(router, caf::infinite, held_atom::value);
  run();
  question.receive([&](const held& h) { answer = h; }, [](const caf::error&) {});
  return answer;
}

std::vector<std::pair<std::uint64_t, std::uint64_t>> router_world::told() {
  std::vector<std::pair<std::uint64_t, std::uint64_t>> all;
  bool is_empty = false;
  while (!is_empty) {
    (*agent_)->receive(
        [&](const router_epochs& e) { all.emplace_back(e.current.value, e.oldest.value); },
        caf::after(std::chrono::seconds{0}) >> [&] { is_empty = true; });
  }
  return all;
}

}  // namespace atl::actors
