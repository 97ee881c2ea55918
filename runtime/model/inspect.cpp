#include "runtime/model/inspect.hpp"

#include "runtime/model/checkpoint.hpp"

#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>

#include <algorithm>
#include <cstdio>
#include <unordered_map>

namespace atl::model {
namespace {

std::size_t index_of(model_part part) noexcept { return static_cast<std::size_t>(part); }

/// The part of any tensor that a checkpoint may hold; nullopt for tensors that nothing uses.
class part_finder {
public:
  explicit part_finder(const model_config& config) : layers_{config.layers} {
    model_weights scratch;
    scratch.config = config;
    for (const tensor_slot& slot : plan_tensors(scratch)) parts_.emplace(slot.name, slot.part);
  }

  std::optional<model_part> find(std::string_view name) const {
    if (layer_of(name) >= layers_) return model_part::mtp;
    constexpr std::string_view scale_suffix = "_scale_inv";
    if (name.ends_with(scale_suffix)) name.remove_suffix(scale_suffix.size());
    const auto at = parts_.find(std::string{name});
    if (at != parts_.end()) return at->second;
    const bool is_fused =
        name.ends_with(".mlp.experts.gate_up_proj") || name.ends_with(".mlp.experts.down_proj");
    return is_fused ? std::optional{model_part::routed_experts} : std::nullopt;
  }

private:
  std::int64_t layers_;
  std::unordered_map<std::string, model_part> parts_;
};

void count_bytes(const checkpoint& source, inspection& report) {
  const part_finder parts{source.config()};
  report.shards = source.shards().size();
  report.tensors = source.tensors().size();
  for (const located_tensor& at : source.tensors()) {
    const std::size_t bytes = at.tensor->bytes;
    const std::optional<model_part> part = parts.find(at.tensor->name);
    report.bytes += bytes;
    report.bytes_by_type[std::string{at.tensor->type.name}] += bytes;
    (part ? report.bytes_by_part[index_of(*part)] : report.bytes_other) += bytes;
  }
}

std::string grouped(std::uint64_t value) {
  std::string digits = std::to_string(value);
  for (std::size_t at = digits.size(); at > 3; at -= 3) digits.insert(at - 3, ",");
  return digits;
}

std::string line(const std::string& label, const std::string& value, const std::string& note = "") {
  constexpr std::size_t label_width = 24;
  constexpr std::size_t value_width = 22;
  std::string text = "  " + label;
  text.resize(std::max(text.size() + 1, label_width), ' ');
  text.append(value.size() < value_width ? value_width - value.size() : 0, ' ');
  return text + value + (note.empty() ? "" : "  " + note) + "\n";
}

std::string share(std::size_t part, std::size_t whole) {
  char text[16];
  std::snprintf(text,
                sizeof text,
                "%5.1f %%",
                whole == 0 ? 0.0 : 100.0 * static_cast<double>(part) / static_cast<double>(whole));
  return text;
}

boost::json::object config_json(const model_config& c) {
  return {{"model_type", c.model_type},
          {"layers", c.layers},
          {"dense_layers", c.layers - c.moe_layers()},
          {"hidden", c.hidden},
          {"heads", c.heads},
          {"vocab_size", c.vocab_size},
          {"max_position", c.max_position},
          {"routed_experts", c.routed_experts},
          {"shared_experts", c.shared_experts},
          {"experts_per_token", c.experts_per_token},
          {"groups", c.groups},
          {"groups_kept", c.groups_kept},
          {"scoring", to_string(c.scoring)},
          {"topk_method", to_string(c.topk)},
          {"mtp_layers", c.mtp_layers},
          {"fp8_blocks", c.fp8_blocks}};
}

}  // namespace

parameter_counts count_parameters(const model_config& config) {
  model_weights scratch;
  scratch.config = config;
  parameter_counts counts;
  for (const tensor_slot& slot : plan_tensors(scratch)) {
    counts.total += slot.values();
    counts.by_part[index_of(slot.part)] += slot.values();
  }
  const std::int64_t routed = counts.by_part[index_of(model_part::routed_experts)];
  counts.active = counts.total - routed;
  if (config.routed_experts > 0)
    counts.active += routed / config.routed_experts * config.experts_per_token;
  return counts;
}

std::int64_t kv_bytes_per_token(const model_config& config) {
  return config.kv_values_per_token() * config.layers * static_cast<std::int64_t>(sizeof(float));
}

result<inspection> inspect(disk& files, const std::string& directory) {
  inspection report;
  report.directory = directory;
  const result<model_config> config = read_config(files, directory);
  if (config.has_error()) {
    if (config.error().code() != errc::unsupported) return config.error();
    report.unsupported = config.error().message();
    return report;
  }
  ATOLL_ASSIGN(const checkpoint source, checkpoint::open(files, directory));
  report.config = source.config();
  report.parameters = count_parameters(*config);
  report.kv_bytes_per_token = kv_bytes_per_token(*config);
  count_bytes(source, report);
  const result<void> fits = check_tensors(source);
  if (fits.has_error()) report.unsupported = fits.error().message();
  return report;
}

std::string to_json(const inspection& r) {
  boost::json::object root{{"directory", r.directory}, {"supported", r.is_supported()}};
  if (!r.is_supported()) root["unsupported"] = r.unsupported;
  if (!r.config) return boost::json::serialize(root);
  boost::json::object parts;
  boost::json::object part_parameters;
  for (std::size_t i = 0; i < r.bytes_by_part.size(); ++i) {
    const std::string_view name = to_string(static_cast<model_part>(i));
    parts[name] = r.bytes_by_part[i];
    if (static_cast<model_part>(i) != model_part::mtp)
      part_parameters[name] = r.parameters.by_part[i];
  }
  parts["other"] = r.bytes_other;
  boost::json::object types;
  for (const auto& [type, bytes] : r.bytes_by_type) types[type] = bytes;
  root["config"] = config_json(*r.config);
  root["parameters"] = boost::json::object{{"total", r.parameters.total},
                                           {"active", r.parameters.active},
                                           {"parts", std::move(part_parameters)}};
  root["bytes"] = boost::json::object{
      {"total", r.bytes}, {"parts", std::move(parts)}, {"types", std::move(types)}};
  root["shards"] = r.shards;
  root["tensors"] = r.tensors;
  root["kv_bytes_per_token"] = r.kv_bytes_per_token;
  return boost::json::serialize(root);
}

std::string to_text(const inspection& r) {
  const std::string verdict = r.is_supported() ? "yes" : "no: " + r.unsupported;
  std::string text = r.directory + "\n  supported: " + verdict + "\n";
  if (!r.config) return text;
  const model_config& c = *r.config;
  text += "  " + c.model_type + ", " + std::to_string(c.layers) + " layers (" +
          std::to_string(c.layers - c.moe_layers()) + " dense), hidden " + std::to_string(c.hidden);
  if (c.routed_experts > 0)
    text += ", " + std::to_string(c.routed_experts) + " experts, " +
            std::to_string(c.experts_per_token) + " a token";
  text += "\n\nparameters\n";
  text += line("total", grouped(static_cast<std::uint64_t>(r.parameters.total)));
  text += line("active for a token", grouped(static_cast<std::uint64_t>(r.parameters.active)));
  text += "\nbytes\n" + line("total", grouped(r.bytes));
  for (std::size_t i = 0; i < r.bytes_by_part.size(); ++i)
    if (r.bytes_by_part[i] > 0)
      text += line(std::string{to_string(static_cast<model_part>(i))},
                   grouped(r.bytes_by_part[i]),
                   share(r.bytes_by_part[i], r.bytes));
  if (r.bytes_other > 0)
    text += line("other", grouped(r.bytes_other), share(r.bytes_other, r.bytes));
  text += "\nbytes by type\n";
  for (const auto& [type, bytes] : r.bytes_by_type)
    text += line(type, grouped(bytes), share(bytes, r.bytes));
  text += "\nkey-value cache\n";
  text += line("bytes a token", grouped(static_cast<std::uint64_t>(r.kv_bytes_per_token)));
  return text;
}

}  // namespace atl::model
