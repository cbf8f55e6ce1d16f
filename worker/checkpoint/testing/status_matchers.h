// gtest on Status: what failed, and that the message names what it must.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace slmmesh {

inline const absl::Status& StatusOf(const absl::Status& status) { return status; }
template <typename T>
const absl::Status& StatusOf(const absl::StatusOr<T>& status) {
  return status.status();
}

}  // namespace slmmesh

#define ASSERT_OK(expression)                                                       \
  do {                                                                              \
    const auto& result_ = (expression);                                             \
    ASSERT_TRUE(::slmmesh::StatusOf(result_).ok()) << ::slmmesh::StatusOf(result_); \
  } while (false)

// INVALID_ARGUMENT with every one of the substrings in its message.
#define EXPECT_REFUSED(expression, ...)                                         \
  do {                                                                          \
    const auto& result_ = (expression);                                         \
    const absl::Status& status_ = ::slmmesh::StatusOf(result_);                 \
    EXPECT_EQ(status_.code(), absl::StatusCode::kInvalidArgument) << status_;   \
    for (const std::string& part_ : std::vector<std::string>{__VA_ARGS__}) {    \
      EXPECT_THAT(std::string(status_.message()), ::testing::HasSubstr(part_)); \
    }                                                                           \
  } while (false)
