#include "proto/quantity.h"

#include <set>

#include "absl/strings/ascii.h"

namespace slmmesh {
namespace {

// The length of the number at `at`: digits with at most one point among them, at least one digit.
size_t NumberLength(const std::string& text, size_t at) {
  size_t end = at;
  size_t digits = 0;
  bool point = false;
  for (; end < text.size(); ++end) {
    if (absl::ascii_isdigit(text[end])) {
      ++digits;
    } else if (text[end] == '.' && !point) {
      point = true;
    } else {
      break;
    }
  }
  return digits > 0 ? end - at : 0;
}

bool IsExponent(const std::string& suffix) {
  if (suffix.size() < 2 || (suffix[0] != 'e' && suffix[0] != 'E')) return false;
  const size_t start = suffix[1] == '+' || suffix[1] == '-' ? 2 : 1;
  if (start == suffix.size() || suffix.size() > start + 3) return false;
  for (size_t i = start; i < suffix.size(); ++i) {
    if (!absl::ascii_isdigit(suffix[i])) return false;
  }
  return true;
}

}  // namespace

bool IsQuantity(const std::string& text) {
  static const auto* const kUnits =
      new std::set<std::string>{"", "n", "u", "m", "k", "M", "G", "T", "P", "E", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"};
  const size_t start = !text.empty() && text[0] == '+' ? 1 : 0;
  const size_t length = NumberLength(text, start);
  if (length == 0) return false;
  const std::string suffix = text.substr(start + length);
  return kUnits->count(suffix) > 0 || IsExponent(suffix);
}

}  // namespace slmmesh
