#include "proto/yaml_writer.h"

#include <yaml-cpp/yaml.h>

#include <set>

#include "absl/strings/ascii.h"

namespace slmmesh {
namespace {

using Json = nlohmann::ordered_json;

// Words that some reader takes for a boolean or a null.
bool IsReserved(const std::string& text) {
  static const auto* const kWords =
      new std::set<std::string>{"true", "false", "yes", "no", "on", "off", "null", "y", "n"};
  return kWords->count(absl::AsciiStrToLower(text)) > 0;
}

// Whether `text` needs no quotes to be read as a string.
bool IsPlain(const std::string& text) {
  if (text.empty() || IsReserved(text)) return false;
  if (!absl::ascii_isalpha(text[0]) && text[0] != '/') return false;
  for (const char c : text) {
    if (!absl::ascii_isalnum(c) && c != '/' && c != '.' && c != '_' && c != '-') return false;
  }
  return true;
}

void WriteString(const std::string& text, YAML::Emitter& out) {
  if (!IsPlain(text)) out << YAML::DoubleQuoted;
  out << text;
}

void Write(const Json& value, YAML::Emitter& out) {
  switch (value.type()) {
    case Json::value_t::object:
      out << (value.empty() ? YAML::Flow : YAML::Block) << YAML::BeginMap;
      for (const auto& [key, member] : value.items()) {
        out << YAML::Key;
        WriteString(key, out);
        out << YAML::Value;
        Write(member, out);
      }
      out << YAML::EndMap;
      break;
    case Json::value_t::array:
      out << (value.empty() ? YAML::Flow : YAML::Block) << YAML::BeginSeq;
      for (const Json& item : value) Write(item, out);
      out << YAML::EndSeq;
      break;
    case Json::value_t::string:
      WriteString(value.get_ref<const std::string&>(), out);
      break;
    default:
      out << value.dump();  // numbers, booleans and null: YAML's are JSON's
  }
}

}  // namespace

std::string WriteYaml(const Json& value) {
  YAML::Emitter out;
  Write(value, out);
  return std::string(out.c_str()) + "\n";
}

}  // namespace slmmesh
