// The 64 bytes that LDTILECFG takes (Intel's manual, volume 1, chapter 18): eight tiles of up to 16 rows of 64 bytes.
#pragma once

#include <cstdint>

namespace slmmesh::kernels::amx {

constexpr int kTiles = 8;
constexpr int64_t kRegisterRows = 16;
constexpr int64_t kRegisterRowBytes = 64;

struct TileConfig {
  uint8_t palette = 1;
  uint8_t start_row = 0;
  uint8_t reserved[14] = {};
  uint16_t row_bytes[16] = {};
  uint8_t rows[16] = {};
};
static_assert(sizeof(TileConfig) == 64);

// Static: each file that includes this has its own, compiled for its own instruction set.
[[maybe_unused]] static void SetTile(TileConfig& config, int tile, int64_t rows, int64_t row_bytes) {
  config.rows[tile] = static_cast<uint8_t>(rows);
  config.row_bytes[tile] = static_cast<uint16_t>(row_bytes);
}

}  // namespace slmmesh::kernels::amx
