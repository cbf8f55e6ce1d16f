// Speculative decoding as the engine knows it: guesses at the next tokens are cheap, and the model verifies several of
// them in one run, which costs little more than one token does.
#pragma once

#include <cstdint>
#include <limits>

namespace slmmesh {

enum class SpeculationMethod {
  kNone,
  kNgram,          // what followed the last few tokens where they stood before
  kSelfQuantized,  // a smaller copy of the target, which reads and writes the target's own KV cache
  kDraft,          // another model, whose KV cache has blocks of the same numbers
};

// As the manifest writes it.
inline const char* SpeculationMethodName(SpeculationMethod method) {
  constexpr const char* kNames[] = {"none", "ngram", "self-quantized", "draft"};
  return kNames[static_cast<int>(method)];
}

// When a guess stays.
enum class AcceptanceRule {
  // When it is what the target chooses, by the noise that it would choose by without speculation: a request's text is
  // the same, to the bit, whatever is guessed (Daliri et al. 2024). The draft guesses by that noise, too.
  kCoupled,
  // With probability min(1, p / q), p and q being what target and draft give it; else what takes its place is drawn
  // from max(0, p - q) (Leviathan et al. 2023): the text is another than without speculation, its distribution is not.
  kRejection,
};

struct SpeculationOptions {
  SpeculationMethod method = SpeculationMethod::kNone;
  AcceptanceRule rule = AcceptanceRule::kCoupled;
  uint32_t max_guesses = 5;                                       // per request and step
  bool adapts = true;                                             // to acceptance and cost; false: always max_guesses
  uint32_t draft_max_len = std::numeric_limits<uint32_t>::max();  // positions that the draft model reaches
};

}  // namespace slmmesh
