#include "apps/plan_input.hpp"

#include "apps/values.hpp"
#include "runtime/model/json_fields.hpp"

#include <boost/json/serialize.hpp>

#include <algorithm>
#include <array>
#include <charconv>
#include <limits>
#include <map>
#include <span>

namespace atl::apps {
namespace {

using cluster::balance_copy;
using cluster::balance_node;
using model::json_fields;

constexpr double number_most = 1e15;
constexpr std::int64_t whole_most = std::int64_t{1} << 53;  // exact in every reader of JSON

constexpr std::array<std::string_view, 4> root_names{"nodes", "loads", "previous", "options"};
constexpr std::array<std::string_view, 6> node_names{
    "id", "speed", "slots", "domain", "memory_bytes", "intake"};
constexpr std::array<std::string_view, 7> layer_names{"replicas",
                                                      "hottest_over_mean",
                                                      "hottest_over_mean_before",
                                                      "finish",
                                                      "finish_bound",
                                                      "uncovered",
                                                      "rest"};
constexpr std::array<std::string_view, 4> replica_names{"expert", "node", "share", "pinned"};
constexpr std::array<std::string_view, 7> option_names{"cover",
                                                       "cold_cover",
                                                       "moved_experts_max",
                                                       "moved_bytes_max",
                                                       "expert_bytes",
                                                       "hysteresis",
                                                       "tolerance"};

class reader {
public:
  explicit reader(std::string path) : path_{std::move(path)} {}

  result<plan_input> read(const boost::json::object& root);

private:
  error bad(const std::string& what) const { return {errc::invalid_argument, path_ + ": " + what}; }
  result<void> check_names(const boost::json::object& object,
                           const std::string& name,
                           std::span<const std::string_view> known) const;
  /// The fields of a value that lives on, with no others than the known.
  result<json_fields> object_of(const boost::json::value& value,
                                const std::string& name,
                                std::span<const std::string_view> known) const;
  result<void> read_node(const boost::json::value& value, std::size_t i);
  result<void> read_loads(const boost::json::array& rows);
  result<void> read_previous(const boost::json::array& layers);
  result<void> read_options(const boost::json::value& value);
  result<std::uint32_t> node_of(const boost::json::value* id, const std::string& name) const;

