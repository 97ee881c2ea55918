#include "apps/serve/commands.hpp"
#include "apps/serve/settings.hpp"
#include "apps/serve/settings_file.hpp"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>
#include <string>

namespace atl::serve {
namespace {

using std::chrono::milliseconds;

class settings : public testing::Test {
protected:
  void SetUp() override {
    char name[] = "/tmp/atoll-settings-XXXXXX";
    folder_ = ::mkdtemp(name);
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  std::string file(const std::string& text) const {
    std::ofstream{folder_ + "/atoll.toml", std::ios::trunc} << text;
    return folder_ + "/atoll.toml";
  }

  settings_report read(const setting_sources& sources) const {
    return read_settings(*system_disk(), sources);
  }
  settings_report of_file(const std::string& text) const {
    setting_sources sources;
    sources.config_file = file(text);
    return read(sources);
  }
  std::string problems_of_file(const std::string& text) const {
    std::string all;
    for (const std::string& p : of_file(text).problems) all += p + "\n";
    return all;
  }

  std::string folder_;
};

std::string origin(const settings_report& report, std::string_view flag) {
  return report.loaded.origins[static_cast<std::size_t>(find_option(flag) - options().data())];
}

/// A text other than the default that stands alone, without contradicting another option.
std::string other_text(const option& o) {
  const std::string type = type_name(o);
  if (type == "true or false") return default_text(o) == "true" ? "false" : "true";
  if (type == "text") return o.flag.ends_with("listen") ? "127.0.0.1:7" : "x y\"\\z";
  if (type == "size") return default_text(o) == "3k" ? "4k" : o.least > 3072 ? "5M" : "3k";
  if (type == "number") return std::to_string(o.most - 1);
  if (type == "factor") return "2.125";
  if (type == "duration") return "1500ms";
  const std::string first = type.substr(0, type.find_first_of(", "));
  if (default_text(o) != first) return first;
  const std::size_t next = type.find(", ");
  if (next == std::string::npos) return first;  // no other choice
  return type.substr(next + 2, type.find(", ", next + 2) - next - 2);
}

std::string toml(const option& o, const std::string& text) {
  const std::string type = type_name(o);
  const bool is_bare = type == "number" || type == "factor" || type == "true or false";
  std::string value = text;
  if (!is_bare) {
    value = "'" + text + "'";
  }
  return std::string{o.key} + " = " + value + "\n";
}

/// What has to be there too for the option to be allowed.
setting_sources beside(const option& o) {
  setting_sources sources;
  const std::string flag{o.flag};
  if (flag.ends_with("tls-cert"))
    sources.flags[flag.substr(0, flag.size() - 4) + "key"] = "k";
  else if (flag.ends_with("tls-key"))
    sources.flags[flag.substr(0, flag.size() - 3) + "cert"] = "c";
  if (flag.starts_with("admin-tls")) sources.flags["admin-listen"] = "127.0.0.1:9";
  return sources;
}

TEST(options, every_name_is_given_once) {
  std::set<std::string> flags, keys, variables;
  for (const option& o : options()) {
    EXPECT_TRUE(flags.emplace(o.flag).second) << o.flag;
    EXPECT_TRUE(keys.emplace(o.key).second) << o.key;
    EXPECT_TRUE(variables.insert(environment_name(o)).second) << o.flag;
    EXPECT_FALSE(o.help.empty()) << o.flag;
    EXPECT_EQ(find_option(o.flag), &o);
  }
  EXPECT_EQ(find_option("no-such"), nullptr);
  EXPECT_EQ(environment_name(*find_option("max-body-size")), "ATOLL_MAX_BODY_SIZE");
}

TEST(options, every_default_is_readable_and_within_its_range) {
  for (const option& o : options()) {
    serve_settings s;
    const auto done = assign(s, o, default_text(o), o.flag);
    EXPECT_TRUE(done.has_value()) << done.error().message();
    EXPECT_EQ(text_of(s, o), default_text(o));
  }
}

TEST_F(settings, every_option_comes_by_flag_variable_and_file) {
  for (const option& o : options()) {
    const std::string text = other_text(o);
    setting_sources by_flag = beside(o), by_variable = by_flag, by_file = by_flag;
    by_flag.flags[std::string{o.flag}] = text;
    by_variable.environment = {{environment_name(o), text}};
    by_file.config_file = file(toml(o, text));
    const std::string origins[] = {
        "--" + std::string{o.flag}, environment_name(o), by_file.config_file + ":1"};
    int at = 0;
    for (const setting_sources& sources : {by_flag, by_variable, by_file}) {
      const auto report = read(sources);
      ASSERT_TRUE(report.problems.empty()) << report.problems.front();
      EXPECT_EQ(text_of(report.loaded.values, o), text) << o.flag;
      EXPECT_EQ(origin(report, o.flag), origins[at++]);
    }
  }
}

TEST_F(settings, a_flag_beats_a_variable_beats_the_file_beats_the_default) {
  setting_sources sources;
  auto report = read(sources);
  EXPECT_EQ(report.loaded.values.engine.cluster.sequences_max, 8);
  EXPECT_EQ(origin(report, "batch-size"), "default");
  sources.config_file = file("[engine]\n\nbatch-size = 1\n");
  report = read(sources);
  EXPECT_EQ(report.loaded.values.engine.cluster.sequences_max, 1);
  EXPECT_EQ(origin(report, "batch-size"), sources.config_file + ":3");
  sources.environment = {{"ATOLL_BATCH_SIZE", "2"}};
  report = read(sources);
  EXPECT_EQ(report.loaded.values.engine.cluster.sequences_max, 2);
  EXPECT_EQ(origin(report, "batch-size"), "ATOLL_BATCH_SIZE");
  sources.flags["batch-size"] = "3";
  report = read(sources);
  EXPECT_EQ(report.loaded.values.engine.cluster.sequences_max, 3);
  EXPECT_EQ(origin(report, "batch-size"), "--batch-size");
}

TEST_F(settings, values_arrive_where_they_are_used) {
  const auto report = of_file(R"(
model = "org/name/"
[server]
listen = "0.0.0.0:80"
keys = "/etc/atoll/keys"
drain-timeout = "2m"
sse-ping = 2.5
chat-format = "v3.1"
[engine]
isa = "avx2"
numerics = "fast"
memory = "1.5G"
max-seq-len = 4096
queue-size = 7
[limits]
max-body-size = 65536
max-header-size = "2k"
idle-timeout = 90
[log]
level = "debug"
format = "json"
[metrics]
compat = "none"
experts = true
)");
  ASSERT_TRUE(report.problems.empty()) << report.problems.front();
  const serve_settings& s = report.loaded.values;
  EXPECT_EQ(served_model_id(s), "name");
  EXPECT_EQ(s.listen.address, "0.0.0.0:80");
  EXPECT_EQ(s.keys_file, "/etc/atoll/keys");
  EXPECT_EQ(s.drain_time, milliseconds{120'000});
  EXPECT_EQ(s.ping_time, milliseconds{2500});
  EXPECT_EQ(s.chat_format, "v3.1");
  EXPECT_EQ(s.engine.cluster.isa, kernels::isa::avx2);
  EXPECT_EQ(s.engine.cluster.numerics, kernels::numerics::fast);
  EXPECT_EQ(s.engine.memory_bytes, std::size_t{3} << 29);
  EXPECT_EQ(s.engine.cluster.context_max, 4096);
  EXPECT_EQ(s.engine.cluster.queued_max, 7);
  EXPECT_EQ(s.limits.body_bytes_max, 65536U);
  EXPECT_EQ(s.limits.head_bytes_max, 2048U);
  EXPECT_EQ(s.limits.idle_time, milliseconds{90'000});
  EXPECT_EQ(s.least_level, log_level::debug);
  EXPECT_EQ(s.log_style, log_format::json);
  EXPECT_FALSE(s.has_vllm_metrics);
  EXPECT_TRUE(s.has_expert_metrics);
}

TEST_F(settings, what_is_not_known_is_named_with_its_neighbour) {
  const struct {
    const char *text, *expected;
  } cases[] = {
      {"[server]\n\nlisen = 'x'",
       ":3: server.lisen: there is no such key; did you mean server.listen?"},
      {"listen = ':1'", ":1: listen: there is no such key; did you mean server.listen?"},
      {"[engin]\nthreads = 1", ":1: engin: there is no such table; did you mean engine?"},
      {"[server.engine]\nthreads = 1", "server.engine: there is no such table"},
      {"[limits]\nthreads = 1",
       ":2: limits.threads: there is no such key; did you mean engine.threads?"},
      {"colour = 'blue'", ":1: colour: there is no such key\n"},
      {"server = 3", ":1: server: expected a table [server], found a whole number"},
  };
  for (const auto& c : cases)
    EXPECT_NE(problems_of_file(c.text).find(c.expected), std::string::npos)
        << problems_of_file(c.text);
}

TEST_F(settings, wrong_types_name_file_line_and_key) {
  const struct {
    const char *text, *expected;
  } cases[] = {
      {"model = 3", "atoll.toml:1: model: expected text in quotation marks, found a whole number"},
      {"[server]\ninsecure = 'yes'", ":2: server.insecure: expected true or false, found text"},
      {"[engine]\nthreads = '2'", ":2: engine.threads: expected a whole number, found text"},
      {"[engine]\nthreads = 2.5", "expected a whole number, found a number with a point"},
      {"[engine]\nmemory = 1.5", "expected a size, such as \"512M\" or 1048576, found a number"},
      {"[engine]\nmemory = [1]", "found a list"},
      {"[engine.memory]\nx = 1", "engine.memory: expected a size"},
      {"[server]\nsse-ping = true", "expected a duration, such as \"30s\""},
      {"[server]\nsse-ping = 2026-01-01", "found a date or time"},
      {"[log]\nlevel = 1", "expected one of debug, info, warning, error, off in quotation marks"},
  };
  for (const auto& c : cases)
    EXPECT_NE(problems_of_file(c.text).find(c.expected), std::string::npos)
        << problems_of_file(c.text);
}

TEST_F(settings, values_out_of_range_are_refused_whatever_their_source) {
  const struct {
    const char *flag, *text, *expected;
  } cases[] = {
      {"threads", "-1", "a value from 0 to 1024"},
      {"threads", "1025", "a value from 0 to 1024"},
      {"threads", "two", "a whole number from 0 to 1024"},
      {"threads", "1.5", "a whole number"},
      {"threads", "", "a whole number"},
      {"threads", "99999999999999999999", "a whole number"},
      {"max-seq-len", "-1", "a value from 0"},
      {"max-seq-len", "x", "a whole number from 0"},
      {"memory", "9000000000G", "below 8 EiB"},
      {"batch-size", "0", "a value from 1 to 65536"},
      {"capacity-factor", "0.99", "a number from 1 to 1000"},
      {"capacity-factor", "1000.5", "a number from 1 to 1000"},
      {"capacity-factor", "nan", "a number from 1 to 1000"},
      {"capacity-factor", "1.2x", "a number from 1 to 1000"},
      {"group-rows", "0", "a value from 1 to 1048576"},
      {"max-body-size", "1023", "a size from 1k to 1G"},
      {"max-body-size", "2G", "a size from 1k to 1G"},
      {"max-body-size", "1Q", "a size such as"},
      {"max-body-size", "-1", "a size such as"},
      {"header-timeout", "0", "a value from 100ms to 1h"},
      {"header-timeout", "61m", "a value from 100ms to 1h"},
      {"header-timeout", "soon", "a duration such as 30s"},
      {"header-timeout", "nan", "a duration such as 30s"},
      {"header-timeout", "inf", "a duration such as 30s"},
      {"header-timeout", "-1s", "a duration such as 30s"},
      {"header-timeout", "1d", "a duration such as 30s"},
      {"insecure", "maybe", "expected true or false"},
      {"isa", "sse", "choose best, avx2, avx512, amx"},
      {"device", "cuda", "choose cpu"},
      {"chat-format", "v9", "choose auto, v2, v3, r1, v3.1"},
      {"log-level", "loud", "choose debug, info"},
      {"keys", "a\nb", "the text has a line end"},
  };
  for (const auto& c : cases) {
    setting_sources by_flag, by_variable;
    by_flag.flags[c.flag] = c.text;
    by_variable.environment = {{environment_name(*find_option(c.flag)), c.text}};
    const auto flag = read(by_flag);
    ASSERT_EQ(flag.problems.size(), 1U) << c.flag << " " << c.text;
    EXPECT_TRUE(flag.problems[0].starts_with("--" + std::string{c.flag})) << flag.problems[0];
    EXPECT_NE(flag.problems[0].find(c.expected), std::string::npos) << flag.problems[0];
    if (*c.text == '\0') continue;  // an empty variable counts as absent
    const auto variable = read(by_variable);
    ASSERT_EQ(variable.problems.size(), 1U) << c.flag << " " << c.text;
    EXPECT_NE(variable.problems[0].find(c.expected), std::string::npos) << variable.problems[0];
  }
  EXPECT_EQ(problems_of_file("[engine]\nthreads = 2000"),
            folder_ + "/atoll.toml:2: engine.threads 2000: expected a value from 0 to 1024\n");
}

TEST_F(settings, all_problems_are_named_at_once) {
  const auto report = of_file("[server]\nlisen = 1\n[engine]\nthreads = 'a'\nreplicas = 0\n");
  EXPECT_EQ(report.problems.size(), 3U);
  setting_sources sources;
  sources.config_file = folder_ + "/atoll.toml";
  const auto loaded = load_settings(*system_disk(), sources);
  ASSERT_TRUE(loaded.has_error());
  for (const char* word : {"server.lisen", "engine.threads", "engine.replicas"})
    EXPECT_NE(loaded.error().message().find(word), std::string::npos) << word;
}

TEST_F(settings, broken_files_are_refused_with_their_line) {
  EXPECT_TRUE(problems_of_file("a = 1\nb = \n").starts_with(folder_ + "/atoll.toml:2: "));
  EXPECT_FALSE(problems_of_file("model = 'a'\nmodel = 'b'\n").empty());
  EXPECT_FALSE(problems_of_file("\xff = 1\n").empty());
  setting_sources sources;
  sources.config_file = folder_ + "/none.toml";
  EXPECT_NE(read(sources).problems.at(0).find("none.toml"), std::string::npos);
}

TEST_F(settings, the_file_is_named_by_option_or_variable) {
  setting_sources sources;
  sources.environment = {{"ATOLL_CONFIG", file("[engine]\nthreads = 5\n")}};
  EXPECT_EQ(read(sources).loaded.values.engine.cluster.threads, 5);
  std::ofstream{folder_ + "/other.toml"} << "[engine]\nthreads = 6\n";
  sources.config_file = folder_ + "/other.toml";
  EXPECT_EQ(read(sources).loaded.values.engine.cluster.threads, 6);
}

TEST_F(settings, truth_is_read_as_people_write_it) {
  for (const char* yes : {"true", "1", "on", "YES", "Enabled"}) {
    setting_sources sources;
    sources.environment = {{"ATOLL_EXPERT_METRICS", yes}};
    EXPECT_TRUE(read(sources).loaded.values.has_expert_metrics) << yes;
    sources.environment = {{"ATOLL_NO_EXPERT_METRICS", yes}};
    EXPECT_FALSE(read(sources).loaded.values.has_expert_metrics) << yes;
  }
  setting_sources sources;
  sources.environment = {{"ATOLL_NO_EXPERT_METRICS", "off"}};
  EXPECT_TRUE(read(sources).loaded.values.has_expert_metrics);
}

TEST_F(settings, variables_that_name_nothing_are_told_and_do_no_harm) {
  setting_sources sources;
  sources.environment = {
      {"ATOLL_LISTN", ":80"}, {"ATOLL_UNRELATED_THING", "/x"}, {"ATOLL_LISTEN", ""}};
  const auto report = read(sources);
  EXPECT_TRUE(report.problems.empty());
  ASSERT_EQ(report.loaded.warnings.size(), 1U);
  EXPECT_EQ(report.loaded.warnings[0], "ATOLL_LISTN is no setting; did you mean ATOLL_LISTEN?");
  EXPECT_EQ(report.loaded.values.listen.address, "127.0.0.1:8000") << "empty counts as absent";
}

TEST_F(settings, the_environment_of_the_process_is_seen) {
  ::setenv("ATOLL_LOG_LEVEL", "error", 1);
  ::setenv("UNATOLL_LOG_LEVEL", "error", 1);
  const auto found = atoll_environment();
  ::unsetenv("ATOLL_LOG_LEVEL");
  ::unsetenv("UNATOLL_LOG_LEVEL");
  EXPECT_EQ(std::count(found.begin(),
                       found.end(),
                       std::pair<std::string, std::string>{"ATOLL_LOG_LEVEL", "error"}),
            1);
  for (const auto& [name, value] : found) EXPECT_TRUE(name.starts_with("ATOLL_"));
}

TEST_F(settings, contradictions_are_refused) {
  const struct {
    std::map<std::string, std::string> flags;
    const char* expected;
  } cases[] = {
      {{{"listen", ":8000"}}, "--listen :8000: other machines could use this server"},
      {{{"admin-listen", "0.0.0.0:9"}}, "--admin-listen 0.0.0.0:9: other machines"},
      {{{"listen", "here"}}, "--listen here: expected HOST:PORT"},
      {{{"admin-listen", "127.0.0.1:8000"}}, "the same address as --listen"},
      {{{"tls-cert", "c"}}, "--tls-cert without --tls-key"},
      {{{"tls-key", "k"}}, "--tls-key without --tls-cert"},
      {{{"admin-listen", "127.0.0.1:9"}, {"admin-tls-key", "k"}},
       "--admin-tls-key without --admin-tls-cert"},
      {{{"admin-tls-cert", "c"}, {"admin-tls-key", "k"}},
       "--admin-tls-cert without --admin-listen"},
      {{{"default-timeout", "2h"}}, "--default-timeout 2h: longer than --max-timeout 1h"},
  };
  for (const auto& c : cases) {
    setting_sources sources;
    sources.flags = c.flags;
    const auto report = read(sources);
    ASSERT_EQ(report.problems.size(), 1U) << c.expected;
    EXPECT_TRUE(report.problems[0].starts_with("--")) << report.problems[0];
    EXPECT_NE(report.problems[0].find(c.expected), std::string::npos) << report.problems[0];
  }
  setting_sources fine;
  fine.flags = {{"listen", ":0"}, {"admin-listen", ":0"}, {"insecure", "true"}};
  EXPECT_TRUE(read(fine).problems.empty());
}

TEST_F(settings, what_is_shown_gives_the_same_values_again) {
  setting_sources sources;
  for (const option& o : options())
    if (!o.flag.starts_with("admin")) sources.flags[std::string{o.flag}] = other_text(o);
  const auto first = read(sources);
  ASSERT_TRUE(first.problems.empty()) << first.problems.front();
  const std::string shown = settings_toml(first.loaded, true);
  const auto again = of_file(shown);
  ASSERT_TRUE(again.problems.empty()) << again.problems.front();
  for (const option& o : options())
    EXPECT_EQ(text_of(again.loaded.values, o), text_of(first.loaded.values, o)) << o.flag;
  EXPECT_NE(shown.find("# --listen\n"), std::string::npos);
  EXPECT_NE(shown.find("# default\n"), std::string::npos);
  EXPECT_EQ(settings_toml(first.loaded, false).find('#'), std::string::npos);
}

TEST_F(settings, a_reload_takes_what_may_change_and_names_the_rest) {
  auto now = of_file("[log]\nlevel = 'info'\n").loaded;
  const auto fresh = of_file("[log]\nlevel = 'debug'\n[engine]\nthreads = "
                             "3\n[limits]\nmax-body-size = 65536\nmax-n = 4\n")
                         .loaded;
  const reload_outcome outcome = take_reloadable(now, fresh);
  EXPECT_EQ(outcome.taken, (std::vector<std::string>{"max-body-size", "log-level"}));
  EXPECT_EQ(outcome.need_restart, (std::vector<std::string>{"threads", "max-n"}));
  EXPECT_EQ(now.values.least_level, log_level::debug);
  EXPECT_EQ(now.values.limits.body_bytes_max, 65536U);
  EXPECT_EQ(now.values.choices_max, 16);
  EXPECT_EQ(now.values.engine.cluster.threads, 0);
  EXPECT_TRUE(take_reloadable(now, now).taken.empty());
}

TEST(model_id, is_the_last_part_of_the_model) {
  serve_settings s;
  for (const auto& [model, id] : {std::pair{"models/tiny", "tiny"},
                                  {"tiny", "tiny"},
                                  {"/a/b//", "b"},
                                  {"deepseek-ai/DeepSeek-V3", "DeepSeek-V3"}}) {
    s.engine.model = model;
    EXPECT_EQ(served_model_id(s), id);
  }
  s.engine.model = std::string{ATOLL_SOURCE_DIR} + "/models/tiny/.";
  EXPECT_EQ(served_model_id(s), "tiny");
  s.engine.model = std::string{ATOLL_SOURCE_DIR} + "/models/tiny/../tiny/";
  EXPECT_EQ(served_model_id(s), "tiny");
  s.model_id = "mine";
  EXPECT_EQ(served_model_id(s), "mine");
}

TEST(durations, read_and_write) {
  for (const auto& [text, ms] : {std::pair{"0", 0},
                                 {"1", 1000},
                                 {"1.5", 1500},
                                 {"250ms", 250},
                                 {"0.5s", 500},
                                 {"2m", 120'000},
                                 {"1h", 3'600'000}})
    EXPECT_EQ(*parse_duration("x", text), milliseconds{ms}) << text;
  for (const auto& [ms, text] : {std::pair{0, "0"},
                                 {1, "1ms"},
                                 {1500, "1500ms"},
                                 {90'000, "90s"},
                                 {120'000, "2m"},
                                 {7'200'000, "2h"}})
    EXPECT_EQ(duration_text(milliseconds{ms}), text);
}

}  // namespace
}  // namespace atl::serve
