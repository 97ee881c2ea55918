#include "cluster/journal.hpp"
#include "tests/support/memory_disk.hpp"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace atl::cluster {
namespace {

using test::disk_operation;
using test::memory_disk;

constexpr const char* path = "/var/lib/atoll/journal";
constexpr const char* id = "cluster-1";
constexpr std::size_t header_bytes = 40 + 9;

journal_record record_of(const std::string& text) {
  const auto bytes = std::as_bytes(std::span{text});
  return {bytes.begin(), bytes.end()};
}

std::vector<std::string> texts(const std::vector<journal_record>& records) {
  std::vector<std::string> all;
  for (const auto& r : records) all.emplace_back(reinterpret_cast<const char*>(r.data()), r.size());
  return all;
}

using lines = std::vector<std::string>;

class journal_test : public testing::Test {
protected:
  journal::opened open() {
    auto opened = journal::open(disk_, path, id);
    EXPECT_TRUE(opened.has_value()) << opened.error().message();
    return std::move(*opened);
  }

  error refusal() {
    const auto opened = journal::open(disk_, path, id);
    return opened.has_error() ? opened.error() : error{};
  }

  lines reopened() { return texts(open().records); }

  /// A journal of these records.
  void make(const lines& records) {
    auto log = open().log;
    for (const auto& r : records) EXPECT_TRUE(log.append(record_of(r)).has_value());
  }

