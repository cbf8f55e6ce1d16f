// Writing JSON by appending: the router's answers are small and fixed in shape, and this is their hot path.
#pragma once

#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"

namespace slmmesh {

// A quoted JSON string. Bytes that are no valid UTF-8 become U+FFFD, so that the answer is always valid JSON.
void AppendJsonString(std::string* out, absl::string_view text);
// The shortest decimal that reads back as the same float; infinities, which JSON lacks, become -9999 as in vLLM.
void AppendJsonFloat(std::string* out, float value);
void AppendJsonInt(std::string* out, int64_t value);

// The length of the valid UTF-8 character that starts at text[0] (1..4), or 0 when there is none.
int Utf8CharLength(absl::string_view text);
bool IsValidUtf8(absl::string_view text);
// Unicode characters in valid UTF-8.
size_t CountCharacters(absl::string_view text);
// At most `max_bytes` of `text`, never half a character; "…" marks a cut.
std::string CutText(absl::string_view text, size_t max_bytes);

}  // namespace slmmesh
