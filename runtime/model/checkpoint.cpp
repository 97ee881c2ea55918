#include "runtime/model/checkpoint.hpp"

#include "runtime/model/json_fields.hpp"

#include <algorithm>
#include <cstdlib>
#include <map>

namespace atl::model {
namespace {

constexpr std::size_t config_bytes_max = std::size_t{4} << 20;
constexpr std::size_t index_bytes_max = std::size_t{256} << 20;
constexpr std::size_t reference_bytes_max = 4096;

bool is_plain_name(std::string_view name) {
  const auto is_plain = [](char ch) {
    return (ch >= 'a' && ch <= 'z') || (ch >= 'A' && ch <= 'Z') || (ch >= '0' && ch <= '9') ||
           ch == '.' || ch == '_' || ch == '-';
  };
  return !name.empty() && name.front() != '.' && std::all_of(name.begin(), name.end(), is_plain);
}

/// "org/name" taken apart; nullopt for anything else.
std::optional<std::pair<std::string, std::string>> hub_name(const std::string& model) {
  const std::size_t slash = model.find('/');
  if (slash == std::string::npos) return std::nullopt;
  std::pair<std::string, std::string> parts{model.substr(0, slash), model.substr(slash + 1)};
  if (!is_plain_name(parts.first) || !is_plain_name(parts.second)) return std::nullopt;
  return parts;
}

std::optional<std::string> hub_cache(const environment& env) {
  const auto set = [&](std::string_view name) {
    const std::optional<std::string> value = env(name);
    return value && !value->empty() ? value : std::nullopt;
  };
  if (auto cache = set("HF_HUB_CACHE")) return cache;
  if (const auto home = set("HF_HOME")) return *home + "/hub";
  if (const auto cache = set("XDG_CACHE_HOME")) return *cache + "/huggingface/hub";
  if (const auto home = set("HOME")) return *home + "/.cache/huggingface/hub";
  return std::nullopt;
}

result<std::string> find_snapshot(disk& files, const std::string& repository) {
  const std::string reference = repository + "/refs/main";
  std::string revision;
  if (files.is_file(reference)) {
    ATOLL_ASSIGN(revision, files.read(reference, reference_bytes_max));
    while (!revision.empty() && (revision.back() == '\n' || revision.back() == ' '))
      revision.pop_back();
    if (!is_plain_name(revision))
      return error{errc::invalid_model,
                   reference + ": holds no revision name; download the model again"};
  } else {
    ATOLL_ASSIGN(const std::vector<std::string> names, files.list(repository + "/snapshots"));
    if (names.size() != 1)
      return error{errc::invalid_argument,
                   repository + ": has " + std::to_string(names.size()) +
                       " snapshots and no refs/main; give one snapshot's directory"};
    revision = names.front();
  }
  const std::string snapshot = repository + "/snapshots/" + revision;
  if (!files.is_directory(snapshot))
    return error{errc::invalid_model, snapshot + ": is missing; download the model again"};
  return snapshot;
}

/// Files named by the index, and which tensor each should hold.
struct index_map {
  std::vector<std::string> files;  // sorted, each once
  std::map<std::string, std::string> file_of_tensor;
};

result<index_map> read_index(disk& files, const std::string& path) {
  ATOLL_ASSIGN(const std::string text, files.read(path, index_bytes_max));
  ATOLL_ASSIGN(const boost::json::object root, parse_json_object(text, path));
  const json_fields fields{root, path};
  const boost::json::value* map = fields.find("weight_map");
  if (map == nullptr || !map->is_object() || map->get_object().empty())
    return fields.wrong("weight_map", "expected an object of tensor names and file names");
  index_map index;
  const json_fields entries{map->get_object(), path, "weight_map."};
  for (const auto& [key, value] : map->get_object()) {
    const std::string_view tensor{key.data(), key.size()};
    ATOLL_ASSIGN(const std::string file, entries.text(tensor));
    const bool is_bare = !file.empty() && file.find('/') == std::string::npos &&
                         file.find('\\') == std::string::npos &&
                         file.find('\0') == std::string::npos && file != "." && file != "..";
    if (!is_bare)
      return entries.wrong(tensor, "expected the bare name of a file in the same directory");
    index.file_of_tensor.emplace(tensor, file);
    index.files.push_back(file);
  }
  std::sort(index.files.begin(), index.files.end());
  index.files.erase(std::unique(index.files.begin(), index.files.end()), index.files.end());
  return index;
}

}  // namespace

environment system_environment() {
  return [](std::string_view name) -> std::optional<std::string> {
    const char* value = std::getenv(std::string{name}.c_str());
    return value == nullptr ? std::nullopt : std::optional<std::string>{value};
  };
}

result<std::string> resolve_model(disk& files, const std::string& model, const environment& env) {
  if (model.empty()) return error{errc::invalid_argument, "MODEL is empty; give a directory"};
  if (files.is_directory(model)) return model;
  if (files.is_file(model))
    return error{errc::invalid_argument,
                 model + ": is a file; give the directory that holds config.json"};
  const auto name = hub_name(model);
  const std::optional<std::string> cache = hub_cache(env);
  if (!name || !cache)
    return error{errc::not_found,
                 model + ": no such directory; give one, or org/name of a model in the local "
                         "Hugging Face cache"};
  const std::string repository = *cache + "/models--" + name->first + "--" + name->second;
  if (!files.is_directory(repository))
    return error{errc::not_found,
                 model + ": neither a directory nor in the Hugging Face cache (looked for " +
                     repository + "); nothing is downloaded, run `huggingface-cli download " +
                     model + "` first"};
  return find_snapshot(files, repository);
}

result<model_config> read_config(disk& files, const std::string& directory) {
  if (!files.is_directory(directory))
    return error{errc::not_found, directory + ": no such directory"};
  const std::string path = directory + "/config.json";
  if (!files.is_file(path))
    return error{errc::invalid_model,
                 path + ": is missing; a checkpoint needs config.json and safetensors files"};
  ATOLL_ASSIGN(const std::string text, files.read(path, config_bytes_max));
  ATOLL_ASSIGN(model_config config, parse_config(text, path));
  const std::string generation = directory + "/generation_config.json";
  if (files.is_file(generation)) {
    ATOLL_ASSIGN(const std::string more, files.read(generation, config_bytes_max));
    ATOLL_TRY(merge_generation_config(config, more, generation));
  }
  return config;
}

result<checkpoint> checkpoint::open(disk& files, const std::string& directory) {
  checkpoint opened;
  opened.directory_ = directory;
  ATOLL_ASSIGN(opened.config_, read_config(files, directory));
  ATOLL_TRY(opened.open_shards(files));
  return opened;
}

result<void> checkpoint::open_shards(disk& files) {
  const std::string single = directory_ + "/model.safetensors";
  const std::string index_path = single + ".index.json";
  if (files.is_file(single)) {
    ATOLL_ASSIGN(safetensors_file file, safetensors_file::open(files, single));
    shards_.push_back(std::move(file));
    return collect();
  }
  if (!files.is_file(index_path))
    return error{errc::invalid_model,
                 directory_ + ": has neither model.safetensors nor model.safetensors.index.json; "
                              "only safetensors checkpoints can be loaded"};
  ATOLL_ASSIGN(const index_map index, read_index(files, index_path));
  shards_.reserve(index.files.size());
  for (const std::string& name : index.files) {
    if (!files.is_file(directory_ + "/" + name))
      return error{errc::invalid_model,
                   directory_ + "/" + name + ": is missing, though " + index_path +
                       " names it; download the rest of the model"};
    ATOLL_ASSIGN(safetensors_file file, safetensors_file::open(files, directory_ + "/" + name));
    shards_.push_back(std::move(file));
  }
  ATOLL_TRY(collect());
  for (const auto& [tensor, file] : index.file_of_tensor) {
    const located_tensor at = find(tensor);
    if (!at || at.file->path() != directory_ + "/" + file)
      return error{errc::invalid_model,
                   directory_ + "/" + file + ": tensor " + tensor + " is not there, though " +
                       index_path + " says so; get both files anew"};
  }
  return {};
}

result<void> checkpoint::collect() {
  for (const safetensors_file& file : shards_)
    for (const stored_tensor& tensor : file.tensors()) tensors_.push_back({&file, &tensor});
  std::sort(tensors_.begin(), tensors_.end(), [](const auto& a, const auto& b) {
    return a.tensor->name < b.tensor->name;
  });
  const auto twice =
      std::adjacent_find(tensors_.begin(), tensors_.end(), [](const auto& a, const auto& b) {
        return a.tensor->name == b.tensor->name;
      });
  if (twice == tensors_.end()) return {};
  return error{errc::invalid_model,
               twice->file->path() + ": tensor " + twice->tensor->name + " is also in " +
                   std::next(twice)->file->path() + "; get both files anew"};
}

located_tensor checkpoint::find(std::string_view name) const noexcept {
  const auto at = std::lower_bound(
      tensors_.begin(), tensors_.end(), name, [](const located_tensor& t, std::string_view n) {
        return t.tensor->name < n;
      });
  return at != tensors_.end() && at->tensor->name == name ? *at : located_tensor{};
}

}  // namespace atl::model
