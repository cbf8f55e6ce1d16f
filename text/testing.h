// What this folder's tests share: its testdata.
#pragma once

#include <fstream>
#include <memory>
#include <sstream>
#include <string>

#include "nlohmann/json.hpp"
#include "text/text.h"

namespace slmmesh::text {

using Json = nlohmann::ordered_json;  // the order of keys is part of a prompt

inline std::string ReadTestdata(const std::string& name) {
  std::ifstream file(std::string(MESH_SOURCE_DIR) + "/text/testdata/" + name);
  std::ostringstream content;
  content << file.rdbuf();
  return content.str();
}

inline Json ReadJson(const std::string& name) { return Json::parse(ReadTestdata(name)); }

// One of generate.py's: byte_level, legacy, metaspace.
inline std::shared_ptr<const Tokenizer> LoadTokenizer(const std::string& name) {
  return Tokenizer::Create(ReadTestdata(name + ".json")).value();
}

}  // namespace slmmesh::text
