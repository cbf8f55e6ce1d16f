// JSON values as YAML text that every YAML reader types the same: what is a string stays one ("2", "on").
#pragma once

#include <string>

#include "nlohmann/json.hpp"

namespace slmmesh {

// Block style, keys in their order; ends in a newline.
std::string WriteYaml(const nlohmann::ordered_json& value);

}  // namespace slmmesh
