#include "operator/kube/api_path.h"

#include <gtest/gtest.h>

#include "operator/kube/api_error.h"
#include "operator/kube/rate_limiter.h"

namespace slmmesh::kube {
namespace {

TEST(ApiPathTest, PlacesObjects) {
  using namespace resources;
  EXPECT_EQ(CollectionPath(kPods, ""), "/api/v1/pods");
  EXPECT_EQ(CollectionPath(kNodes, "ignored"), "/api/v1/nodes");
  EXPECT_EQ(ObjectPath({kPods, "a", "b", "status"}), "/api/v1/namespaces/a/pods/b/status");
  EXPECT_EQ(ObjectPath({kLeases, "a", "b", ""}), "/apis/coordination.k8s.io/v1/namespaces/a/leases/b");
  EXPECT_EQ(CreatePath({kPods, "a", "b", ""}), "/api/v1/namespaces/a/pods");
  EXPECT_EQ(CreatePath({kPods, "a", "b", "eviction"}), "/api/v1/namespaces/a/pods/b/eviction");
  EXPECT_EQ(ObjectPath({kPods, "../x", "a b/c", ""}), "/api/v1/namespaces/..%2Fx/pods/a%20b%2Fc");
  EXPECT_EQ(WithQuery("/p", {{"a", "x=y,z"}, {"b", ""}, {"c", "1"}}), "/p?a=x%3Dy%2Cz&c=1");
}

TEST(ApiErrorTest, CodesFollowHttpStatusAndReason) {
  const auto code = [](int http, const char* body) { return ErrorOfResponse(http, body, "get pods a/b").code(); };
  EXPECT_EQ(code(400, ""), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code(401, ""), absl::StatusCode::kUnauthenticated);
  EXPECT_EQ(code(403, ""), absl::StatusCode::kPermissionDenied);
  EXPECT_EQ(code(404, ""), absl::StatusCode::kNotFound);
  EXPECT_EQ(code(409, R"({"reason":"Conflict","message":"m"})"), absl::StatusCode::kAborted);
  EXPECT_EQ(code(409, R"({"reason":"AlreadyExists","message":"m"})"), absl::StatusCode::kAlreadyExists);
  EXPECT_EQ(code(410, ""), absl::StatusCode::kOutOfRange);
  EXPECT_EQ(code(422, ""), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code(429, ""), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(code(500, ""), absl::StatusCode::kUnavailable);
  EXPECT_EQ(code(503, "<html>"), absl::StatusCode::kUnavailable);
  EXPECT_EQ(code(302, ""), absl::StatusCode::kUnavailable);
  EXPECT_EQ(ErrorOfResponse(404, R"({"message":"no such pod"})", "get pods a/b").message(),
            "get pods a/b: no such pod");
  EXPECT_EQ(ErrorOfResponse(502, "<html>", "get pods a/b").message(), "get pods a/b: HTTP status 502");
}

TEST(RateLimiterTest, LendsABurstAndThenWaits) {
  RateLimiter limiter(10, 2);
  absl::Time now = absl::UnixEpoch();
  EXPECT_EQ(limiter.Reserve(now), absl::ZeroDuration());
  EXPECT_EQ(limiter.Reserve(now), absl::ZeroDuration());
  EXPECT_EQ(limiter.Reserve(now), absl::Milliseconds(100));
  EXPECT_EQ(limiter.Reserve(now), absl::Milliseconds(200));
  EXPECT_FALSE(limiter.TryTake(now));
  now += absl::Hours(1);
  EXPECT_TRUE(limiter.TryTake(now));
  EXPECT_TRUE(limiter.TryTake(now));
  EXPECT_FALSE(limiter.TryTake(now)) << "no more than the burst is saved up";
}

}  // namespace
}  // namespace slmmesh::kube
