#include "proto/yaml_message.h"

#include <google/protobuf/struct.pb.h>
#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <set>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "common/status.h"

namespace slmmesh {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

// Aliases let a small file name a huge tree: depth and visits are bounded.
constexpr int kMaxDepth = 64;
constexpr int kMaxNodes = 100000;

int EditDistance(const std::string& a, const std::string& b) {
  std::vector<int> row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) row[j] = static_cast<int>(j);
  for (size_t i = 1; i <= a.size(); ++i) {
    int diagonal = row[0];
    row[0] = static_cast<int>(i);
    for (size_t j = 1; j <= b.size(); ++j) {
      const int replaced = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({replaced, row[j] + 1, row[j - 1] + 1});
    }
  }
  return row[b.size()];
}

std::string KnownFields(const Descriptor& descriptor, const std::string& wrong) {
  std::string names;
  const FieldDescriptor* nearest = nullptr;
  int nearest_distance = 4;
  for (int i = 0; i < descriptor.field_count(); ++i) {
    const FieldDescriptor* field = descriptor.field(i);
    absl::StrAppend(&names, i == 0 ? "" : ", ", field->json_name());
    const int distance = EditDistance(wrong, field->json_name());
    if (distance < nearest_distance) {
      nearest_distance = distance;
      nearest = field;
    }
  }
  if (nearest != nullptr) return absl::StrCat("did you mean ", nearest->json_name(), "?");
  return absl::StrCat("known here: ", names);
}

class Reader {
 public:
  Reader(const KeyAliases& aliases, FieldLines* lines) : aliases_(aliases), lines_(*lines) {}

  absl::Status ReadMessage(const YAML::Node& node, const std::string& path, int depth, Message* message) {
    RETURN_IF_ERROR(Count(node, path, depth));
    if (auto* any = dynamic_cast<google::protobuf::Struct*>(message)) return ReadStruct(node, path, depth, any);
    if (!node.IsMap()) return Error(node, path, "a mapping (key: value) belongs here");
    std::set<std::string> seen;
    for (const auto& entry : node) {
      std::string key = entry.first.Scalar();
      if (auto alias = aliases_.find(key); alias != aliases_.end()) key = alias->second;
      const std::string child = path.empty() ? key : absl::StrCat(path, ".", key);
      const FieldDescriptor* field = FindField(*message->GetDescriptor(), key);
      if (field == nullptr) {
        return Error(entry.first, child, absl::StrCat("unknown field; ", KnownFields(*message->GetDescriptor(), key)));
      }
      if (!seen.insert(key).second) return Error(entry.first, child, "written twice; keep one");
      lines_.lines[child] = entry.first.Mark().line + 1;
      if (entry.second.IsNull()) continue;
      RETURN_IF_ERROR(ReadField(entry.second, child, depth, field, message));
    }
    return absl::OkStatus();
  }

 private:
  static const FieldDescriptor* FindField(const Descriptor& descriptor, const std::string& json_name) {
    for (int i = 0; i < descriptor.field_count(); ++i) {
      if (descriptor.field(i)->json_name() == json_name) return descriptor.field(i);
    }
    return nullptr;
  }

  absl::Status Error(const YAML::Node& node, const std::string& path, const std::string& problem) const {
    return absl::InvalidArgumentError(absl::StrCat(lines_.file, ":", node.Mark().line + 1, ": ",
                                                   path.empty() ? "" : absl::StrCat(path, ": "), problem));
  }

  absl::Status Count(const YAML::Node& node, const std::string& path, int depth) {
    if (depth > kMaxDepth) return Error(node, path, absl::StrCat("nested deeper than ", kMaxDepth, " levels"));
    if (++nodes_ > kMaxNodes) return Error(node, path, absl::StrCat("more than ", kMaxNodes, " values in one file"));
    return absl::OkStatus();
  }

  absl::Status ReadField(const YAML::Node& node, const std::string& path, int depth, const FieldDescriptor* field,
                         Message* message) {
    if (field->is_map()) return ReadStringMap(node, path, field, message);
    if (!field->is_repeated()) return ReadValue(node, path, depth, field, message);
    if (!node.IsSequence()) return Error(node, path, "a list (- item) belongs here");
    for (size_t i = 0; i < node.size(); ++i) {
      const std::string child = absl::StrCat(path, "[", i, "]");
      lines_.lines[child] = node[i].Mark().line + 1;
      RETURN_IF_ERROR(ReadValue(node[i], child, depth, field, message));
    }
    return absl::OkStatus();
  }

  absl::Status ReadStringMap(const YAML::Node& node, const std::string& path, const FieldDescriptor* field,
                             Message* message) {
    if (!node.IsMap()) return Error(node, path, "a mapping (key: value) belongs here");
    for (const auto& entry : node) {
      if (!entry.second.IsScalar()) return Error(entry.second, path, "the values of this mapping are strings");
      Message* item = message->GetReflection()->AddMessage(message, field);
      item->GetReflection()->SetString(item, item->GetDescriptor()->map_key(), entry.first.Scalar());
      item->GetReflection()->SetString(item, item->GetDescriptor()->map_value(), entry.second.Scalar());
    }
    return absl::OkStatus();
  }

