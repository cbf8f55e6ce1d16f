#include "router/openai/token_logprob.h"

#include "router/openai/json_text.h"

namespace slmmesh {
namespace {

void AppendBytes(std::string* out, absl::string_view bytes) {
  out->push_back('[');
  for (size_t i = 0; i < bytes.size(); ++i) {
    if (i > 0) out->push_back(',');
    AppendJsonInt(out, static_cast<unsigned char>(bytes[i]));
  }
  out->push_back(']');
}

// Without the closing brace.
void AppendChatToken(std::string* out, const std::string& bytes, float logprob) {
  out->append("{\"token\":");
  AppendJsonString(out, TokenString(bytes));
  out->append(",\"logprob\":");
  AppendJsonFloat(out, logprob);
  out->append(",\"bytes\":");
  AppendBytes(out, bytes);
}

void AppendTopObject(std::string* out, const TokenLogprobText& token) {
  out->push_back('{');
  bool holds_chosen = false;
  const auto append = [out](const std::string& bytes, float logprob) {
    if (out->back() != '{') out->push_back(',');
    AppendJsonString(out, TokenString(bytes));
    out->push_back(':');
    AppendJsonFloat(out, logprob);
  };
  for (const TokenAlternative& top : token.top) {
    holds_chosen = holds_chosen || top.bytes == token.bytes;
    append(top.bytes, top.logprob);
  }
  if (!holds_chosen) append(token.bytes, token.logprob);
  out->push_back('}');
}

template <typename Append>
void AppendList(std::string* out, const char* name, const std::vector<TokenLogprobText>& tokens, Append append) {
  out->append(name);
  out->push_back('[');
  for (size_t i = 0; i < tokens.size(); ++i) {
    if (i > 0) out->push_back(',');
    append(tokens[i]);
  }
  out->push_back(']');
}

}  // namespace

std::string TokenString(absl::string_view bytes) {
  if (IsValidUtf8(bytes)) return std::string(bytes);
  static const char kHex[] = "0123456789abcdef";
  std::string out = "bytes:";
  for (unsigned char byte : bytes) {
    out.append("\\x");
    out.push_back(kHex[byte >> 4]);
    out.push_back(kHex[byte & 15]);
  }
  return out;
}

void AppendChatLogprobs(std::string* out, const std::vector<TokenLogprobText>& tokens) {
  AppendList(out, "{\"content\":", tokens, [out](const TokenLogprobText& token) {
    AppendChatToken(out, token.bytes, token.logprob);
    out->append(",\"top_logprobs\":[");
    for (size_t i = 0; i < token.top.size(); ++i) {
      if (i > 0) out->push_back(',');
      AppendChatToken(out, token.top[i].bytes, token.top[i].logprob);
      out->push_back('}');
    }
    out->append("]}");
  });
  out->append(",\"refusal\":null}");
}

void AppendCompletionLogprobs(std::string* out, const std::vector<TokenLogprobText>& tokens, bool with_top) {
  AppendList(out, "{\"tokens\":", tokens,
             [out](const TokenLogprobText& token) { AppendJsonString(out, TokenString(token.bytes)); });
  AppendList(out, ",\"token_logprobs\":", tokens, [out](const TokenLogprobText& token) {
    token.has_logprob ? AppendJsonFloat(out, token.logprob) : static_cast<void>(out->append("null"));
  });
  if (with_top) {
    AppendList(out, ",\"top_logprobs\":", tokens, [out](const TokenLogprobText& token) {
      token.has_logprob ? AppendTopObject(out, token) : static_cast<void>(out->append("null"));
    });
  } else {
    out->append(",\"top_logprobs\":null");
  }
  AppendList(out, ",\"text_offset\":", tokens,
             [out](const TokenLogprobText& token) { AppendJsonInt(out, token.text_offset); });
  out->push_back('}');
}

}  // namespace slmmesh
