// Random damage for parsers' tests: bit flips, cut-offs, repeats, splices, and numbers at the edges of their types.
// Deterministic from a seed, which the test prints, so that a failure can be replayed.
#pragma once

#include <cstdint>
#include <random>
#include <string>

namespace slmmesh {

class Mutator {
 public:
  explicit Mutator(uint64_t seed) : random_(seed) {}

  std::string Mutate(std::string bytes) {
    const int rounds = 1 + static_cast<int>(random_() % 4);
    for (int i = 0; i < rounds; ++i) MutateOnce(bytes);
    return bytes;
  }

  uint64_t Next() { return random_(); }

 private:
  size_t Position(const std::string& bytes) { return bytes.empty() ? 0 : random_() % bytes.size(); }

  void MutateOnce(std::string& bytes) {
    static const char* const kEdges[] = {
        "0",  "-1", "4294967296", "18446744073709551615", "1e999",   "NaN",      "null", "\"\"",
        "[]", "{}", "\xff",       "\xed\xa0\x80",         "\\ud800", "\r\n\r\n", ":"};
    const size_t at = Position(bytes);
    switch (random_() % 6) {
      case 0:
        if (!bytes.empty()) bytes[at] = static_cast<char>(bytes[at] ^ (1 << (random_() % 8)));
        break;
      case 1:
        bytes.resize(at);
        break;
      case 2:
        bytes.insert(at, bytes.substr(Position(bytes), random_() % 64));
        break;
      case 3:
        bytes.erase(at, random_() % 16);
        break;
      case 4:
        bytes.insert(at, kEdges[random_() % (sizeof kEdges / sizeof *kEdges)]);
        break;
      default:
        for (size_t i = 0; i < 8 && at + i < bytes.size(); ++i) bytes[at + i] = static_cast<char>(random_());
    }
  }

  std::mt19937_64 random_;
};

}  // namespace slmmesh