  std::shared_ptr<memory_disk> disk_ = std::make_shared<memory_disk>();
};

TEST_F(journal_test, returns_what_was_appended) {
  const lines records{"one", "", std::string(journal::record_bytes_max, 'x'), "four"};
  make(records);
  const auto again = open();
  EXPECT_EQ(texts(again.records), records);
  EXPECT_EQ(again.cut, "");
  EXPECT_EQ(reopened(), records);
}

TEST_F(journal_test, goes_on_where_it_was) {
  make({"one", "two"});
  auto log = open().log;
  EXPECT_TRUE(log.append(record_of("three")).has_value());
  EXPECT_EQ(reopened(), (lines{"one", "two", "three"}));
}

TEST_F(journal_test, has_the_layout_of_its_description) {
  make({"abc"});
  const std::string file = disk_->content(path);
  ASSERT_EQ(file.size(), header_bytes + 24 + 3);
  EXPECT_EQ(file.substr(0, 8), "ATOLJRNL");
  EXPECT_EQ(file.substr(16, 8), (std::string{"\1\0\0\0\x09\0\0\0", 8}));
  EXPECT_EQ(file.substr(24, 16), (std::string{"\x31\0\0\0\0\0\0\0\1\0\0\0\0\0\0\0", 16}));
  EXPECT_EQ(file.substr(40, 9), id);
  EXPECT_EQ(file.substr(header_bytes + 8, 8), (std::string{"\3\0\0\0\0\0\0\0", 8}));
  EXPECT_EQ(file.substr(header_bytes + 16, 8), (std::string{"\1\0\0\0\0\0\0\0", 8}));
  EXPECT_EQ(file.substr(header_bytes + 24), "abc");
}

TEST_F(journal_test, works_on_the_machines_own_disk) {
  std::string folder = testing::TempDir() + "atoll_journal.XXXXXX";
  ASSERT_NE(::mkdtemp(folder.data()), nullptr);
  const auto files = system_disk();
  {
    auto opened = journal::open(files, folder + "/j", id);
    ASSERT_TRUE(opened.has_value()) << opened.error().message();
    for (const char* r : {"one", "two"}) ASSERT_TRUE(opened->log.append(record_of(r)).has_value());
    ASSERT_TRUE(opened->log.compact(std::vector<journal_record>{record_of("both")}).has_value());
    ASSERT_TRUE(opened->log.append(record_of("three")).has_value());
  }
  std::filesystem::resize_file(folder + "/j", std::filesystem::file_size(folder + "/j") - 1);
  auto again = journal::open(files, folder + "/j", id);
  ASSERT_TRUE(again.has_value());
  EXPECT_EQ(texts(again->records), (lines{"both"}));
  EXPECT_NE(again->cut, "");
  ASSERT_TRUE(again->log.append(record_of("four")).has_value());
  EXPECT_EQ(texts(journal::open(files, folder + "/j", id)->records), (lines{"both", "four"}));
  std::filesystem::remove_all(folder);
}

TEST_F(journal_test, cuts_off_a_record_that_was_never_finished) {
  make({"one", "two", "three"});
  const std::string whole = disk_->content(path);
  const std::size_t last = whole.size() - 24 - 5;
  for (std::size_t size = last + 1; size < whole.size(); ++size) {
    disk_->set_content(path, whole.substr(0, size));
    {
      auto opened = open();
      EXPECT_EQ(texts(opened.records), (lines{"one", "two"}));
      EXPECT_EQ(opened.cut,
                std::string{path} + ": cut off " + std::to_string(size - last) +
                    " bytes of a record that was never finished, at byte " + std::to_string(last));
      EXPECT_EQ(disk_->content(path).size(), last);
      EXPECT_TRUE(opened.log.append(record_of("next")).has_value());
    }
    EXPECT_EQ(reopened(), (lines{"one", "two", "next"}));
  }
  disk_->set_content(path, whole.substr(0, last) + std::string(5000, '\0'));
  EXPECT_EQ(reopened(), (lines{"one", "two"}));
}

TEST_F(journal_test, tells_damage_from_a_torn_end_wherever_a_bit_flips) {
  make({"one", "two", "three"});
  const std::string whole = disk_->content(path);
  const std::size_t starts[] = {header_bytes, header_bytes + 27, header_bytes + 54};
  for (std::size_t at = 0; at < whole.size(); ++at) {
    for (int bit = 0; bit < 8; ++bit) {
      SCOPED_TRACE(testing::Message() << "byte " << at << " bit " << bit);
      std::string broken = whole;
      broken[at] = static_cast<char>(broken[at] ^ (1 << bit));
      disk_->set_content(path, broken);
      if (at >= starts[2]) {
        EXPECT_EQ(reopened(), (lines{"one", "two"}));
        continue;
      }
      const error refused = refusal();
      if (at < header_bytes) {
        EXPECT_NE(refused.message(), "");
        continue;
      }
      const std::size_t start = at < starts[1] ? starts[0] : starts[1];
      EXPECT_EQ(refused.code(), errc::io);
      EXPECT_EQ(refused.message(),
                std::string{path} + ": damaged at byte " + std::to_string(start) +
                    ": a broken record that is not the last; restore the file from a copy, or "
                    "move it away to begin without what it held");
      EXPECT_EQ(disk_->content(path), broken);
    }
  }
}

TEST_F(journal_test, a_missing_or_repeated_record_is_damage) {
  make({"one", "two", "three"});
  const std::string whole = disk_->content(path);
  const std::string first = whole.substr(0, header_bytes + 27);
  disk_->set_content(path, first + whole.substr(header_bytes + 54));
  EXPECT_NE(refusal().message().find("record 3 where 2 should be"), std::string::npos);
  disk_->set_content(path, first + whole.substr(header_bytes));
  EXPECT_NE(refusal().message().find("record 1 where 2 should be"), std::string::npos);
  // More than one record's worth of nothing cannot be one torn append.
  disk_->set_content(path, first + std::string(journal::record_bytes_max + 25, '\0'));
  EXPECT_NE(refusal().message().find("damaged at byte 76"), std::string::npos);
}

TEST_F(journal_test, refuses_what_is_no_journal_of_this_cluster) {
  make({"one"});
  const std::string whole = disk_->content(path);
  const auto other = journal::open(disk_, path, "cluster-2");
  ASSERT_TRUE(other.has_error());
  EXPECT_EQ(other.error().code(), errc::invalid_argument);
  EXPECT_EQ(other.error().message(),
            std::string{path} +
                ": is the journal of cluster 'cluster-1', not of 'cluster-2'; name another file");
  for (const std::size_t size : {0U, 7U, 39U, 48U}) {
    disk_->set_content(path, whole.substr(0, size));
    EXPECT_EQ(refusal().code(), errc::io) << size;
  }
  std::string later = whole;
  later[16] = 2;
  disk_->set_content(path, later);
  EXPECT_EQ(refusal().code(), errc::unsupported);
  disk_->set_fault(
      [](disk_operation what, const std::string&) { return what == disk_operation::read; });
  EXPECT_EQ(refusal().code(), errc::io);
  EXPECT_TRUE(journal::open(disk_, path, std::string(257, 'c')).has_error());
}

TEST_F(journal_test, refuses_a_record_that_is_too_long_and_goes_on) {
  auto log = open().log;
  const auto refused = log.append(journal_record(journal::record_bytes_max + 1));
  EXPECT_EQ(refused.error().code(), errc::invalid_argument);
  EXPECT_TRUE(log.append(record_of("one")).has_value());
  EXPECT_EQ(reopened(), lines{"one"});
}

TEST_F(journal_test, after_a_failed_append_it_refuses_until_opened_anew) {
  for (const auto failing : {disk_operation::write, disk_operation::sync}) {
    disk_ = std::make_shared<memory_disk>();
    make({"one"});
    auto log = open().log;
    disk_->set_fault([&](disk_operation what, const std::string&) { return what == failing; });
    EXPECT_EQ(log.append(record_of("two")).error().code(), errc::io);
    disk_->set_fault({});
    EXPECT_EQ(log.append(record_of("three")).error().message(),
              std::string{path} + ": an earlier write failed; open the journal anew");
    EXPECT_TRUE(log.compact({}).has_error());
    EXPECT_FALSE(log.should_compact());
    EXPECT_EQ(disk_->content(path).size(), header_bytes + 27);
    auto again = open();
    EXPECT_EQ(texts(again.records), lines{"one"});
    EXPECT_TRUE(again.log.append(record_of("four")).has_value());
    random_source random{1};
    disk_->crash(random);
    EXPECT_EQ(reopened(), (lines{"one", "four"}));
  }
}

TEST_F(journal_test, what_was_in_doubt_outlives_a_crash_once_it_is_settled) {
  make({"one"});
  auto log = open().log;
  disk_->set_fault([](test::disk_operation what, const std::string&) {
    return what == test::disk_operation::sync || what == test::disk_operation::truncate;
  });
  ASSERT_TRUE(log.append(record_of("two")).has_error());
  EXPECT_TRUE(log.is_in_doubt());
  disk_->set_fault({});
  auto again = open();
  EXPECT_EQ(texts(again.records), (lines{"one", "two"}));  // read, and on no disk
  ASSERT_TRUE(again.log.settle(again.records).has_value());
  ASSERT_TRUE(again.log.append(record_of("three")).has_value());
  random_source random{1};
  disk_->crash(random);
  EXPECT_EQ(reopened(), (lines{"one", "two", "three"}));
}

TEST_F(journal_test, a_full_disk_leaves_what_was_there) {
  make({"one"});
  disk_->set_capacity(disk_->content(path).size() + 10);
  auto log = open().log;
  const auto refused = log.append(record_of("two"));
  ASSERT_TRUE(refused.has_error());
  EXPECT_NE(refused.error().message().find("No space left"), std::string::npos);
  auto again = open();
  EXPECT_EQ(texts(again.records), lines{"one"});
  EXPECT_TRUE(again.log.compact(std::vector<journal_record>{record_of("snapshot")}).has_error());
  EXPECT_EQ(reopened(), lines{"one"});
  disk_->set_capacity(1 << 20);
  EXPECT_TRUE(again.log.append(record_of("two")).has_value());  // compaction did not break it
  EXPECT_EQ(reopened(), (lines{"one", "two"}));
}

TEST_F(journal_test, asks_for_compaction_at_four_times_the_snapshot) {
  auto log = open().log;
  const journal_record block(64 << 10);
  for (int i = 0; i < 4; ++i) {
    EXPECT_FALSE(log.should_compact());
    ASSERT_TRUE(log.append(block).has_value());
  }
  EXPECT_TRUE(log.should_compact());
  ASSERT_TRUE(log.compact(std::vector(2, block)).has_value());  // 128 KiB and a little
  for (int i = 0; i < 6; ++i) {
    EXPECT_FALSE(log.should_compact());
    ASSERT_TRUE(log.append(block).has_value());
  }
  EXPECT_FALSE(log.should_compact());
  auto again = open();
  EXPECT_FALSE(again.log.should_compact());  // the size of the snapshot is in the file
  ASSERT_TRUE(again.log.append(record_of("more")).has_value());
  EXPECT_EQ(again.records.size(), 8U);
  ASSERT_TRUE(again.log.append(block).has_value());
  EXPECT_TRUE(again.log.should_compact());
}

TEST_F(journal_test, compaction_replaces_everything) {
  make({"one", "two"});
  auto log = open().log;
  ASSERT_TRUE(log.compact(std::vector{record_of("both"), record_of("")}).has_value());
  EXPECT_EQ(reopened(), (lines{"both", ""}));
  ASSERT_TRUE(log.append(record_of("three")).has_value());
  EXPECT_EQ(reopened(), (lines{"both", "", "three"}));
  const auto refused =
      log.compact(std::vector<journal_record>{journal_record(journal::record_bytes_max + 1)});
  EXPECT_EQ(refused.error().code(), errc::invalid_argument);
  EXPECT_EQ(reopened(), (lines{"both", "", "three"}));
}

TEST_F(journal_test, compaction_that_fails_anywhere_leaves_the_old_or_the_new) {
  using enum disk_operation;
  for (const auto failing : {create, write, sync, rename, sync_folder, append}) {
    for (std::uint64_t seed = 0; seed < 8; ++seed) {
      SCOPED_TRACE(testing::Message() << static_cast<int>(failing) << " seed " << seed);
      disk_ = std::make_shared<memory_disk>();
      make({"one", "two"});
      auto log = open().log;
      disk_->set_fault([&](disk_operation what, const std::string&) { return what == failing; });
      EXPECT_TRUE(log.compact(std::vector<journal_record>{record_of("both")}).has_error());
      disk_->set_fault({});
      lines acknowledged;
      if (log.append(record_of("three")).has_value()) acknowledged = {"one", "two", "three"};
      EXPECT_EQ(acknowledged.empty(), failing != create && failing != write);
      random_source random{seed};
      if (seed % 2 == 0) disk_->crash(random);
      const lines found = reopened();
      if (acknowledged.empty())
        EXPECT_TRUE(found == (lines{"one", "two"}) || found == lines{"both"});
      else
        EXPECT_EQ(found, acknowledged);
    }
  }
}

TEST_F(journal_test, a_crash_while_it_is_made_leaves_none_or_an_empty_one) {
  for (std::uint64_t seed = 0; seed < 8; ++seed) {
    disk_ = std::make_shared<memory_disk>();
    disk_->set_fault([](disk_operation what, const std::string&) {
      return what == disk_operation::sync_folder;
    });
    EXPECT_TRUE(journal::open(disk_, path, id).has_error());
    disk_->set_fault({});
    random_source random{seed};
    disk_->crash(random);
    EXPECT_EQ(reopened(), lines{});
  }
}

/// Single failures of the disk, and deaths of the machine at any operation.
TEST_F(journal_test, random_crashes_and_faults_lose_nothing_acknowledged) {
  std::size_t cuts = 0;
  for (std::uint64_t seed = 1; seed <= 300; ++seed) {
    SCOPED_TRACE(seed);
    random_source random{seed};
    disk_ = std::make_shared<memory_disk>();
    lines acknowledged;
    std::optional<lines> under_way;  // what may be there instead
    for (int life = 0; life < 6; ++life) {
      auto opened = open();
      if (under_way && texts(opened.records) == *under_way) acknowledged = *under_way;
      under_way.reset();
      ASSERT_EQ(texts(opened.records), acknowledged);
      cuts += opened.cut.empty() ? 0 : 1;

      const bool machine_dies = random.below(2) == 0;
      const std::uint64_t faults_one_in = 5 + random.below(40);
      bool is_dead = false;
      disk_->set_fault([&](disk_operation what, const std::string&) {
        if (is_dead) return true;
        const bool fails = what != disk_operation::truncate && random.below(faults_one_in) == 0;
        is_dead = machine_dies && fails;
        return fails;
      });
      for (std::uint64_t i = random.below(20); i > 0 && !under_way; --i) {
        const bool compacts = random.below(8) == 0;
        const std::string text(random.below(3000), static_cast<char>('a' + random.below(26)));
        lines next = compacts ? lines{} : acknowledged;
        next.push_back(text);
        const auto done = compacts
                              ? opened.log.compact(std::vector<journal_record>{record_of(text)})
                              : opened.log.append(record_of(text));
        if (done.has_value())
          acknowledged = next;
        else
          under_way = next;
      }
      disk_->set_fault({});
      if (machine_dies || random.below(3) == 0) disk_->crash(random);
    }
  }
  EXPECT_GT(cuts, 20U);
}

}  // namespace
}  // namespace atl::cluster
