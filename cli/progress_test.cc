#include "cli/progress.h"

#include <gmock/gmock.h>
#include <google/protobuf/text_format.h>
#include <gtest/gtest.h>

namespace slmmesh {
namespace {

using ::testing::HasSubstr;

v1::ClusterTable Table(const std::string& text) {
  v1::ClusterTable table;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &table));
  return table;
}

TEST(Progress, ALineSaysWhatEachWorkerDoes) {
  const auto table = Table(R"(
    members { offer { worker_id: "cpu-0" } status { phase: WORKER_PHASE_LOADING load_fraction: 0.25 } }
    members { offer { worker_id: "cpu-1" } status { phase: WORKER_PHASE_IDLE } })");
  EXPECT_EQ(ProgressLine(table, 4), "workers 2/4 · cpu-0 loading 25 % · cpu-1 idle");
  EXPECT_FALSE(IsRoutable(table));
}

TEST(Progress, OnlyARoutersWordMakesAMeshRoutable) {
  EXPECT_FALSE(IsRoutable(Table("groups { group_id: \"g\" state: GROUP_STATE_READY } routers { router_id: \"r\" }")));
  EXPECT_TRUE(IsRoutable(Table("routers { router_id: \"r\" routable { group_id: \"g\" epoch: 1 } }")));
}

TEST(Progress, AFailedWorkersReasonIsFound) {
  EXPECT_EQ(FirstFailure(Table(R"(members { offer { worker_id: "cpu-0" }
                                 status { phase: WORKER_PHASE_FAILED message: "not enough memory" } })")),
            "cpu-0: not enough memory");
}

TEST(Progress, StatusShowsProcessesGroupsAndRouters) {
  MeshState state;
  state.cluster = "demo";
  state.processes = {{"head", 10, 0}, {"cpu-0", 11, 2}, {"cpu-1", 0, 0}};
  const std::string text = StatusTables(state, Table(R"(
    members { offer { worker_id: "cpu-0" }
              status { phase: WORKER_PHASE_SERVING seat { group_id: "cpu-g0" epoch: 3 rank: 0 size: 2 } } }
    groups { group_id: "cpu-g0" epoch: 3 state: GROUP_STATE_READY worker_ids: "cpu-0" worker_ids: "cpu-1"
             load { running: 5 waiting: 1 kv_blocks_used: 7 kv_blocks_total: 90 } }
    routers { router_id: "router-0" http_endpoint: "127.0.0.1:8080" routable { group_id: "cpu-g0" } })"));
  EXPECT_THAT(text, HasSubstr("cpu-0     11    2          serving   cpu-g0   0/2"));
  EXPECT_THAT(text, HasSubstr("cpu-1     -     0          stopped"));
  EXPECT_THAT(text, HasSubstr("cpu-g0   ready   3       cpu-0,cpu-1   5         1         7/90"));
  EXPECT_THAT(text, HasSubstr("router-0   127.0.0.1:8080"));
}

}  // namespace
}  // namespace slmmesh
