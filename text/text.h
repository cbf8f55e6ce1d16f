// Tokens and text: Hugging Face tokenizers and chat templates (Rust crates behind the C ABI of text/rust). Everything
// that a router knows of a model's language goes through here. No exception and no panic crosses this edge.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/optional.h"
#include "absl/types/span.h"

namespace slmmesh::text {

// A tokenizer.json. Immutable: may be shared by threads.
class Tokenizer {
 public:
  static absl::StatusOr<std::shared_ptr<const Tokenizer>> Create(absl::string_view tokenizer_json);
  ~Tokenizer();

  // Text of a user: special tokens in it are ordinary characters, never obeyed. `add_special_tokens` lets the
  // tokenizer's post-processor add its own (BOS).
  absl::StatusOr<std::vector<uint32_t>> Encode(absl::string_view text, bool add_special_tokens) const;
  // `text` must be valid UTF-8 in all calls: INVALID_ARGUMENT otherwise.
  absl::StatusOr<std::string> Decode(absl::Span<const uint32_t> ids, bool skip_special_tokens) const;
  // The raw bytes that a token stands for (a byte-level token may be part of a character); empty for an unknown id.
  std::string TokenBytes(uint32_t id) const;
  bool IsSpecial(uint32_t id) const;
  absl::optional<uint32_t> TokenId(absl::string_view token) const;
  uint32_t vocab_size() const;  // largest id + 1, added tokens included

  struct State;
  const State& state() const { return *state_; }

 private:
  explicit Tokenizer(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

// Tokens to text, incrementally: never half a character. One thread at a time.
class DecodeStream {
 public:
  DecodeStream(std::shared_ptr<const Tokenizer> tokenizer, bool skip_special_tokens);
  ~DecodeStream();
  DecodeStream(DecodeStream&&) noexcept;
  DecodeStream& operator=(DecodeStream&&) noexcept;
  // The text that became certain with this token: may be empty, is always whole characters.
  absl::StatusOr<std::string> Push(uint32_t id);
  // What is left at the end: bytes that never became a character come as U+FFFD.
  absl::StatusOr<std::string> Finish();

  struct State;

 private:
  std::unique_ptr<State> state_;
};

// A Hugging Face chat template (Jinja), compiled once; may be shared by threads.
class ChatTemplate {
 public:
  struct Tokens {  // what templates name bos_token, eos_token
    std::string bos;
    std::string eos;
  };
  // INVALID_ARGUMENT with the template's line for a template that does not compile.
  static absl::StatusOr<std::shared_ptr<const ChatTemplate>> Create(absl::string_view source, const Tokens& tokens);
  ~ChatTemplate();

  // `messages_json`: a JSON array as OpenAI's messages, contents already strings. `extra_json`: an object merged into
  // the context ("{}": none; chat_template_kwargs, tools and documents come in here). The text as the model sees it.
  absl::StatusOr<std::string> Render(absl::string_view messages_json, bool add_generation_prompt,
                                     absl::string_view extra_json) const;

  // Render and tokenize: special tokens that the template writes become their ids; the same characters inside a
  // message are ordinary text ("special tokens in user text are not obeyed"). Adds no BOS of its own beyond what the
  // template writes.
  absl::StatusOr<std::vector<uint32_t>> RenderTokens(const Tokenizer& tokenizer, absl::string_view messages_json,
                                                     bool add_generation_prompt, absl::string_view extra_json) const;

  struct State;

 private:
  explicit ChatTemplate(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace slmmesh::text
