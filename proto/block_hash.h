// The chain hash that names a KV block on the wire: workers push the hashes of the blocks they hold, routers compute a
// prompt's hashes and look for the longest prefix held. A hint only: the engine confirms every hit token by token.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

namespace slmmesh {

using BlockHash = uint64_t;

// The root of all chains of one tenant: equal salts share prefixes, different salts never do.
BlockHash RootBlockHash(std::string_view cache_salt);

// The hash of a full block of `tokens` that follows the block (or root) `parent`.
BlockHash NextBlockHash(BlockHash parent, std::span<const uint32_t> tokens);

// The hashes of all full blocks of `tokens`, in order: floor(tokens.size() / block_size) of them.
std::vector<BlockHash> PromptBlockHashes(std::string_view cache_salt, std::span<const uint32_t> tokens,
                                         uint32_t block_size);

}  // namespace slmmesh
