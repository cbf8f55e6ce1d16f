// What a person sees of a mesh: the line of `mesh up` while it starts, the tables of `mesh status`. Pure functions.
#pragma once

#include <string>

#include "cli/run_folder.h"
#include "slmmesh/v1/head.pb.h"

namespace slmmesh {

// Some router can send requests to a group that serves.
bool IsRoutable(const v1::ClusterTable& table);

// One line: "workers 2/2 · cpu-0 loading 43 % · cpu-1 loading 40 %".
std::string ProgressLine(const v1::ClusterTable& table, size_t expected_workers);

// The first worker that says why it cannot serve; empty: none does.
std::string FirstFailure(const v1::ClusterTable& table);

// Processes, groups with epochs and load, routers.
std::string StatusTables(const MeshState& state, const v1::ClusterTable& table);

}  // namespace slmmesh
