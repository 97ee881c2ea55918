#include "runtime/base/disk.hpp"

#include <gtest/gtest.h>

#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <string>
#include <sys/stat.h>
#include <unistd.h>

namespace atl {
namespace {

std::span<const std::byte> bytes(const std::string& text) { return std::as_bytes(std::span{text}); }

class disk_test : public testing::Test {
protected:
  disk_test() {
    std::string name = testing::TempDir() + "atoll_disk.XXXXXX";
    if (::mkdtemp(name.data()) != nullptr) folder_ = name;
  }
  ~disk_test() override { std::filesystem::remove_all(folder_); }

  std::string at(const std::string& name) const { return folder_ + "/" + name; }

  std::size_t entries() const {
    const auto names = files_->list(folder_);
    return names.has_value() ? names->size() : 0;
  }

  std::string content(const std::string& name) const {
    auto text = files_->read(at(name), 1 << 20);
    return text.has_value() ? *text : text.error().message();
  }

  std::string folder_;
  std::shared_ptr<disk> files_ = system_disk();
};

TEST_F(disk_test, a_file_appears_whole_at_commit) {
  std::ofstream{at("out")} << "before";
  auto file = files_->create(at("out"));
  ASSERT_TRUE(file.has_value());
  ASSERT_TRUE((*file)->write(bytes("after")).has_value());
  EXPECT_EQ(content("out"), "before");
  ASSERT_TRUE((*file)->commit().has_value());
  EXPECT_EQ(content("out"), "after");
  EXPECT_EQ(entries(), 1);
}

TEST_F(disk_test, without_commit_nothing_is_left) {
  {
    auto file = files_->create(at("out"));
    ASSERT_TRUE(file.has_value());
    ASSERT_TRUE((*file)->write(bytes("half")).has_value());
  }
  EXPECT_EQ(entries(), 0);
}

TEST_F(disk_test, a_full_device_is_an_error_and_keeps_its_place) {
  // A link of our own stands before the machine's device, so that no mistake can replace that.
  std::filesystem::create_symlink("/dev/full", at("full"));
  auto file = files_->create(at("full"));
  ASSERT_TRUE(file.has_value());
  const auto written = (*file)->write(bytes("more than it holds"));
  ASSERT_TRUE(written.has_error());
  EXPECT_EQ(written.error().code(), errc::io);
  EXPECT_NE(written.error().message().find("No space left"), std::string::npos);
  file->reset();
  EXPECT_TRUE(std::filesystem::is_symlink(at("full")));
  EXPECT_TRUE(std::filesystem::is_character_file(at("full")));
}

TEST_F(disk_test, a_link_stays_and_its_file_changes) {
  std::ofstream{at("real")} << "before";
  std::filesystem::create_symlink("real", at("link"));
  auto file = files_->create(at("link"));
  ASSERT_TRUE(file.has_value());
  ASSERT_TRUE((*file)->write(bytes("after")).has_value());
  ASSERT_TRUE((*file)->commit().has_value());
  EXPECT_TRUE(std::filesystem::is_symlink(at("link")));
  EXPECT_EQ(content("real"), "after");
}

TEST_F(disk_test, a_link_to_what_is_not_there_yet_stays_and_its_file_appears) {
  std::filesystem::create_symlink("second", at("first"));
  std::filesystem::create_symlink(at("real"), at("second"));
  auto file = files_->create(at("first"));
  ASSERT_TRUE(file.has_value());
  ASSERT_TRUE((*file)->write(bytes("new")).has_value());
  ASSERT_TRUE((*file)->commit().has_value());
  EXPECT_TRUE(std::filesystem::is_symlink(at("first")));
  EXPECT_TRUE(std::filesystem::is_symlink(at("second")));
  EXPECT_EQ(content("real"), "new");
  EXPECT_EQ(entries(), 3);
}

TEST_F(disk_test, a_private_file_stays_private) {
  std::ofstream{at("out")} << "before";
  ASSERT_EQ(::chmod(at("out").c_str(), 0600), 0);
  auto file = files_->create(at("out"));
  ASSERT_TRUE(file.has_value());
  ASSERT_TRUE((*file)->write(bytes("after")).has_value());
  ASSERT_TRUE((*file)->commit().has_value());
  struct stat info {};
  ASSERT_EQ(::stat(at("out").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600U);
  EXPECT_EQ(content("out"), "after");
}

TEST_F(disk_test, a_pipe_is_written_to_and_keeps_its_place) {
  ASSERT_EQ(::mkfifo(at("pipe").c_str(), 0600), 0);
  const int reader = ::open(at("pipe").c_str(), O_RDONLY | O_NONBLOCK);
  ASSERT_GE(reader, 0);
  auto file = files_->create(at("pipe"));
  ASSERT_TRUE(file.has_value());
  ASSERT_TRUE((*file)->write(bytes("through")).has_value());
  ASSERT_TRUE((*file)->commit().has_value());
  char text[16];
  EXPECT_EQ(::read(reader, text, sizeof text), 7);
  ::close(reader);
  EXPECT_TRUE(std::filesystem::is_fifo(at("pipe")));
  EXPECT_EQ(entries(), 1);
}

TEST_F(disk_test, a_pipe_is_not_mapped_nor_waited_for) {
  ASSERT_EQ(::mkfifo(at("pipe").c_str(), 0600), 0);
  const auto mapped = files_->map(at("pipe"));
  ASSERT_TRUE(mapped.has_error());
  EXPECT_EQ(mapped.error().message(), at("pipe") + ": is not a regular file");
  EXPECT_TRUE(read_through(at("pipe"), 4096).has_error());
  EXPECT_EQ(files_->map(folder_).error().message(), folder_ + ": is a directory, expected a file");
}

TEST_F(disk_test, reading_through_counts_every_byte) {
  std::ofstream{at("some")} << std::string(10000, 'x');
  std::ofstream{at("none")};
  EXPECT_EQ(read_through(at("some"), 4096).value(), 10000U);
  EXPECT_EQ(read_through(at("some"), 1 << 20).value(), 10000U);
  EXPECT_EQ(read_through(at("none"), 4096).value(), 0U);
  EXPECT_EQ(read_through(at("missing"), 4096).error().code(), errc::not_found);
}

TEST_F(disk_test, a_directory_is_refused_before_anything_is_written) {
  const auto file = files_->create(folder_);
  ASSERT_TRUE(file.has_error());
  EXPECT_EQ(file.error().code(), errc::invalid_argument);
  EXPECT_NE(file.error().message().find("is a directory"), std::string::npos);
  EXPECT_EQ(entries(), 0);
}

TEST_F(disk_test, an_appender_grows_and_shortens_a_file_that_is_there) {
  std::ofstream{at("log")} << "ab";
  auto log = files_->append(at("log"));
  ASSERT_TRUE(log.has_value());
  EXPECT_EQ((*log)->size(), 2U);
  ASSERT_TRUE((*log)->write(bytes("cde")).has_value());
  ASSERT_TRUE((*log)->sync().has_value());
  EXPECT_EQ((*log)->size(), 5U);
  EXPECT_EQ(content("log"), "abcde");
  ASSERT_TRUE((*log)->truncate(1).has_value());
  ASSERT_TRUE((*log)->write(bytes("z")).has_value());
  EXPECT_EQ((*log)->size(), 2U);
  EXPECT_EQ(content("log"), "az");
}

TEST_F(disk_test, an_appender_makes_no_file_and_takes_no_device) {
  EXPECT_EQ(files_->append(at("none")).error().code(), errc::not_found);
  EXPECT_EQ(entries(), 0);
  EXPECT_EQ(files_->append("/dev/null").error().code(), errc::io);
  EXPECT_EQ(files_->append(folder_).error().code(), errc::io);
}

}  // namespace
}  // namespace atl
