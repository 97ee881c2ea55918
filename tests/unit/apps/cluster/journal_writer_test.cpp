#include "apps/cluster/journal_writer.hpp"
#include "tests/support/memory_disk.hpp"

#include <gtest/gtest.h>

#include <filesystem>
#include <future>
#include <thread>

namespace atl::ops {
namespace {

class journal_thread : public ::testing::Test {
protected:
  journal_thread() {
    std::string made = ::testing::TempDir() + "atoll-journal-XXXXXX";
    EXPECT_NE(::mkdtemp(made.data()), nullptr);
    dir_ = made;
  }
  ~journal_thread() override { std::filesystem::remove_all(dir_); }

  journal_writer::opened open() {
    auto opened = journal_writer::open(system_disk(), dir_ + "/journal", "c-1");
    EXPECT_TRUE(opened.has_value());
    return std::move(*opened);
  }

  static result<void> append(journal_writer& to, std::vector<std::string> records) {
    std::promise<result<void>> done;
    to.append(std::move(records), [&done](result<void> r) { done.set_value(std::move(r)); });
    return done.get_future().get();
  }

  static std::string node_record(std::uint32_t node, const std::string& name) {
    cluster::node_record n;
    n.node = node_id{node};
    n.name = name;
    n.roles = 8;
    return cluster::to_record(n);
  }

  std::string dir_;
};

TEST_F(journal_thread, what_was_told_to_be_durable_is_there_again) {
  {
    auto first = open();
    EXPECT_TRUE(first.restored.nodes.empty());
    ASSERT_TRUE(append(*first.writer, {node_record(2, "a"), node_record(3, "b")}).has_value());
    ASSERT_TRUE(append(*first.writer, {node_record(2, "c")}).has_value());
  }
  const auto again = open();
  EXPECT_EQ(again.restored.nodes.at(node_id{2}).name, "c");
  EXPECT_EQ(again.restored.nodes.at(node_id{3}).name, "b");
}

TEST_F(journal_thread, compacting_keeps_the_order_with_what_comes_after_it) {
  {
    auto first = open();
    const std::string name(4000, 'n');
    for (int i = 0; i < 100; ++i)
      ASSERT_TRUE(append(*first.writer, {node_record(2, name + std::to_string(i))}).has_value());
    EXPECT_TRUE(first.writer->should_compact());
    const auto before = std::filesystem::file_size(dir_ + "/journal");
    first.writer->compact({node_record(2, "kept")});
    ASSERT_TRUE(append(*first.writer, {node_record(3, "after")}).has_value());
    first.writer->wait_idle();
    EXPECT_FALSE(first.writer->should_compact());
    EXPECT_LT(std::filesystem::file_size(dir_ + "/journal"), before / 4);
  }
  const auto again = open();
  EXPECT_EQ(again.restored.nodes.at(node_id{2}).name, "kept");
  EXPECT_EQ(again.restored.nodes.at(node_id{3}).name, "after");
}

TEST_F(journal_thread, a_record_that_cannot_be_written_is_told_and_the_next_is_taken) {
  auto opened = open();
  const std::string too_long(cluster::journal::record_bytes_max + 1, 'x');
  EXPECT_TRUE(append(*opened.writer, {too_long}).has_error());
  EXPECT_TRUE(append(*opened.writer, {node_record(4, "d")}).has_value());
  opened.writer.reset();
  EXPECT_EQ(open().restored.nodes.size(), 1U);
}

/// A journal on a disk that fills up behind it.
class full_disk : public journal_thread {
protected:
  full_disk() {
    writer_ = std::move(journal_writer::open(files_, "d/journal", "c-1")->writer);
    writer_->wait_idle();
    used_ = files_->content("d/journal").size() + files_->content("d/journal.spare").size();
  }
  void fill() { files_->set_capacity(used_); }

  std::shared_ptr<test::memory_disk> files_ = std::make_shared<test::memory_disk>();
  std::unique_ptr<journal_writer> writer_;
  std::uint64_t used_ = 0;
};

TEST_F(full_disk, what_was_decided_is_written_in_the_spare_room_and_nothing_new_is_asked_for) {
  EXPECT_FALSE(writer_->trouble());
  fill();
  EXPECT_TRUE(append(*writer_, {node_record(2, "a"), node_record(3, "b")}).has_value());
  writer_->wait_idle();
  ASSERT_TRUE(writer_->trouble());
  EXPECT_NE(writer_->trouble()->message().find("d/journal"), std::string::npos);
  EXPECT_TRUE(append(*writer_, {node_record(4, "c")}).has_value());
  writer_->look();
  writer_->wait_idle();
  EXPECT_TRUE(writer_->trouble());

  files_->set_capacity(1 << 20);
  writer_->look();
  writer_->wait_idle();
  EXPECT_FALSE(writer_->trouble());
  EXPECT_TRUE(append(*writer_, {node_record(5, "d")}).has_value());
  writer_.reset();
  const auto again = journal_writer::open(files_, "d/journal", "c-1");
  ASSERT_TRUE(again.has_value());
  EXPECT_EQ(again->restored.nodes.size(), 4U);
}

TEST_F(full_disk, beyond_the_spare_room_a_record_is_refused_and_later_taken) {
  fill();
  const std::string large = node_record(2, std::string(100'000, 'n'));
  EXPECT_TRUE(append(*writer_, {large}).has_error());
  EXPECT_TRUE(writer_->trouble());
  files_->set_capacity(1 << 20);
  EXPECT_TRUE(append(*writer_, {large}).has_value());
  writer_->wait_idle();
  EXPECT_FALSE(writer_->trouble());
}

TEST_F(journal_thread, after_its_close_records_are_refused_at_once) {
  auto opened = open();
  std::size_t answers = 0;
  for (std::uint32_t i = 2; i < 5; ++i)
    opened.writer->append({node_record(i, "n")}, [&](const result<void>& r) {
      EXPECT_TRUE(r.has_value());
      ++answers;
    });
  opened.writer->close();
  EXPECT_EQ(answers, 3U);
  const auto here = std::this_thread::get_id();
  opened.writer->append({node_record(9, "late")}, [&](const result<void>& r) {
    EXPECT_EQ(r.error().code(), errc::cancelled);
    EXPECT_EQ(std::this_thread::get_id(), here);
    ++answers;
  });
  EXPECT_EQ(answers, 4U);
  opened.writer.reset();
  EXPECT_EQ(open().restored.nodes.count(node_id{9}), 0U);
}

TEST_F(journal_thread, another_clusters_journal_is_refused) {
  open();
  EXPECT_TRUE(journal_writer::open(system_disk(), dir_ + "/journal", "c-2").has_error());
}

}  // namespace
}  // namespace atl::ops
