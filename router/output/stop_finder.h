// Finds the first stop string in a text that arrives in pieces. What is certain is released at once; the longest suffix
// that might begin a stop string is held back. "First" is the one that is complete first; of several complete at the
// same character, the longest. So the result does not depend on how the text was cut into pieces.
#pragma once

#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace slmmesh {

// One thread at a time.
class StopFinder {
 public:
  enum class Include { kNo, kYes };  // whether the stop string itself stays in the text
  StopFinder(std::vector<std::string> stops, Include include);

  // The text that became certain. After a match (`found()`) further pieces are ignored.
  std::string Push(absl::string_view piece);
  // The end of the text: what was held back.
  std::string Finish();
  bool found() const { return found_; }

 private:
  // Knuth-Morris-Pratt: how much of the stop string the text's end matches, and where to fall back to.
  struct Matcher {
    std::string stop;
    std::vector<size_t> fallback;
    size_t matched = 0;
  };
  // The length of the longest stop string that ends with this byte; 0: none.
  size_t Advance(char byte);

  std::vector<Matcher> matchers_;
  const Include include_;
  std::string held_;
  bool found_ = false;
};

}  // namespace slmmesh