  absl::Status ReadValue(const YAML::Node& node, const std::string& path, int depth, const FieldDescriptor* field,
                         Message* message) {
    const auto* reflection = message->GetReflection();
    if (field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) {
      Message* child =
          field->is_repeated() ? reflection->AddMessage(message, field) : reflection->MutableMessage(message, field);
      return ReadMessage(node, path, depth + 1, child);
    }
    if (!node.IsScalar()) return Error(node, path, "a single value belongs here");
    return ReadScalar(node, path, field, message);
  }

  absl::Status ReadScalar(const YAML::Node& node, const std::string& path, const FieldDescriptor* field,
                          Message* message) {
    const auto* reflection = message->GetReflection();
    const std::string& text = node.Scalar();
    const auto wrong = [&](const char* expected) {
      return Error(node, path, absl::StrCat("\"", text.substr(0, 80), "\" is not ", expected));
    };
    switch (field->cpp_type()) {
      case FieldDescriptor::CPPTYPE_STRING:
        reflection->SetString(message, field, text);
        return absl::OkStatus();
      case FieldDescriptor::CPPTYPE_UINT32: {
        uint32_t value;
        if (!absl::SimpleAtoi(text, &value)) return wrong("a whole number from 0 to 4294967295; write it without unit");
        reflection->SetUInt32(message, field, value);
        return absl::OkStatus();
      }
      case FieldDescriptor::CPPTYPE_FLOAT:
      case FieldDescriptor::CPPTYPE_DOUBLE: {
        double value;
        if (!absl::SimpleAtod(text, &value)) return wrong("a number; write it as 0.9");
        if (field->cpp_type() == FieldDescriptor::CPPTYPE_FLOAT) {
          reflection->SetFloat(message, field, static_cast<float>(value));
        } else {
          reflection->SetDouble(message, field, value);
        }
        return absl::OkStatus();
      }
      case FieldDescriptor::CPPTYPE_BOOL:
        if (text != "true" && text != "false") return wrong("true or false");
        reflection->SetBool(message, field, text == "true");
        return absl::OkStatus();
      default:
        return wrong("of a type that manifests carry");
    }
  }

  // A free-form mapping (a pod template): kept as it is.
  absl::Status ReadStruct(const YAML::Node& node, const std::string& path, int depth,
                          google::protobuf::Struct* result) {
    if (!node.IsMap()) return Error(node, path, "a mapping (key: value) belongs here");
    for (const auto& entry : node) {
      const std::string& key = entry.first.Scalar();
      const std::string child = absl::StrCat(path, ".", key);
      lines_.lines[child] = entry.first.Mark().line + 1;
      RETURN_IF_ERROR(ReadAny(entry.second, child, depth + 1, &(*result->mutable_fields())[key]));
    }
    return absl::OkStatus();
  }

  absl::Status ReadAny(const YAML::Node& node, const std::string& path, int depth, google::protobuf::Value* value) {
    RETURN_IF_ERROR(Count(node, path, depth));
    if (node.IsMap()) return ReadStruct(node, path, depth, value->mutable_struct_value());
    if (node.IsSequence()) {
      auto* list = value->mutable_list_value();
      for (size_t i = 0; i < node.size(); ++i) {
        RETURN_IF_ERROR(ReadAny(node[i], absl::StrCat(path, "[", i, "]"), depth + 1, list->add_values()));
      }
      return absl::OkStatus();
    }
    // Tag "?" is a plain scalar, which YAML 1.2's core schema types; "!" is a quoted one, always a string.
    double number;
    if (node.IsNull()) {
      value->set_null_value(google::protobuf::NULL_VALUE);
    } else if (node.Tag() == "?" && (node.Scalar() == "true" || node.Scalar() == "false")) {
      value->set_bool_value(node.Scalar() == "true");
    } else if (node.Tag() == "?" && absl::SimpleAtod(node.Scalar(), &number)) {
      value->set_number_value(number);
    } else {
      value->set_string_value(node.Scalar());
    }
    return absl::OkStatus();
  }

  const KeyAliases& aliases_;
  FieldLines& lines_;
  int nodes_ = 0;
};

}  // namespace

absl::Status FieldLines::Error(const std::string& path, const std::string& problem) const {
  int line = 1;
  for (std::string at = path; !at.empty();) {
    if (auto found = lines.find(at); found != lines.end()) {
      line = found->second;
      break;
    }
    const size_t cut = at.find_last_of(".[");
    at.resize(cut == std::string::npos ? 0 : cut);
  }
  return absl::InvalidArgumentError(absl::StrCat(file, ":", line, ": ", path, ": ", problem));
}

absl::Status ParseYamlMessage(const std::string& text, const std::string& file, const KeyAliases& aliases,
                              Message* message, FieldLines* lines) {
  lines->file = file;
  lines->lines.clear();
  // yaml-cpp throws; nothing of it passes this function.
  try {
    const std::vector<YAML::Node> documents = YAML::LoadAll(text);
    if (documents.size() != 1) {
      return absl::InvalidArgumentError(
          absl::StrCat(file, ":1: holds ", documents.size(), " YAML documents; write exactly one"));
    }
    return Reader(aliases, lines).ReadMessage(documents[0], "", 0, message);
  } catch (const YAML::Exception& error) {
    return absl::InvalidArgumentError(absl::StrCat(file, ":", error.mark.line + 1, ": not YAML: ", error.msg));
  }
}

}  // namespace slmmesh
