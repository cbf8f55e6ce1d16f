#include "common/metrics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace slmmesh {
namespace {

using testing::HasSubstr;

TEST(MetricsTest, SameNameAndLabelsAreTheSameMetric) {
  Metrics metrics;
  metrics.Counter("slmmesh_things_total", "things", {{"kind", "a"}}).Increment();
  metrics.Counter("slmmesh_things_total", "things", {{"kind", "a"}}).Increment();
  metrics.Counter("slmmesh_things_total", "things", {{"kind", "b"}}).Increment(5);
  metrics.Gauge("slmmesh_level", "level").Set(3);
  const std::string text = metrics.RenderText();
  EXPECT_THAT(text, HasSubstr("# TYPE slmmesh_things_total counter\n"));
  EXPECT_THAT(text, HasSubstr("slmmesh_things_total{kind=\"a\"} 2\n"));
  EXPECT_THAT(text, HasSubstr("slmmesh_things_total{kind=\"b\"} 5\n"));
  EXPECT_THAT(text, HasSubstr("slmmesh_level 3\n"));
}

TEST(MetricsTest, SecondsBucketsReachFromHalfAMillisecondToAMinute) {
  Metrics metrics;
  metrics.Histogram("slmmesh_wait_seconds", "wait").Observe(0.0004);
  metrics.Histogram("slmmesh_wait_seconds", "wait").Observe(59);
  metrics.Histogram("slmmesh_wait_seconds", "wait").Observe(61);
  const std::string text = metrics.RenderText();
  EXPECT_THAT(text, HasSubstr("slmmesh_wait_seconds_bucket{le=\"0.0005\"} 1\n"));
  EXPECT_THAT(text, HasSubstr("slmmesh_wait_seconds_bucket{le=\"60\"} 2\n"));
  EXPECT_THAT(text, HasSubstr("slmmesh_wait_seconds_bucket{le=\"+Inf\"} 3\n"));
}

}  // namespace
}  // namespace slmmesh
