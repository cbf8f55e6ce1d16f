#include "cli/sse_parser.h"

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace slmmesh {

absl::Status SseParser::Feed(absl::string_view bytes) {
  for (char c : bytes) {
    const bool second_of_pair = c == '\n' && after_carriage_return_;
    after_carriage_return_ = c == '\r';
    if (second_of_pair) continue;
    if (c == '\n' || c == '\r') {
      EndLine();
    } else {
      line_.push_back(c);
      if (line_.size() + data_.size() > kMaxEventBytes) {
        return absl::ResourceExhaustedError(absl::StrCat("an event is larger than ", kMaxEventBytes, " bytes"));
      }
    }
  }
  return absl::OkStatus();
}

void SseParser::EndLine() {
  if (line_.empty()) {
    if (has_data_) on_data_(data_);
    data_.clear();
    has_data_ = false;
    return;
  }
  if (absl::StartsWith(line_, "data:")) {
    if (has_data_) data_.push_back('\n');
    data_.append(line_, absl::StartsWith(line_, "data: ") ? 6 : 5, std::string::npos);
    has_data_ = true;
  }
  line_.clear();
}

}  // namespace slmmesh
