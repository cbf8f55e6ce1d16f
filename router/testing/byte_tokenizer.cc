#include "router/testing/byte_tokenizer.h"

#include <nlohmann/json.hpp>

namespace slmmesh {
namespace {

using nlohmann::json;

std::string Utf8(uint32_t code_point) {
  if (code_point < 0x80) return std::string(1, static_cast<char>(code_point));
  return {static_cast<char>(0xc0 | (code_point >> 6)), static_cast<char>(0x80 | (code_point & 0x3f))};
}

// GPT-2's bijection from bytes to printable characters: printable bytes stand for themselves, the others for U+0100….
std::string CharacterOfByte(uint32_t byte) {
  const auto is_printable = [](uint32_t b) { return (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174; };
  if (is_printable(byte)) return Utf8(byte);
  uint32_t rank = 0;
  for (uint32_t b = 0; b < byte; ++b) rank += !is_printable(b);
  return Utf8(256 + rank);
}

json SpecialToken(uint32_t id, const char* content) {
  return {{"id", id},        {"content", content},  {"single_word", false}, {"lstrip", false},
          {"rstrip", false}, {"normalized", false}, {"special", true}};
}

}  // namespace

std::string ByteTokenizerJson() {
  json vocabulary = json::object();
  for (uint32_t byte = 0; byte < 256; ++byte) vocabulary[CharacterOfByte(byte)] = byte;
  const json byte_level = {
      {"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}, {"use_regex", false}};
  const json tokenizer = {
      {"version", "1.0"},
      {"truncation", nullptr},
      {"padding", nullptr},
      {"added_tokens",
       {SpecialToken(kImStart, "<|im_start|>"), SpecialToken(kImEnd, "<|im_end|>"),
        SpecialToken(kEndOfText, "<|endoftext|>")}},
      {"normalizer", nullptr},
      {"pre_tokenizer", byte_level},
      {"post_processor", nullptr},
      {"decoder", byte_level},
      {"model",
       {{"type", "BPE"},
        {"dropout", nullptr},
        {"unk_token", nullptr},
        {"continuing_subword_prefix", nullptr},
        {"end_of_word_suffix", nullptr},
        {"fuse_unk", false},
        {"byte_fallback", false},
        {"vocab", vocabulary},
        {"merges", json::array()}}},
  };
  return tokenizer.dump();
}

std::string ChatMlTemplate() {
  return "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
         "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";
}

}  // namespace slmmesh
