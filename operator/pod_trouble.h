// Why a pod does not run, in plain words.
#pragma once

#include <string>

#include "nlohmann/json_fwd.hpp"

namespace slmmesh {

// Of a pod of the API server; empty: it runs, or it is too early to say. One sentence, at most 300 bytes, that stays
// the same while the reason does.
std::string PodTrouble(const nlohmann::json& pod);

}  // namespace slmmesh
