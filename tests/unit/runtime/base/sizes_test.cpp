#include "runtime/base/sizes.hpp"

#include <gtest/gtest.h>

namespace atl {
namespace {

TEST(human_size, tells_three_digits_in_the_unit_that_fits) {
  EXPECT_EQ(human_size(0), "0 bytes");
  EXPECT_EQ(human_size(1023), "1023 bytes");
  EXPECT_EQ(human_size(1024), "1.0 KiB");
  EXPECT_EQ(human_size(std::size_t{3} << 19), "1.5 MiB");
  EXPECT_EQ(human_size(std::size_t{300} << 20), "300 MiB");
  EXPECT_EQ(human_size((std::size_t{24} << 30) + (std::size_t{300} << 20)), "24.3 GiB");
  EXPECT_EQ(human_size(std::size_t{5000} << 40), "5000 TiB");
}

}  // namespace
}  // namespace atl
