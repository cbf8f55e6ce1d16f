#include "tests/golden/oracle.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

namespace slmmesh {
namespace {

const char* const kModels = MESH_SOURCE_DIR "/tests/golden/models";

std::ifstream OpenFile(const std::string& path) {
  std::ifstream file;
  file.exceptions(std::ios::failbit | std::ios::badbit);
  file.open(path, std::ios::binary);
  return file;
}

}  // namespace

std::string GoldenModelPath(const std::string& name) { return std::string(kModels) + "/" + name; }

std::vector<std::string> GoldenModelNames() {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(kModels)) names.push_back(entry.path().filename());
  std::sort(names.begin(), names.end());
  return names;
}

std::vector<OracleSequence> ReadOracle(const std::string& model_name) {
  const std::string folder = GoldenModelPath(model_name);
  std::ifstream text = OpenFile(folder + "/oracle.json");
  std::ifstream binary = OpenFile(folder + "/oracle.f32");
  std::ifstream config = OpenFile(folder + "/config.json");
  const size_t vocab_size = nlohmann::json::parse(config).at("vocab_size");
  std::vector<OracleSequence> sequences;
  const nlohmann::json described = nlohmann::json::parse(text);
  for (const nlohmann::json& json : described.at("sequences")) {
    OracleSequence sequence;
    json.at("prompt").get_to(sequence.prompt);
    json.at("greedy").get_to(sequence.greedy);
    json.at("rows").get_to(sequence.rows);
    json.at("max_model_len").get_to(sequence.max_model_len);
    sequence.logits.resize(sequence.rows.size() * vocab_size);
    binary.read(reinterpret_cast<char*>(sequence.logits.data()),
                static_cast<std::streamsize>(sequence.logits.size() * sizeof(float)));
    sequence.logit_deviation = StandardDeviation(sequence.logits);
    sequences.push_back(std::move(sequence));
  }
  return sequences;
}

double StandardDeviation(const std::vector<float>& values) {
  double sum = 0.0;
  double squares = 0.0;
  for (const float value : values) {
    sum += value;
    squares += static_cast<double>(value) * value;
  }
  const double mean = sum / static_cast<double>(values.size());
  return std::sqrt(squares / static_cast<double>(values.size()) - mean * mean);
}

}  // namespace slmmesh
