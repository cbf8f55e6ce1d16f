#include "router/output/stop_finder.h"

#include <algorithm>
#include <utility>

namespace slmmesh {
namespace {

std::vector<size_t> FallbackTable(const std::string& stop) {
  std::vector<size_t> fallback(stop.size(), 0);
  for (size_t i = 1, k = 0; i < stop.size(); ++i) {
    while (k > 0 && stop[i] != stop[k]) k = fallback[k - 1];
    if (stop[i] == stop[k]) ++k;
    fallback[i] = k;
  }
  return fallback;
}

}  // namespace

StopFinder::StopFinder(std::vector<std::string> stops, Include include) : include_(include) {
  for (std::string& stop : stops) {
    if (stop.empty()) continue;
    std::vector<size_t> fallback = FallbackTable(stop);
    matchers_.push_back({std::move(stop), std::move(fallback), 0});
  }
}

size_t StopFinder::Advance(char byte) {
  size_t longest = 0;
  for (Matcher& matcher : matchers_) {
    size_t& k = matcher.matched;
    while (k > 0 && matcher.stop[k] != byte) k = matcher.fallback[k - 1];
    if (matcher.stop[k] == byte) ++k;
    if (k == matcher.stop.size()) {
      longest = std::max(longest, k);
      k = matcher.fallback[k - 1];
    }
  }
  return longest;
}

std::string StopFinder::Push(absl::string_view piece) {
  if (found_) return "";
  if (matchers_.empty()) return std::string(piece);
  for (char byte : piece) {
    held_.push_back(byte);
    const size_t stop_length = Advance(byte);
    if (stop_length == 0) continue;
    found_ = true;
    if (include_ == Include::kNo) held_.resize(held_.size() - stop_length);
    return std::exchange(held_, "");
  }
  size_t may_begin_stop = 0;
  for (const Matcher& matcher : matchers_) may_begin_stop = std::max(may_begin_stop, matcher.matched);
  std::string certain = held_.substr(0, held_.size() - may_begin_stop);
  held_.erase(0, certain.size());
  return certain;
}

std::string StopFinder::Finish() { return std::exchange(held_, ""); }

}  // namespace slmmesh
