#include "proto/block_hash.h"

namespace slmmesh {
namespace {

// The finalizer of SplitMix64 (Steele, Lea, Flood 2014): a bijection whose output bits each depend on every input bit.
uint64_t Mix(uint64_t x) {
  x ^= x >> 30;
  x *= 0xbf58476d1ce4e5b9u;
  x ^= x >> 27;
  x *= 0x94d049bb133111ebu;
  x ^= x >> 31;
  return x;
}

}  // namespace

BlockHash RootBlockHash(std::string_view cache_salt) {
  uint64_t hash = Mix(cache_salt.size() + 0x9e3779b97f4a7c15u);
  for (unsigned char byte : cache_salt) hash = Mix(hash ^ byte);
  return hash;
}

BlockHash NextBlockHash(BlockHash parent, std::span<const uint32_t> tokens) {
  uint64_t hash = Mix(parent + 0x9e3779b97f4a7c15u);
  for (uint32_t token : tokens) hash = Mix(hash ^ (uint64_t{token} + 1));
  return hash;
}

std::vector<BlockHash> PromptBlockHashes(std::string_view cache_salt, std::span<const uint32_t> tokens,
                                         uint32_t block_size) {
  std::vector<BlockHash> hashes;
  BlockHash parent = RootBlockHash(cache_salt);
  for (size_t begin = 0; begin + block_size <= tokens.size(); begin += block_size) {
    parent = NextBlockHash(parent, tokens.subspan(begin, block_size));
    hashes.push_back(parent);
  }
  return hashes;
}

}  // namespace slmmesh
