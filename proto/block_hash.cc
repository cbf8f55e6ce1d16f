#include "proto/block_hash.h"

#include "common/mix.h"

namespace slmmesh {

BlockHash RootBlockHash(std::string_view cache_salt) {
  uint64_t hash = Mix64(cache_salt.size() + kMixGolden);
  for (unsigned char byte : cache_salt) hash = Mix64(hash ^ byte);
  return hash;
}

BlockHash NextBlockHash(BlockHash parent, std::span<const uint32_t> tokens) {
  uint64_t hash = Mix64(parent + kMixGolden);
  for (uint32_t token : tokens) hash = Mix64(hash ^ (uint64_t{token} + 1));
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
