#include "operator/kube/list_splitter.h"

#include "nlohmann/json.hpp"

namespace slmmesh::kube {
namespace {

constexpr int kListDepth = 1;   // inside the list's braces
constexpr int kItemsDepth = 2;  // inside the brackets of "items"
constexpr size_t kMaxKeyBytes = 64;
constexpr size_t kMaxListBytes = size_t{1} << 20;  // without items: two short fields and metadata

absl::Status Malformed(const char* reason) {
  return absl::UnavailableError(std::string("the API server's list is broken: ") + reason);
}

bool IsSpace(char c) { return c == ' ' || c == '\n' || c == '\r' || c == '\t'; }

}  // namespace

absl::Status ListSplitter::Feed(absl::string_view piece) {
  while (!piece.empty()) {
    // Inside an item's string, which most bytes are, only a quote or a backslash changes anything.
    if (in_items_ && in_string_ && !escaped_) {
      const size_t plain = std::min(piece.find_first_of("\"\\"), piece.size());
      item_.append(piece.data(), plain);
      piece.remove_prefix(plain);
      if (piece.empty()) break;
    }
    if (absl::Status taken = Take(piece.front()); !taken.ok()) return taken;
    piece.remove_prefix(1);
  }
  if (item_.size() > kMaxObjectBytes) return Malformed("an item is over 16 MiB");
  if (list_.size() > kMaxListBytes) return Malformed("its own fields are over 1 MiB");
  return absl::OkStatus();
}

absl::Status ListSplitter::Take(char c) {
  if (in_items_ && depth_ == kItemsDepth && !in_string_ && c != '{' && c != ']') {
    return c == ',' || IsSpace(c) ? absl::OkStatus() : Malformed("an item is no object");
  }
  std::string& text = in_items_ && !(depth_ == kItemsDepth && c == ']') ? item_ : list_;
  text += c;
  if (in_string_) {
    if (escaped_) {
      escaped_ = false;
    } else if (c == '\\') {
      escaped_ = true;
    } else if (c == '"') {
      in_string_ = false;
    }
    if (in_string_ && depth_ == kListDepth && last_string_.size() < kMaxKeyBytes) last_string_ += c;
    return absl::OkStatus();
  }
  if (c == '"') {
    in_string_ = true;
    if (depth_ == kListDepth) last_string_.clear();
    return absl::OkStatus();
  }
  if (c == '{' || c == '[') return Open(c);
  if (c == '}' || c == ']') return Close();
  return absl::OkStatus();
}

absl::Status ListSplitter::Open(char c) {
  if (depth_ == kListDepth && c == '[' && last_string_ == "items") in_items_ = true;
  ++depth_;
  return absl::OkStatus();
}

absl::Status ListSplitter::Close() {
  if (--depth_ < 0) return Malformed("a bracket closes that was not open");
  if (in_items_ && depth_ == kListDepth) in_items_ = false;
  return in_items_ && depth_ == kItemsDepth ? EndItem() : absl::OkStatus();
}

absl::Status ListSplitter::EndItem() {
  const nlohmann::json item = nlohmann::json::parse(item_, nullptr, /*allow_exceptions=*/false);
  item_.clear();
  if (item.is_discarded()) return Malformed("an item is no valid JSON");
  visit_(item);
  return absl::OkStatus();
}

absl::StatusOr<nlohmann::json> ListSplitter::Finish() {
  nlohmann::json list = nlohmann::json::parse(list_, nullptr, /*allow_exceptions=*/false);
  if (!list.is_object() || depth_ != 0) return Malformed("it ends too early or is no valid JSON");
  return list;
}

}  // namespace slmmesh::kube
