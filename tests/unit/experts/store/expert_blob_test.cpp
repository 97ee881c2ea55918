#include "experts/group_compute.hpp"
#include "experts/store/check_row.hpp"
#include "experts/store/expert_blob.hpp"
#include "experts/store/expert_store.hpp"
#include "runtime/tensor/inline_device.hpp"
#include "tests/unit/experts/store/weights_of.hpp"

#include <gtest/gtest.h>

#include <functional>
#include <limits>
#include <set>

namespace atl::experts {
namespace {

using tensor::dtype;

std::shared_ptr<memory_budget> budget(std::size_t bytes = std::size_t{1} << 30) {
  return std::make_shared<memory_budget>("experts", bytes);
}

/// Sends an expert through its blob in steps of `step` bytes.
result<owned_expert> copied(const model::ffn_weights& w, std::size_t step) {
  const blob_layout layout = layout_of(w);
  ATOLL_ASSIGN(auto out, owned_expert::make(layout, budget()));
  for (std::uint64_t at = 0; at < layout.total; at += step) {
    const auto n = static_cast<std::size_t>(std::min<std::uint64_t>(step, layout.total - at));
    read_blob(w, at, out.bytes().subspan(static_cast<std::size_t>(at), n));
  }
  return out;
}

void expect_same(const tensor::weight_matrix& a, const tensor::weight_matrix& b) {
  ASSERT_EQ(a.type, b.type);
  ASSERT_EQ(a.rows, b.rows);
  ASSERT_EQ(a.cols, b.cols);
  ASSERT_EQ(a.scale_cols, b.scale_cols);
  ASSERT_EQ(a.scales == nullptr, b.scales == nullptr);
  ASSERT_EQ(0, std::memcmp(a.data, b.data, static_cast<std::size_t>(a.rows) * a.row_bytes()));
  for (std::int64_t r = 0; r < a.rows; ++r)
    for (std::int64_t c = 0; c < a.cols; ++c) ASSERT_EQ(a.scale(r, c), b.scale(r, c));
}

struct types {
  dtype gate, up, down;
};

class blob : public testing::TestWithParam<types> {
protected:
  blob() : made_{ragged_config()} {
    const auto [gate, up, down] = GetParam();
    weights_ = made_.add(1, 2, gate, up, down);
  }
  made_weights made_;
  model::ffn_weights weights_;
};

TEST_P(blob, comes_back_the_same_in_chunks_of_any_size) {
  for (const std::size_t step :
       {std::size_t{1}, std::size_t{61}, std::size_t{4096}, std::size_t{1} << 22}) {
    const auto back = copied(weights_, step);
    ASSERT_TRUE(back.has_value());
    const model::ffn_weights w = back->weights();
    expect_same(w.gate, weights_.gate);
    expect_same(w.up, weights_.up);
    expect_same(w.down, weights_.down);
    EXPECT_TRUE(back->check_scales().has_value());
    for (const auto* m : {&w.gate, &w.up, &w.down})
      EXPECT_EQ(reinterpret_cast<std::uintptr_t>(m->data) % 64, 0U);
  }
}

TEST_P(blob, its_own_layout_is_accepted_and_covers_each_byte_once) {
  const blob_layout layout = layout_of(weights_);
  ASSERT_TRUE(check_layout(layout, ragged_config()).has_value());
  std::set<std::uint64_t> used;
  for (const auto& p : layout.parts) {
    const std::uint64_t bytes = std::uint64_t{p.rows} * p.columns * tensor::element_bytes(p.type);
    for (std::uint64_t i = 0; i < bytes; ++i) ASSERT_TRUE(used.insert(p.at + i).second);
    for (std::uint64_t i = 0; i < std::uint64_t{p.scale_rows} * p.scale_columns * 4; ++i)
      ASSERT_TRUE(used.insert(p.scales_at + i).second);
  }
  EXPECT_LT(*used.rbegin(), layout.total);
  EXPECT_LT(layout.total - used.size(), 6U * 64);
}

TEST_P(blob, hostile_descriptions_are_refused) {
  const blob_layout good = layout_of(weights_);
  const std::vector<std::function<void(blob_layout&)>> changes{
      [](blob_layout& l) { l.parts[0].rows += 1; },
      [](blob_layout& l) { l.parts[0].rows = 0; },
      [](blob_layout& l) { l.parts[1].columns = std::numeric_limits<std::uint32_t>::max(); },
      [](blob_layout& l) { std::swap(l.parts[1], l.parts[2]); },
      [](blob_layout& l) { l.parts[2].at = 0; },
      [](blob_layout& l) { l.parts[1].at += 1; },
      [](blob_layout& l) { l.parts[1].at = std::numeric_limits<std::uint64_t>::max() - 3; },
      [](blob_layout& l) { l.parts[0].scale_rows += 1; },
      [](blob_layout& l) { l.parts[0].scale_columns += 7; },
      [](blob_layout& l) { l.parts[2].scales_at += 64; },
      [](blob_layout& l) {
        l.parts[0].type = l.parts[0].type == dtype::f32 ? dtype::bf16 : dtype::f32;
      },
      [](blob_layout& l) { l.parts[0].type = static_cast<dtype>(9); },
      [](blob_layout& l) { l.total -= 64; },
      [](blob_layout& l) { l.total = std::numeric_limits<std::uint64_t>::max(); },
      [](blob_layout& l) { l = {}; },
  };
  for (std::size_t i = 0; i < changes.size(); ++i) {
    blob_layout bad = good;
    changes[i](bad);
    const auto checked = check_layout(bad, ragged_config());
    ASSERT_TRUE(checked.has_error()) << i;
    EXPECT_EQ(checked.error().code(), errc::malformed_frame) << i;
  }
  model::model_config other = ragged_config();
  other.hidden += 128;
  EXPECT_TRUE(check_layout(good, other).has_error());
}

/// The check of an expert, computed as an agent does.
std::uint64_t check_with(const model::ffn_weights& w) {
  const auto compute = *group_compute::make(ragged_config(), {*kernels::best_isa(), {}});
  EXPECT_TRUE(compute->hold(1, 2, w).has_value());
  const auto row = check_row(layer_index{1}, 2, ragged_config().hidden);
  std::vector<float> answer(row.size());
  group_call call;
  call.layer = 1;
  call.experts = {{2, {row.data()}, {answer.data()}}};
  tensor::inline_device device;
  device.submit(compute->forward(call));
  return check_of(answer);
}

TEST_P(blob, the_check_is_that_of_the_mapped_weights_and_of_no_others) {
  const std::uint64_t mapped = check_with(weights_);
  const auto back = copied(weights_, 4096);
  EXPECT_EQ(check_with(back->weights()), mapped);
  // The lowest bit of a mantissa may vanish in rounding; the sign of the largest weight does not.
  for (const auto* m : {&weights_.gate, &weights_.up, &weights_.down}) {
    std::byte* bytes = made_.bytes_of(*m);
    ASSERT_NE(bytes, nullptr);
    const std::size_t element = tensor::element_bytes(m->type);
    bytes[7 * element + element - 1] ^= std::byte{0x80};
    EXPECT_NE(check_with(weights_), mapped);
    bytes[7 * element + element - 1] ^= std::byte{0x80};
  }
  EXPECT_EQ(check_with(weights_), mapped);
}

INSTANTIATE_TEST_SUITE_P(all,
                         blob,
                         testing::Values(types{dtype::f32, dtype::f32, dtype::f32},
                                         types{dtype::bf16, dtype::bf16, dtype::bf16},
                                         types{dtype::f16, dtype::f16, dtype::f16},
                                         types{dtype::f8_e4m3, dtype::f8_e4m3, dtype::f8_e4m3},
                                         types{dtype::f8_e4m3, dtype::bf16, dtype::f32}));

TEST(owned_expert, is_charged_to_the_budget_and_refused_beyond_it) {
  made_weights made{ragged_config()};
  const auto layout = layout_of(made.add(1, 0, dtype::bf16, dtype::bf16, dtype::bf16));
  const auto room = budget(2 * layout.total - 1);
  {
    auto first = owned_expert::make(layout, room);
    ASSERT_TRUE(first.has_value());
    EXPECT_EQ(room->used_bytes(), layout.total);
    const auto second = owned_expert::make(layout, room);
    ASSERT_TRUE(second.has_error());
    EXPECT_EQ(second.error().code(), errc::out_of_memory);
    owned_expert moved = std::move(*first);
    EXPECT_EQ(room->used_bytes(), layout.total);
  }
  EXPECT_EQ(room->used_bytes(), 0U);
}

TEST(owned_expert, refuses_scales_that_are_not_finite) {
  made_weights made{ragged_config()};
  const auto& w = made.add(1, 0, dtype::f8_e4m3, dtype::f8_e4m3, dtype::f8_e4m3);
  const_cast<float*>(w.up.scales)[1] = std::numeric_limits<float>::quiet_NaN();
  const auto back = copied(w, 4096);
  ASSERT_TRUE(back.has_value());
  EXPECT_EQ(back->check_scales().error().code(), errc::invalid_model);
}

TEST(check_row, is_another_for_each_expert_and_layer_and_the_same_each_time) {
  const auto row = check_row(layer_index{3}, 5, 64);
  EXPECT_EQ(row, check_row(layer_index{3}, 5, 64));
  EXPECT_NE(row, check_row(layer_index{3}, 6, 64));
  EXPECT_NE(row, check_row(layer_index{5}, 3, 64));
  const auto longer = check_row(layer_index{3}, 5, 65);
  EXPECT_TRUE(std::equal(row.begin(), row.end(), longer.begin()));
  for (const float v : row) EXPECT_TRUE(v >= -1 && v <= 1);
}

/// A file that counts what is given back.
class watched_file final : public mapped_file {
public:
  explicit watched_file(std::span<const std::byte> content) : content_{content} {}
  std::span<const std::byte> bytes() const noexcept override { return content_; }
  result<void> populate(std::size_t, std::size_t) const override { return {}; }
  void forget(std::size_t offset, std::size_t length) const noexcept override {
    EXPECT_LE(offset + length, content_.size());
    forgotten += length;
  }
  mutable std::size_t forgotten = 0;

private:
  std::span<const std::byte> content_;
};

TEST(store, knows_what_it_has_and_gives_memory_back) {
  made_weights made{ragged_config()};
  made.add_all(dtype::bf16);
  const auto own = made.get();
  const model::ffn_weights w = own->layers[1].experts[0];
  const auto bytes_of = [](const tensor::weight_matrix& m) {
    return std::span<const std::byte>{m.data, static_cast<std::size_t>(m.rows) * m.row_bytes()};
  };
  const auto file = std::make_shared<watched_file>(bytes_of(w.up));
  own->files.push_back(file);
  own->layers[2].experts[1] = {};  // this node's checkpoint lacks it
  const std::uint64_t total = layout_of(w).total;
  const auto room = budget(2 * total);
  expert_store store{ragged_config(), own, room};
  EXPECT_FALSE(store.exists({layer_index{0}, 0}));  // dense
  EXPECT_FALSE(store.exists({layer_index{3}, 0}));
  EXPECT_FALSE(store.exists({layer_index{1}, 4}));
  EXPECT_FALSE(store.is_in_own_checkpoint({layer_index{2}, 1}));
  EXPECT_TRUE(store.exists({layer_index{2}, 1}));
  const expert_key key{layer_index{1}, 0};
  EXPECT_EQ(store.state_of(key), expert_state::absent);
  store.begin(key);
  EXPECT_EQ(store.state_of(key), expert_state::loading);
  EXPECT_EQ(store.find(key), nullptr);
  auto mapped = store.map(key);
  ASSERT_TRUE(mapped.has_value());
  EXPECT_EQ((*mapped)->weights().gate.data, w.gate.data);
  EXPECT_EQ(room->used_bytes(), total);
  store.add(key, *mapped, 77);
  ASSERT_NE(store.find(key), nullptr);
  EXPECT_EQ(store.find(key)->check, 77U);
  const auto second = store.map({layer_index{1}, 1});
  ASSERT_TRUE(second.has_value());
  EXPECT_EQ(store.map({layer_index{1}, 2}).error().code(), errc::out_of_memory);
  store.remove(key);
  EXPECT_EQ(store.state_of(key), expert_state::absent);
  EXPECT_EQ(room->used_bytes(), 2 * total);  // somebody still computes with it
  EXPECT_EQ(file->forgotten, 0U);
  *mapped = nullptr;
  EXPECT_EQ(room->used_bytes(), total);
  EXPECT_EQ(file->forgotten, bytes_of(w.up).size());
}

}  // namespace
}  // namespace atl::experts
