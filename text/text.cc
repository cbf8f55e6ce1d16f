#include "text/text.h"

#include <utility>

#include "text/rust/slmmesh_text.h"

namespace slmmesh::text {

namespace {

slmmesh_text_view View(absl::string_view text) { return {text.data(), text.size()}; }

std::string String(slmmesh_text_view view) { return std::string(view.data, view.size); }

std::string Take(slmmesh_text_bytes bytes) {
  std::string text(bytes.data, bytes.size);
  slmmesh_text_free_bytes(bytes);
  return text;
}

std::vector<uint32_t> Take(slmmesh_text_ids ids) {
  std::vector<uint32_t> values(ids.data, ids.data + ids.size);
  slmmesh_text_free_ids(ids);
  return values;
}

absl::Status Error(int code, slmmesh_text_bytes message) {
  std::string text = Take(message);
  return code == 1 ? absl::InvalidArgumentError(text) : absl::InternalError(text);
}

}  // namespace

struct Tokenizer::State {
  explicit State(const slmmesh_text_tokenizer* tokenizer) : handle(tokenizer) {}
  ~State() { slmmesh_text_tokenizer_destroy(handle); }
  State(const State&) = delete;
  State& operator=(const State&) = delete;

  const slmmesh_text_tokenizer* handle;
};

Tokenizer::Tokenizer(std::unique_ptr<State> state) : state_(std::move(state)) {}

Tokenizer::~Tokenizer() = default;

absl::StatusOr<std::shared_ptr<const Tokenizer>> Tokenizer::Create(absl::string_view tokenizer_json) {
  const slmmesh_text_tokenizer* handle = nullptr;
  slmmesh_text_bytes error;
  if (int code = slmmesh_text_tokenizer_create(View(tokenizer_json), &handle, &error)) return Error(code, error);
  return std::shared_ptr<const Tokenizer>(new Tokenizer(std::make_unique<State>(handle)));
}

absl::StatusOr<std::vector<uint32_t>> Tokenizer::Encode(absl::string_view text, bool add_special_tokens) const {
  slmmesh_text_ids ids;
  slmmesh_text_bytes error;
  if (int code = slmmesh_text_encode(state_->handle, View(text), add_special_tokens, &ids, &error)) {
    return Error(code, error);
  }
  return Take(ids);
}

absl::StatusOr<std::string> Tokenizer::Decode(absl::Span<const uint32_t> ids, bool skip_special_tokens) const {
  slmmesh_text_bytes text;
  if (int code = slmmesh_text_decode(state_->handle, ids.data(), ids.size(), skip_special_tokens, &text)) {
    return Error(code, text);
  }
  return Take(text);
}

std::string Tokenizer::TokenBytes(uint32_t id) const { return String(slmmesh_text_token_bytes(state_->handle, id)); }

bool Tokenizer::IsSpecial(uint32_t id) const { return slmmesh_text_is_special(state_->handle, id); }

absl::optional<uint32_t> Tokenizer::TokenId(absl::string_view token) const {
  uint32_t id = 0;
  if (!slmmesh_text_token_id(state_->handle, View(token), &id)) return absl::nullopt;
  return id;
}

uint32_t Tokenizer::vocab_size() const { return slmmesh_text_vocabulary_size(state_->handle); }

struct DecodeStream::State {
  explicit State(slmmesh_text_stream* stream) : handle(stream) {}
  ~State() { slmmesh_text_stream_destroy(handle); }
  State(const State&) = delete;
  State& operator=(const State&) = delete;

  slmmesh_text_stream* handle;
};

DecodeStream::DecodeStream(std::shared_ptr<const Tokenizer> tokenizer, bool skip_special_tokens)
    : state_(std::make_unique<State>(slmmesh_text_stream_create(tokenizer->state().handle, skip_special_tokens))) {}

DecodeStream::~DecodeStream() = default;
DecodeStream::DecodeStream(DecodeStream&&) noexcept = default;
DecodeStream& DecodeStream::operator=(DecodeStream&&) noexcept = default;

absl::StatusOr<std::string> DecodeStream::Push(uint32_t id) {
  slmmesh_text_view text;
  slmmesh_text_bytes error;
  if (int code = slmmesh_text_stream_push(state_->handle, id, &text, &error)) return Error(code, error);
  return String(text);
}

absl::StatusOr<std::string> DecodeStream::Finish() {
  slmmesh_text_view text;
  slmmesh_text_bytes error;
  if (int code = slmmesh_text_stream_finish(state_->handle, &text, &error)) return Error(code, error);
  return String(text);
}

struct ChatTemplate::State {
  explicit State(slmmesh_text_template* chat_template) : handle(chat_template) {}
  ~State() { slmmesh_text_template_destroy(handle); }
  State(const State&) = delete;
  State& operator=(const State&) = delete;

  slmmesh_text_template* handle;
};

ChatTemplate::ChatTemplate(std::unique_ptr<State> state) : state_(std::move(state)) {}

ChatTemplate::~ChatTemplate() = default;

absl::StatusOr<std::shared_ptr<const ChatTemplate>> ChatTemplate::Create(absl::string_view source,
                                                                         const Tokens& tokens) {
  slmmesh_text_template* handle = nullptr;
  slmmesh_text_bytes error;
  if (int code = slmmesh_text_template_create(View(source), View(tokens.bos), View(tokens.eos), &handle, &error)) {
    return Error(code, error);
  }
  return std::shared_ptr<const ChatTemplate>(new ChatTemplate(std::make_unique<State>(handle)));
}

absl::StatusOr<std::string> ChatTemplate::Render(absl::string_view messages_json, bool add_generation_prompt,
                                                 absl::string_view extra_json) const {
  slmmesh_text_bytes text;
  if (int code =
          slmmesh_text_render(state_->handle, View(messages_json), add_generation_prompt, View(extra_json), &text)) {
    return Error(code, text);
  }
  return Take(text);
}

absl::StatusOr<std::vector<uint32_t>> ChatTemplate::RenderTokens(const Tokenizer& tokenizer,
                                                                 absl::string_view messages_json,
                                                                 bool add_generation_prompt,
                                                                 absl::string_view extra_json) const {
  slmmesh_text_ids ids;
  slmmesh_text_bytes error;
  if (int code = slmmesh_text_render_tokens(state_->handle, tokenizer.state().handle, View(messages_json),
                                            add_generation_prompt, View(extra_json), &ids, &error)) {
    return Error(code, error);
  }
  return Take(ids);
}

}  // namespace slmmesh::text
