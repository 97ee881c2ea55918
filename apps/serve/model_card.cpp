#include "apps/serve/model_card.hpp"

#include "apps/build_info.hpp"
#include "apps/openai/fields.hpp"
#include "apps/values.hpp"
#include "runtime/base/log.hpp"

#include <boost/json.hpp>
#include <xxhash.h>

#include <limits>

namespace atl::serve {
namespace {

constexpr std::size_t config_bytes_max = std::size_t{1} << 20;
constexpr std::size_t header_bytes = std::size_t{1} << 16;
constexpr std::size_t sample_bytes = 64;
constexpr std::size_t samples = 4096;  // of each file

std::uint64_t digest_of(const model::model_weights& weights) {
  std::uint64_t digest = 0;
  const auto add = [&](std::span<const std::byte> bytes) {
    digest = XXH3_64bits_withSeed(bytes.data(), bytes.size(), digest);
  };
  for (const auto& file : weights.files) {
    const auto bytes = file->bytes();
    digest += bytes.size();
    add(bytes.first(std::min(bytes.size(), header_bytes)));
    if (bytes.size() <= sample_bytes * samples) {
      add(bytes);
      continue;
    }
    const std::size_t step = (bytes.size() - sample_bytes) / samples;
    for (std::size_t i = 0; i <= samples; ++i) add(bytes.subspan(i * step, sample_bytes));
  }
  return digest;
}

}  // namespace

std::string system_fingerprint(const model::model_weights& weights,
                               const actors::cluster_options& resolved) {
  const apps::build_info build = apps::this_build();
  std::string text = "atoll-" + build.version;
  if (!build.commit.empty()) text += "-" + build.commit;
  text += "-w" + apps::hex(digest_of(weights));
  text += resolved.numerics == kernels::numerics::fast
              ? "-fast-" + std::string{kernels::to_string(*resolved.isa)}
              : "-invariant";
  if (resolved.activations != tensor::dtype::f32)
    text += "-" + std::string{tensor::to_string(resolved.activations)} + "-rows";
  return text;
}

result<model::sampling_params> sampling_defaults(disk& files, const std::string& directory) {
  model::sampling_params p;
  p.temperature = 1;
  const std::string path = directory + "/generation_config.json";
  if (!files.is_file(path)) return p;
  ATOLL_ASSIGN(const std::string text, files.read(path, config_bytes_max));
  const auto whole = openai::parse_object(text);
  if (whole.has_error()) return error{errc::invalid_model, path + ": " + whole.error().message()};
  openai::fields from{*whole, ""};
  if (const auto v = from.number("temperature", 0, 2)) p.temperature = static_cast<float>(*v);
  if (const auto v = from.number("top_p", 1e-6, 1)) p.top_p = static_cast<float>(*v);
  if (const auto v = from.integer("top_k", 0, std::numeric_limits<int>::max()))
    p.top_k = static_cast<int>(*v);
  if (const auto v = from.number("repetition_penalty", 0.01, 10))
    p.repetition_penalty = static_cast<float>(*v);
  if (from.failure())
    log_warning(path + ": " + from.failure()->message() + "; what is wrong there is left out");
  return p;
}

}  // namespace atl::serve
