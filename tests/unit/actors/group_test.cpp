// One expert group alone: what it does with calls that come more than once. Its arithmetic is
// tested with experts/group_compute.
#include "actors/group.hpp"
#include "runtime/base/disk.hpp"
#include "runtime/kernels/row_codec.hpp"
#include "tests/unit/actors/scripted_parts.hpp"

#include <caf/actor_system.hpp>
#include <caf/actor_system_config.hpp>
#include <caf/scheduler/test_coordinator.hpp>
#include <caf/scoped_actor.hpp>
#include <caf/send.hpp>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <optional>

namespace atl::actors {
namespace {

namespace wire = transport::wire;

constexpr std::uint32_t layer = 1, expert = 3;

class group_world {
public:
  group_world() {
    config_.set("scheduler.policy", caf::atom("testing"));
    config_.set("logger.verbosity", caf::atom("quiet"));
    system_.emplace(config_);
    scheduler_ = dynamic_cast<caf::scheduler::test_coordinator*>(&system_->scheduler());
    weights_ = model::load_weights(*system_disk(), ATOLL_SOURCE_DIR "/models/tiny", {}).value();
    link = std::make_shared<kept_link>();
    mail_ = std::make_unique<mailroom>(transport::node_identity{node_id{1}, incarnation{1}},
                                       node_links{link, nullptr, nullptr, nullptr});
    group_parts parts;
    parts.id = group_id{40};
    parts.slot = 2;
    parts.mail = mail_.get();
    parts.device = &device;
    parts.time = &time_;
    parts.buffers = &buffers_;
    parts.compute = experts::group_compute::make(
                        weights_->config, {*kernels::best_isa(), kernels::numerics::invariant})
                        .value();
    parts.config = weights_->config;
    parts.isa = *kernels::best_isa();
    group_ = spawn_group(*system_, parts);
    hold();
  }

  void hold() {
    hold_expert order;
    order.layer = layer;
    order.expert = expert;
    order.weights = weights_->layers[layer].experts[expert];
    caf::anon_send(group_, order);
    run();
  }
  void drop() {
    drop_expert order;
    order.layer = layer;
    order.expert = expert;
    caf::anon_send(group_, order);
    run();
  }

  ~group_world() {
    device.go();
    caf::anon_send_exit(group_, caf::exit_reason::user_shutdown);
    run();
    mail_->unbind();
    group_ = group_actor{};
    run();
    mail_.reset();
    system_.reset();
  }
  group_world(const group_world&) = delete;
  group_world& operator=(const group_world&) = delete;

  void run() {
    while (scheduler_->has_job()) scheduler_->run_once();
  }

  void dispatch(std::uint64_t number, std::uint32_t of = expert, std::uint64_t life = 1) {
    dispatch(number, rows_of_ones(1), of, life);
  }

  wire::rows rows_of_ones(std::uint32_t count) const {
    wire::rows rows{tensor::dtype::f32, count, width(), {}};
    rows.payload = transport::own_payload(std::vector<float>(std::size_t{count} * width(), 0.5F));
    return rows;
  }
  std::uint32_t width() const { return static_cast<std::uint32_t>(weights_->config.hidden); }

  void dispatch(std::uint64_t number, wire::rows rows, std::uint32_t of, std::uint64_t life) {
    auto message = std::make_shared<incoming>();
    message->source = {node_id{9}, router_slot_base};
    message->sender = incarnation{life};
    wire::dispatch d;
    d.call = {shard_id{5}, number, 0, layer_index{layer}};
    d.input = std::move(rows);
    d.offsets = {0};
    for (std::uint32_t row = 0; row < d.input.count; ++row) {
      d.assignments.push_back({of, 0});
      d.offsets.push_back(row + 1);
    }
    message->body = std::move(d);
    caf::anon_send(group_, incoming_ptr{message});
    run();
  }

  std::vector<wire::message> said() {
    std::vector<wire::message> all;
    for (const auto& f : std::exchange(link->frames, {})) {
      EXPECT_EQ(f.header.source, (transport::address{node_id{1}, group_slot_base + 2}));
      EXPECT_EQ(f.header.destination, (transport::address{node_id{9}, router_slot_base}));
      all.push_back(transport::wire::decode(f).value());
    }
    return all;
  }

  std::uint64_t rows_computed() {
    caf::scoped_actor self{*system_};
    auto question = self->request(group_, caf::infinite, counts_atom::value);
    run();
    std::uint64_t rows = 0;
    question.receive([&](const expert_counts& c) { rows = c.rows[layer][expert]; },
                     [](const caf::error&) {});
    return rows;
  }

