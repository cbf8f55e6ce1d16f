// Server-sent events (WHATWG HTML, section 9.2), the part that OpenAI streams use: `data:` lines, joined per event.
// Fed with bytes as they come; lines and events may be cut anywhere.
#pragma once

#include <functional>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace slmmesh {

class SseParser {
 public:
  using OnData = std::function<void(const std::string& data)>;
  explicit SseParser(OnData on_data) : on_data_(std::move(on_data)) {}

  // RESOURCE_EXHAUSTED when one event grows beyond kMaxEventBytes.
  absl::Status Feed(absl::string_view bytes);

  static constexpr size_t kMaxEventBytes = 8 << 20;

 private:
  void EndLine();

  OnData on_data_;
  std::string line_;
  std::string data_;
  bool has_data_ = false;
  bool after_carriage_return_ = false;
};

}  // namespace slmmesh
