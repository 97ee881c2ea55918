#include "apps/cluster/init.hpp"
#include "apps/cluster/state.hpp"
#include "apps/serve/keys.hpp"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <sys/stat.h>

namespace atl::ops {
namespace {

class state : public ::testing::Test {
protected:
  state() {
    std::string made = ::testing::TempDir() + "atoll-state-XXXXXX";
    EXPECT_NE(::mkdtemp(made.data()), nullptr);
    dir_ = made;
  }
  ~state() override { std::filesystem::remove_all(dir_); }

  static unsigned mode_of(const std::string& path) {
    struct stat about {};
    return ::stat(path.c_str(), &about) == 0 ? about.st_mode & 07777U : 0U;
  }

  std::string dir_;
};

TEST_F(state, private_files_are_private_and_whole) {
  const std::string path = dir_ + "/file";
  ASSERT_TRUE(write_private(path, "first").has_value());
  ASSERT_TRUE(write_private(path, "second").has_value());
  EXPECT_EQ(*read_text(path), "second");
  EXPECT_EQ(mode_of(path), 0600U);
  EXPECT_FALSE(std::filesystem::exists(path + ".new"));
  EXPECT_EQ(read_text(dir_ + "/none").error().code(), errc::not_found);
  EXPECT_TRUE(read_text(path, 5).has_error());
}

TEST_F(state, lives_grow_even_where_the_clock_went_back) {
  const auto first = begin_life(dir_);
  const auto second = begin_life(dir_);
  ASSERT_TRUE(first.has_value() && second.has_value());
  EXPECT_GT(second->value, first->value);
  ASSERT_TRUE(write_private(dir_ + "/life", "18000000000000000000\n").has_value());
  EXPECT_EQ(begin_life(dir_)->value, 18000000000000000001ULL);
  ASSERT_TRUE(write_private(dir_ + "/life", "nonsense").has_value());
  EXPECT_TRUE(begin_life(dir_).has_error());
}

TEST_F(state, one_process_holds_a_directory) {
  auto held = directory_lock::take(dir_);
  ASSERT_TRUE(held.has_value());
  const auto other = directory_lock::take(dir_);
  ASSERT_TRUE(other.has_error());
  EXPECT_EQ(other.error().code(), errc::unavailable);
  {
    const directory_lock moved = std::move(*held);
    EXPECT_TRUE(directory_lock::take(dir_).has_error());
  }
  EXPECT_TRUE(directory_lock::take(dir_).has_value());
}

TEST_F(state, a_directory_that_others_may_write_to_is_refused) {
  ASSERT_TRUE(make_state_dir(dir_ + "/a/b").has_value());
  EXPECT_EQ(mode_of(dir_ + "/a/b"), 0700U);
  ::chmod((dir_ + "/a/b").c_str(), 0777);
  EXPECT_TRUE(make_state_dir(dir_ + "/a/b").has_error());
}

TEST_F(state, a_node_card_comes_back_as_it_was) {
  node_card card;
  card.cluster = "c-1";
  card.node = node_id{7};
  card.name = "gpu-7";
  card.roles = {"attention", "expert"};
  card.server = "https://192.0.2.1:7400";
  card.control = "192.0.2.1:7401";
  card.coordinator = node_id{1};
  card.model = "0123";
  card.suspect_ms = 1000;
  EXPECT_EQ(read_node_card(dir_).error().code(), errc::not_found);
  ASSERT_TRUE(write_node_card(dir_, card).has_value());
  const auto back = read_node_card(dir_);
  ASSERT_TRUE(back.has_value());
  EXPECT_EQ(*back, card);
  EXPECT_TRUE(parse_node_card("{}", "f").has_error());
  EXPECT_TRUE(parse_node_card("[", "f").has_error());
}

TEST_F(state, init_makes_a_cluster_once) {
  init_options o;
  o.dir = dir_ + "/c";
  o.admin_key_out = dir_ + "/admin.key";
  ASSERT_TRUE(run_cluster_init(o).has_value());
  const auto card = read_cluster_card(o.dir);
  ASSERT_TRUE(card.has_value());
  EXPECT_EQ(mode_of(o.dir), 0700U);
  EXPECT_EQ(mode_of(o.dir + "/ca.key"), 0600U);
  EXPECT_EQ(mode_of(o.admin_key_out), 0600U);
  // What is stored is a hash, and it is that of the key that was given out.
  const auto secret = read_text(o.admin_key_out);
  const auto keys = serve::key_store::open(o.dir + "/keys");
  ASSERT_TRUE(secret.has_value() && keys.has_value());
  EXPECT_EQ(read_text(o.dir + "/keys")->find(secret->substr(0, 20)), std::string::npos);
  const auto found = (*keys)->find(secret->substr(0, secret->size() - 1));
  ASSERT_TRUE(found.has_value());
  EXPECT_TRUE(found->may(serve::scope::admin));

  init_options again = o;
  again.admin_key_out = dir_ + "/other.key";
  const auto refused = run_cluster_init(again);
  ASSERT_TRUE(refused.has_error());
  EXPECT_EQ(refused.error().code(), errc::invalid_argument);
  EXPECT_FALSE(std::filesystem::exists(again.admin_key_out));
  EXPECT_EQ(*read_cluster_card(o.dir), *card);
}

}  // namespace
}  // namespace atl::ops
