#include "worker/checkpoint/rope_json.h"

#include <optional>
#include <string>

#include "absl/strings/str_cat.h"
#include "common/status.h"

namespace slmmesh {
namespace {

constexpr double kMaxFactor = 1e6;

absl::StatusOr<RopeType> ReadRopeType(const JsonFields& rope) {
  const char* const name = rope.Has("rope_type") ? "rope_type" : "type";
  ASSIGN_OR_RETURN(const std::string type, rope.StringOr(name, "default"));
  if (type == "default") return RopeType::kDefault;
  if (type == "linear") return RopeType::kLinear;
  if (type == "dynamic") return RopeType::kDynamic;
  if (type == "llama3") return RopeType::kLlama3;
  if (type == "yarn") return RopeType::kYarn;
  return rope.Error(name, "one of default, linear, dynamic, llama3, yarn");
}

// Where llama3 and yarn were trained: a field of the model wins over the rope's own, as in transformers.
absl::StatusOr<int64_t> ReadOriginalMaxPositions(const JsonFields& fields, const JsonFields& rope,
                                                 int64_t max_positions) {
  constexpr const char* kName = "original_max_position_embeddings";
  return fields.Has(kName) ? fields.Integer(kName, 1, kMaxPositions)
                           : rope.IntegerOr(kName, max_positions, 1, kMaxPositions);
}

absl::Status ReadLlama3(const JsonFields& rope, RopeConfig& config) {
  ASSIGN_OR_RETURN(config.low_freq_factor, rope.Number("low_freq_factor", 1e-6, kMaxFactor));
  ASSIGN_OR_RETURN(config.high_freq_factor, rope.Number("high_freq_factor", 1e-6, kMaxFactor));
  if (config.high_freq_factor <= config.low_freq_factor) {
    return rope.Error("high_freq_factor", absl::StrCat("more than low_freq_factor, ", config.low_freq_factor));
  }
  return absl::OkStatus();
}

absl::Status ReadYarn(const JsonFields& rope, RopeConfig& config) {
  // Zero means the default, as Python's `or` has it.
  ASSIGN_OR_RETURN(const double beta_fast, rope.NumberOr("beta_fast", 0, 0, kMaxFactor));
  ASSIGN_OR_RETURN(const double beta_slow, rope.NumberOr("beta_slow", 0, 0, kMaxFactor));
  if (beta_fast > 0) config.beta_fast = beta_fast;
  if (beta_slow > 0) config.beta_slow = beta_slow;
  if (config.beta_fast < config.beta_slow) {
    return rope.Error("beta_fast", absl::StrCat("at least beta_slow, ", config.beta_slow));
  }
  ASSIGN_OR_RETURN(config.attention_factor, rope.NumberOr("attention_factor", 0, 1e-6, kMaxFactor));
  ASSIGN_OR_RETURN(config.mscale, rope.NumberOr("mscale", 0, 0, kMaxFactor));
  ASSIGN_OR_RETURN(config.mscale_all_dim, rope.NumberOr("mscale_all_dim", 0, 0, kMaxFactor));
  ASSIGN_OR_RETURN(config.truncate, rope.BoolOr("truncate", true));
  return absl::OkStatus();
}

// `fields` is the whole config, `rope` the settings alone (the same object when there are none).
absl::StatusOr<RopeConfig> ReadRopeFields(const JsonFields& fields, const JsonFields& rope, int64_t max_positions) {
  RopeConfig config;
  ASSIGN_OR_RETURN(const double outer_theta, fields.NumberOr("rope_theta", 10000.0, 1.0001, 1e12));
  ASSIGN_OR_RETURN(config.theta, rope.NumberOr("rope_theta", outer_theta, 1.0001, 1e12));
  ASSIGN_OR_RETURN(const double outer_partial, fields.NumberOr("partial_rotary_factor", 1.0, 0, 1));
  ASSIGN_OR_RETURN(const double partial, rope.NumberOr("partial_rotary_factor", outer_partial, 0, 1));
  if (partial != 1.0) {
    return (rope.Has("partial_rotary_factor") ? rope : fields)
        .Error("partial_rotary_factor", "1 (partial rotary embeddings are not supported)");
  }
  if (rope.Has("mrope_section")) return rope.Error("mrope_section", "no such field (text models only)");
  ASSIGN_OR_RETURN(config.type, ReadRopeType(rope));
  if (config.type == RopeType::kDefault) return config;

  if (config.type == RopeType::kLlama3 || config.type == RopeType::kYarn) {
    ASSIGN_OR_RETURN(config.original_max_positions, ReadOriginalMaxPositions(fields, rope, max_positions));
  }
  if (config.type == RopeType::kYarn && !rope.Has("factor")) {
    config.factor = static_cast<double>(max_positions) / static_cast<double>(config.original_max_positions);
  } else {
    ASSIGN_OR_RETURN(config.factor, rope.Number("factor", 1.0, kMaxFactor));
  }
  if (config.type == RopeType::kLlama3) RETURN_IF_ERROR(ReadLlama3(rope, config));
  if (config.type == RopeType::kYarn) RETURN_IF_ERROR(ReadYarn(rope, config));
  return config;
}

// One object for all layers, or one per layer type. Those of several types must agree: one table of frequencies serves
// all layers.
absl::StatusOr<const Json*> SelectRopeObject(const JsonFields& fields, const char* name) {
  const Json& value = *fields.Find(name);
  if (!value.is_object()) return fields.Error(name, "an object or null");
  const Json* selected = nullptr;
  for (const char* layer_type : {"full_attention", "sliding_attention"}) {
    const auto nested = value.find(layer_type);
    if (nested == value.end() || nested->is_null()) continue;
    if (selected != nullptr && *nested != *selected) {
      return fields.Error(name, "the same settings for every layer type");
    }
    selected = &*nested;
  }
  return selected != nullptr ? selected : &value;
}

}  // namespace

absl::StatusOr<RopeConfig> ReadRopeConfig(const JsonFields& fields, int64_t max_positions) {
  for (const char* name : {"rope_scaling", "rope_parameters"}) {
    const Json* value = fields.Find(name);
    // An empty object counts as none, as in Python.
    if (value == nullptr || (value->is_object() && value->empty())) continue;
    ASSIGN_OR_RETURN(const Json* selected, SelectRopeObject(fields, name));
    ASSIGN_OR_RETURN(const JsonFields rope, JsonFields::Create(absl::StrCat(fields.where(), ": ", name), *selected));
    return ReadRopeFields(fields, rope, max_positions);
  }
  const Json none = Json::object();
  ASSIGN_OR_RETURN(const JsonFields rope, JsonFields::Create(fields.where(), none));
  return ReadRopeFields(fields, rope, max_positions);
}

}  // namespace slmmesh
