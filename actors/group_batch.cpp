#include "actors/group_batch.hpp"

#include <algorithm>
#include <utility>

namespace atl::actors {
namespace {

namespace wire = transport::wire;

// Rows converted by one chunk: some microseconds of work.
constexpr std::uint32_t chunk_rows = 16;

const wire::dispatch& dispatch_of(const group_batch::member& m) {
  return std::get<wire::dispatch>(m.origin->body);
}

}  // namespace

void group_batch::clear() { members_.clear(); }

void group_batch::add(const incoming_ptr& message, kernels::isa isa, buffer_pool& buffers) {
  const auto& d = std::get<wire::dispatch>(message->body);
  const std::size_t row = std::size_t{d.input.width} * sizeof(float);
  member m{message, kernels::row_codec::make(isa, d.input.type), nullptr, nullptr, nullptr};
  m.values = buffers.take(d.assignments.size() * row);
  if (d.input.type != tensor::dtype::f32) {
    m.rows = buffers.take(d.input.count * row);
    m.encoded = buffers.take(d.assignments.size() * wire::row_bytes(d.input.type, d.input.width));
  }
  members_.push_back(std::move(m));
}

const experts::group_call& group_batch::make_call(layer_index layer) {
  // Experts ascending; within one, rows in order of arrival. The order changes no result.
  auto& experts = call_.experts;
  for (auto& e : experts) {
    e.inputs.clear();
    e.outputs.clear();
  }
  std::map<std::uint32_t, std::size_t> index;
  for (const member& m : members_)
    for (const auto& a : dispatch_of(m).assignments) index.try_emplace(a.expert, 0);
  experts.resize(std::max(index.size(), experts.size()));
  std::size_t position = 0;
  for (auto& [expert, at] : index) {
    at = position++;
    experts[at].expert = expert;
  }
  experts.resize(index.size());
  call_.layer = layer.value;
  for (const member& m : members_) add_rows(m, index);
  return call_;
}

void group_batch::add_rows(const member& m, const std::map<std::uint32_t, std::size_t>& index) {
  const auto& d = dispatch_of(m);
  const auto* rows = m.rows != nullptr
                         ? m.rows->as<float>()
                         : reinterpret_cast<const float*>(d.input.payload.bytes.data());
  auto* values = m.values->as<float>();
  for (std::uint32_t row = 0; row < d.input.count; ++row) {
    for (std::uint32_t i = d.offsets[row]; i < d.offsets[row + 1]; ++i) {
      auto& e = call_.experts[index.at(d.assignments[i].expert)];
      e.inputs.push_back(rows + static_cast<std::size_t>(row) * d.input.width);
      e.outputs.push_back(values + static_cast<std::size_t>(i) * d.input.width);
    }
  }
}

void group_batch::cut() {
  inputs_.clear();
  outputs_.clear();
  const auto add = [](std::vector<piece>& to, std::uint32_t index, std::size_t rows) {
    const auto all = static_cast<std::uint32_t>(rows);
    for (std::uint32_t first = 0; first < all; first += chunk_rows)
      to.push_back({index, first, std::min(chunk_rows, all - first)});
  };
  for (std::uint32_t i = 0; i < members_.size(); ++i) {
    if (members_[i].encoded == nullptr) continue;
    add(inputs_, i, dispatch_of(members_[i]).input.count);
    add(outputs_, i, dispatch_of(members_[i]).assignments.size());
  }
}

void group_batch::decode(const piece& p) const {
  const member& m = members_[p.member];
  const wire::rows& in = dispatch_of(m).input;
  const std::size_t bytes = wire::row_bytes(in.type, in.width);
  for (std::size_t row = p.first; row < p.first + p.count; ++row)
    m.codec.decode(
        in.payload.bytes.data() + row * bytes, in.width, m.rows->as<float>() + row * in.width);
}

void group_batch::encode(const piece& p) const {
  const member& m = members_[p.member];
  const wire::rows& in = dispatch_of(m).input;
  const std::size_t bytes = wire::row_bytes(in.type, in.width);
  for (std::size_t row = p.first; row < p.first + p.count; ++row)
    m.codec.encode(
        m.values->as<float>() + row * in.width, in.width, m.encoded->as<std::byte>() + row * bytes);
}

tensor::job group_batch::job(const experts::group_compute& compute) {
  tensor::job work = compute.forward(call_);
  cut();
  if (inputs_.empty()) return work;
  const auto phase = [](const std::vector<piece>& pieces, auto body) {
    return tensor::phase{static_cast<std::uint32_t>(pieces.size()), std::move(body)};
  };
  work.phases.insert(work.phases.begin(), phase(inputs_, [this](std::uint32_t i, tensor::worker&) {
                       decode(inputs_[i]);
                     }));
  work.phases.push_back(
      phase(outputs_, [this](std::uint32_t i, tensor::worker&) { encode(outputs_[i]); }));
  return work;
}

wire::results group_batch::answer_of(const member& m) {
  const auto& d = dispatch_of(m);
  wire::results r;
  r.call = d.call;
  r.epoch = d.epoch;
  r.output.type = d.input.type;
  r.output.count = static_cast<std::uint32_t>(d.assignments.size());
  r.output.width = d.input.width;
  const auto& buffer = m.encoded != nullptr ? m.encoded : m.values;
  const std::size_t bytes = r.output.count * wire::row_bytes(d.input.type, d.input.width);
  r.output.payload = {buffer, {buffer->as<std::byte>(), bytes}};
  std::map<std::uint32_t, std::uint32_t> rows;
  for (const auto& a : d.assignments) ++rows[a.expert];
  r.counts.reserve(rows.size());
  for (const auto& [expert, count] : rows) r.counts.push_back({expert, count});
  return r;
}

}  // namespace atl::actors