  std::shared_ptr<kept_link> link;
  stopping_device device;

private:
  caf::actor_system_config config_;
  std::optional<caf::actor_system> system_;
  caf::scheduler::test_coordinator* scheduler_ = nullptr;
  virtual_clock time_;
  buffer_pool buffers_{std::size_t{16} << 20};
  std::shared_ptr<const model::model_weights> weights_;
  std::unique_ptr<mailroom> mail_;
  group_actor group_;
};

std::vector<std::byte> rows_of(const wire::message& m) {
  const auto& bytes = std::get<wire::results>(m).output.payload.bytes;
  return {bytes.begin(), bytes.end()};
}

TEST(group, a_repeat_of_a_call_under_way_is_dropped) {
  group_world w;
  w.device.is_stopped = true;
  w.dispatch(7);  // is computed
  w.dispatch(8);  // waits
  w.dispatch(7);
  w.dispatch(8);
  EXPECT_TRUE(w.said().empty());
  w.device.go();
  w.run();
  EXPECT_EQ(w.said().size(), 2U);
  EXPECT_EQ(w.rows_computed(), 2U);
}

TEST(group, a_repeat_of_a_call_answered_lately_is_answered_without_computing) {
  group_world w;
  w.dispatch(7);
  const auto first = w.said();
  ASSERT_EQ(first.size(), 1U);
  w.dispatch(7);
  const auto again = w.said();
  ASSERT_EQ(again.size(), 1U);
  EXPECT_EQ(std::get<wire::results>(again[0]).call, std::get<wire::results>(first[0]).call);
  EXPECT_EQ(rows_of(again[0]), rows_of(first[0]));
  EXPECT_EQ(w.rows_computed(), 1U);
  // The same number of another life is another call.
  w.dispatch(7, expert, 2);
  EXPECT_EQ(w.said().size(), 1U);
  EXPECT_EQ(w.rows_computed(), 2U);
}

TEST(group, a_call_refused_while_it_waited_is_computed_when_it_comes_again) {
  group_world w;
  w.device.is_stopped = true;
  w.dispatch(7);
  w.dispatch(8);
  w.drop();
  const auto said = w.said();
  ASSERT_EQ(said.size(), 1U);
  EXPECT_EQ(std::get<wire::refused>(said[0]).call.step, 8U);
  w.hold();
  w.dispatch(8);
  w.device.go();
  w.run();
  EXPECT_EQ(w.said().size(), 2U);
}

TEST(group, what_is_not_held_is_refused_each_time) {
  group_world w;
  for (int i = 0; i < 2; ++i) {
    w.dispatch(7, expert + 1);
    const auto said = w.said();
    ASSERT_EQ(said.size(), 1U);
    EXPECT_EQ(std::get<wire::refused>(said[0]).cause.code, errc::stale_epoch);
  }
}

/// Rows of f32 as they are in another type, one value at a time.
wire::rows encoded(const wire::rows& from, tensor::dtype type) {
  wire::rows to{type, from.count, from.width, {}};
  std::vector<std::byte> bytes(from.count * wire::row_bytes(type, from.width));
  const auto codec = kernels::row_codec::make(*kernels::best_isa(), type);
  for (std::size_t row = 0; row < from.count; ++row)
    codec.encode(reinterpret_cast<const float*>(from.payload.bytes.data()) + row * from.width,
                 from.width,
                 bytes.data() + row * wire::row_bytes(type, from.width));
  to.payload = transport::own_payload(std::move(bytes));
  return to;
}

std::vector<std::byte> octets(const wire::rows& rows) {
  return {rows.payload.bytes.begin(), rows.payload.bytes.end()};
}

TEST(group, answers_in_the_type_in_which_rows_came) {
  group_world w;
  // 0.5 is exact in bf16, so that asks for the same; more rows than a chunk converts.
  const wire::rows rows = w.rows_of_ones(37);
  w.dispatch(7, rows, expert, 1);
  const auto plain = std::get<wire::results>(w.said().at(0)).output;
  ASSERT_EQ(plain.type, tensor::dtype::f32);
  std::uint64_t number = 8;
  for (const auto type : {tensor::dtype::bf16, tensor::dtype::f8_e4m3}) {
    // Together with one of another type, in one batch.
    w.device.is_stopped = true;
    w.dispatch(number++, rows, expert, 1);
    w.dispatch(number++, encoded(rows, type), expert, 1);
    w.dispatch(number++, rows, expert, 1);
    w.device.go();
    w.run();
    const auto said = w.said();
    ASSERT_EQ(said.size(), 3U);
    EXPECT_EQ(octets(std::get<wire::results>(said[0]).output), octets(plain));
    const auto& cheap = std::get<wire::results>(said[1]).output;
    EXPECT_EQ(cheap.type, type);
    EXPECT_EQ(cheap.payload.bytes.size(), 37 * wire::row_bytes(type, w.width()));
    if (type == tensor::dtype::bf16) {
      EXPECT_EQ(octets(cheap), octets(encoded(plain, type)));
    }
    EXPECT_EQ(octets(std::get<wire::results>(said[2]).output), octets(plain));
  }
}

TEST(group, rows_with_a_scale_that_is_no_positive_number_are_refused) {
  group_world w;
  for (const float scale : {0.0F, -1.0F, NAN, HUGE_VALF}) {
    wire::rows rows = encoded(w.rows_of_ones(2), tensor::dtype::f8_e4m3);
    std::vector<std::byte> bytes = octets(rows);
    std::memcpy(bytes.data() + bytes.size() / 2, &scale, sizeof scale);  // the first of row 1
    rows.payload = transport::own_payload(std::move(bytes));
    w.dispatch(7, rows, expert, 1);
    const auto said = w.said();
    ASSERT_EQ(said.size(), 1U);
    EXPECT_EQ(std::get<wire::refused>(said[0]).cause.code, errc::invalid_argument);
  }
}

}  // namespace
}  // namespace atl::actors
