// A chosen token with its log-probability, as clients see it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace slmmesh {

struct TokenAlternative {
  std::string bytes;
  float logprob = 0;
};

struct TokenLogprobText {
  uint32_t id = 0;
  std::string bytes;  // a part of a character at times
  float logprob = 0;
  bool has_logprob = true;  // the first token of an echoed prompt has none
  std::vector<TokenAlternative> top;
  size_t text_offset = 0;  // in characters, of the choice's text
};

// The token as a string: itself where it is whole characters, else its bytes as OpenAI spells them: bytes:\xe2\x9c
std::string TokenString(absl::string_view bytes);

// {"content":[{"token","logprob","bytes","top_logprobs"}…],"refusal":null}
void AppendChatLogprobs(std::string* out, const std::vector<TokenLogprobText>& tokens);
// {"tokens":[…],"token_logprobs":[…],"top_logprobs":[{…}…],"text_offset":[…]}; `with_top` as asked for (logprobs > 0)
void AppendCompletionLogprobs(std::string* out, const std::vector<TokenLogprobText>& tokens, bool with_top);

}  // namespace slmmesh
