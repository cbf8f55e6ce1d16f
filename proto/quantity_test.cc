#include "proto/quantity.h"

#include <gtest/gtest.h>

namespace slmmesh {
namespace {

TEST(Quantity, Good) {
  for (const char* text : {"0", "1", "+1", "500m", "0.5", ".5", "5.", "64Gi", "64G", "1e3", "1E3", "12e-3", "1e+06",
                           "3E", "7Ei", "100k", "1n", "1u"}) {
    EXPECT_TRUE(IsQuantity(text)) << text;
  }
}

TEST(Quantity, Bad) {
  for (const char* text : {"", "+", "-1", ".", "64GB", "64 Gi", "Gi", "1.2.3", "1e", "1e+", "1e3m", "1e1000", "0x10",
                           "1K", "1gi", " 1", "1 ", "two"}) {
    EXPECT_FALSE(IsQuantity(text)) << text;
  }
}

}  // namespace
}  // namespace slmmesh
