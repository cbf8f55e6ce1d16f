#include "operator/kube/api_path.h"

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"

namespace slmmesh::kube {
namespace {

// RFC 3986: everything but the unreserved characters.
std::string PercentEncoded(const std::string& text) {
  static constexpr char kHex[] = "0123456789ABCDEF";
  std::string encoded;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (absl::ascii_isalnum(byte) || c == '-' || c == '_' || c == '.' || c == '~') {
      encoded += c;
    } else {
      encoded += {'%', kHex[byte >> 4], kHex[byte & 15]};
    }
  }
  return encoded;
}

}  // namespace

std::string CollectionPath(const Resource& resource, const std::string& ns) {
  std::string path = resource.group.empty() ? absl::StrCat("/api/", resource.version)
                                            : absl::StrCat("/apis/", resource.group, "/", resource.version);
  if (resource.namespaced && !ns.empty()) absl::StrAppend(&path, "/namespaces/", PercentEncoded(ns));
  absl::StrAppend(&path, "/", resource.plural);
  return path;
}

std::string ObjectPath(const ObjectRef& ref) {
  std::string path = absl::StrCat(CollectionPath(ref.resource, ref.ns), "/", PercentEncoded(ref.name));
  if (!ref.subresource.empty()) absl::StrAppend(&path, "/", PercentEncoded(ref.subresource));
  return path;
}

std::string CreatePath(const ObjectRef& ref) {
  return ref.subresource.empty() ? CollectionPath(ref.resource, ref.ns) : ObjectPath(ref);
}

std::string WithQuery(const std::string& path, const std::vector<std::pair<std::string, std::string>>& query) {
  std::string whole = path;
  char separator = '?';
  for (const auto& [key, value] : query) {
    if (value.empty()) continue;
    absl::StrAppend(&whole, std::string(1, separator), key, "=", PercentEncoded(value));
    separator = '&';
  }
  return whole;
}

std::string Describe(const ObjectRef& ref) {
  std::string text = ref.resource.plural;
  if (!ref.subresource.empty()) absl::StrAppend(&text, "/", ref.subresource);
  absl::StrAppend(&text, " ", ref.ns, ref.ns.empty() ? "" : "/", ref.name);
  return text;
}

}  // namespace slmmesh::kube