  std::string path_;
  plan_input input_;
  std::map<std::string, std::uint32_t> node_by_id_;
};

std::string at(const std::string& name, std::size_t i) {
  return name + "[" + std::to_string(i) + "]";
}

result<void> reader::check_names(const boost::json::object& object,
                                 const std::string& name,
                                 std::span<const std::string_view> known) const {
  for (const auto& [key, ignored] : object) {
    if (std::find(known.begin(), known.end(), std::string_view{key}) != known.end()) continue;
    const std::string_view near = nearest_name(key, known);
    std::string all;
    for (const std::string_view k : known) all += (all.empty() ? "" : ", ") + std::string{k};
    const std::string full = name.empty() ? std::string{key} : name + "." + std::string{key};
    return bad(full + " is not known; " +
               (near.empty() ? "remove it" : "did you mean " + std::string{near} + "?") +
               " (known: " + all + ")");
  }
  return {};
}

result<json_fields> reader::object_of(const boost::json::value& value,
                                      const std::string& name,
                                      std::span<const std::string_view> known) const {
  if (!value.is_object()) return bad(name + " is " + model::shown(value) + "; expected an object");
  ATOLL_TRY(check_names(value.get_object(), name, known));
  return json_fields{value.get_object(), path_, name + "."};
}

result<std::uint32_t> reader::node_of(const boost::json::value* id, const std::string& name) const {
  const std::string text = id == nullptr ? "missing" : boost::json::serialize(*id);
  const auto found = node_by_id_.find(text);
  if (found != node_by_id_.end()) return found->second;
  return bad(name + " is " + text + "; expected the id of one of nodes");
}

result<void> reader::read_node(const boost::json::value& value, std::size_t i) {
  const std::string name = at("nodes", i);
  ATOLL_ASSIGN(const json_fields in, object_of(value, name, node_names));
  const boost::json::value* const id = in.find("id");
  if (id == nullptr || !(id->is_string() || id->is_int64() || id->is_uint64()))
    return in.wrong("id", "expected a string or a whole number", errc::invalid_argument);
  balance_node node;
  node.name = id->is_string() ? std::string{id->get_string()} : boost::json::serialize(*id);
  const std::string key = boost::json::serialize(*id);
  if (const auto [entry, is_new] = node_by_id_.emplace(key, static_cast<std::uint32_t>(i)); !is_new)
    return bad(name + ".id is " + key + ", as that of " + at("nodes", entry->second) +
               "; give each node an id of its own");
  ATOLL_ASSIGN(node.speed, in.number_or("speed", 1 / number_most, number_most, 1));
  ATOLL_ASSIGN(const std::int64_t slots, in.integer("slots", 0, whole_most));
  node.slots = static_cast<std::size_t>(slots);
  if (in.has("memory_bytes")) {
    ATOLL_ASSIGN(const std::int64_t bytes, in.integer("memory_bytes", 0, whole_most));
    node.memory_bytes = static_cast<std::uint64_t>(bytes);
  }
  if (const boost::json::value* domain = in.find("domain"); domain != nullptr) {
    if (!(domain->is_string() || domain->is_int64() || domain->is_uint64()))
      return in.wrong("domain", "expected a string or a whole number", errc::invalid_argument);
    node.domain = boost::json::serialize(*domain);
  }
  ATOLL_ASSIGN(const std::string intake, in.text_or("intake", "open"));
  if (intake != "open" && intake != "closed" && intake != "draining")
    return in.wrong("intake", "expected open, closed or draining", errc::invalid_argument);
  node.intake = intake == "open"     ? cluster::node_intake::open
                : intake == "closed" ? cluster::node_intake::closed
                                     : cluster::node_intake::draining;
  input_.cluster.nodes.push_back(std::move(node));
  input_.ids.push_back(key);
  return {};
}

result<void> reader::read_loads(const boost::json::array& rows) {
  auto& loads = input_.cluster.loads;
  for (std::size_t l = 0; l < rows.size(); ++l) {
    const std::string name = at("loads", l);
    if (!rows[l].is_array())
      return bad(name + " is " + model::shown(rows[l]) + "; expected a list, one load an expert");
    loads.emplace_back();
    for (const boost::json::value& load : rows[l].get_array()) {
      const double number = load.is_number() ? load.to_number<double>() : -1;
      if (!(number >= 0) || !(number < number_most))
        return bad(at(name, loads.back().size()) + " is " + model::shown(load) +
                   "; expected a number from 0 to 1e15");
      loads.back().push_back(number);
    }
  }
  return {};
}

result<void> reader::read_previous(const boost::json::array& layers) {
  for (std::size_t l = 0; l < layers.size(); ++l) {
    const std::string name = at("previous", l);
    ATOLL_ASSIGN(const json_fields layer, object_of(layers[l], name, layer_names));
    ATOLL_ASSIGN(const auto* replicas, layer.array("replicas"));
    std::vector<balance_copy> present;
    for (std::size_t i = 0; i < replicas->size(); ++i) {
      const std::string where = at(name + ".replicas", i);
      ATOLL_ASSIGN(const json_fields in, object_of((*replicas)[i], where, replica_names));
      balance_copy copy;
      ATOLL_ASSIGN(const std::int64_t expert,
                   in.integer("expert", 0, std::numeric_limits<std::int32_t>::max()));
      copy.expert = static_cast<std::uint32_t>(expert);
      ATOLL_ASSIGN(copy.node, node_of(in.find("node"), where + ".node"));
      ATOLL_ASSIGN(copy.share, in.number_or("share", 0, 1 + 1e-6, 1));
      ATOLL_ASSIGN(copy.is_pinned, in.boolean_or("pinned", false));
      present.push_back(copy);
    }
    input_.cluster.present.push_back(std::move(present));
  }
  return {};
}

result<void> reader::read_options(const boost::json::value& value) {
  ATOLL_ASSIGN(const json_fields in, object_of(value, "options", option_names));
  cluster::balance_options& o = input_.cluster.options;
  ATOLL_ASSIGN(o.cover, in.boolean_or("cover", o.cover));
  ATOLL_ASSIGN(o.hysteresis, in.number_or("hysteresis", 0, 0.999, o.hysteresis));
  ATOLL_ASSIGN(o.tolerance, in.number_or("tolerance", 0, 0.999, o.tolerance));
  ATOLL_ASSIGN(const std::int64_t bytes, in.integer_or("expert_bytes", 1, whole_most, 1));
  input_.cluster.expert_bytes = static_cast<std::uint64_t>(bytes);
  if (in.has("moved_experts_max")) {
    ATOLL_ASSIGN(const std::int64_t most, in.integer("moved_experts_max", 0, whole_most));
    o.moved_experts_max = static_cast<std::size_t>(most);
  }
  if (in.has("moved_bytes_max")) {
    ATOLL_ASSIGN(const std::int64_t most, in.integer("moved_bytes_max", 0, whole_most));
    o.moved_bytes_max = static_cast<std::uint64_t>(most);
  }
  if (!in.has("cold_cover")) return {};
  ATOLL_ASSIGN(const auto* cold, in.array("cold_cover"));
  for (std::size_t i = 0; i < cold->size(); ++i) {
    ATOLL_ASSIGN(const std::uint32_t node, node_of(&(*cold)[i], at("options.cold_cover", i)));
    o.cold_cover.push_back(node);
  }
  return {};
}

result<plan_input> reader::read(const boost::json::object& root) {
  ATOLL_TRY(check_names(root, "", root_names));
  const json_fields in{root, path_};
  ATOLL_ASSIGN(const auto* nodes, in.array("nodes"));
  for (std::size_t i = 0; i < nodes->size(); ++i) ATOLL_TRY(read_node((*nodes)[i], i));
  ATOLL_ASSIGN(const auto* loads, in.array("loads"));
  ATOLL_TRY(read_loads(*loads));
  if (in.find("previous") != nullptr) {
    ATOLL_ASSIGN(const auto* previous, in.array("previous"));
    ATOLL_TRY(read_previous(*previous));
  }
  if (const boost::json::value* options = in.find("options"); options != nullptr)
    ATOLL_TRY(read_options(*options));
  return std::move(input_);
}

void append_number(std::string& to, double value) {
  std::array<char, 32> text{};
  const auto end = std::to_chars(text.data(), text.data() + text.size(), value).ptr;
  to.append(text.data(), end);
}

}  // namespace

result<plan_input> read_plan_input(std::string_view text, const std::string& path) {
  const auto as_usage = [](const error& e) { return error{errc::invalid_argument, e.message()}; };
  const auto root = model::parse_json_object(text, path);
  if (root.has_error()) return as_usage(root.error());
  auto input = reader{path}.read(*root);
  if (input.has_error()) return as_usage(input.error());
  return input;
}

std::string plan_as_json(const plan_input& input, const cluster::balance_plan& plan) {
  std::string out = "{\"layers\":[";
  for (const cluster::layer_plan& layer : plan.layers) {
    out += out.ends_with('[') ? "{\"replicas\":[" : ",{\"replicas\":[";
    for (const balance_copy& c : layer.replicas) {
      out += out.ends_with('[') ? "" : ",";
      out += "{\"expert\":" + std::to_string(c.expert) + ",\"node\":" + input.ids[c.node] +
             ",\"share\":";
      append_number(out, c.share);
      out += c.is_pinned ? ",\"pinned\":true}" : "}";
    }
    out += "],\"hottest_over_mean\":";
    append_number(out, layer.hottest_over_mean());
    if (const auto before = layer.hottest_over_mean_before()) {
      out += ",\"hottest_over_mean_before\":";
      append_number(out, *before);
    }
    out += ",\"finish\":";
    append_number(out, layer.finish);
    out += ",\"finish_bound\":";
    append_number(out, layer.bound);
    out += ",\"uncovered\":" + std::to_string(layer.uncovered) + ",\"rest\":\"" +
           cluster::to_string(layer.rest) + "\"}";
  }
  out += "],\"moved_experts\":" + std::to_string(plan.moved_experts) +
         ",\"moved_bytes\":" + std::to_string(plan.moved_bytes) + ",\"moves\":[";
  for (const cluster::balance_move& m : plan.moves) {
    out += out.ends_with('[') ? "" : ",";
    out += "{\"layer\":" + std::to_string(m.layer) + ",\"expert\":" + std::to_string(m.expert) +
           ",\"to\":" + input.ids[m.to] + ",\"reason\":\"" + cluster::to_string(m.reason) + "\"}";
  }
  out += "],\"drops\":[";
  for (const cluster::balance_drop& d : plan.drops) {
    out += out.ends_with('[') ? "" : ",";
    out += "{\"layer\":" + std::to_string(d.layer) + ",\"expert\":" + std::to_string(d.expert) +
           ",\"from\":" + input.ids[d.from] + "}";
  }
  return out + "]}\n";
}

std::string plan_as_text(const plan_input& input, const cluster::balance_plan& plan) {
  std::string out;
  for (const std::string& line : cluster::explain(input.cluster, plan)) out += line + "\n";
  return out + "moves " + std::to_string(plan.moved_experts) + " experts\n";
}

}  // namespace atl::apps
