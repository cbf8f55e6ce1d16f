// Whether two models speak of the same tokens: a draft's guesses mean nothing to a target with another vocabulary.
#pragma once

#include <string>

#include "absl/status/status.h"

namespace slmmesh {

// INVALID_ARGUMENT naming the first token id that means something else. Takes the text of two tokenizer.json; files of
// the same tokenizer may differ in how they are written, and in ids that only one of them has.
absl::Status CheckSameTokenizer(const std::string& target, const std::string& draft);

}  // namespace slmmesh
