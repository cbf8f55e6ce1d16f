#include "cli/import.h"

#include <iostream>
#include <iterator>

#include "common/files.h"
#include "common/status.h"
#include "proto/raycluster_import.h"

namespace slmmesh {
namespace {

constexpr size_t kMaxManifestBytes = 1 << 20;

absl::StatusOr<std::string> ReadInput(const std::string& file) {
  if (file != "-") return ReadFile(file, kMaxManifestBytes);
  std::string text(kMaxManifestBytes + 1, '\0');
  std::cin.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<size_t>(std::cin.gcount()));
  if (text.size() <= kMaxManifestBytes) return text;
  return absl::InvalidArgumentError("standard input: longer than 1 MiB; give one RayCluster");
}

}  // namespace

absl::Status Import(const ImportCommandOptions& options) {
  ASSIGN_OR_RETURN(const std::string text, ReadInput(options.file));
  ImportOptions import_options;
  import_options.file = options.file == "-" ? "standard input" : options.file;
  import_options.model_path = options.model_path;
  import_options.served_name = options.served_name;
  import_options.tensor_parallel_size = static_cast<uint32_t>(options.tensor_parallel_size);
  ASSIGN_OR_RETURN(const ImportedCluster imported, ImportRayCluster(text, import_options));
  if (options.output.empty()) {
    std::cout << imported.yaml << std::flush;
  } else {
    RETURN_IF_ERROR(WriteFileAtomic(options.output, imported.yaml));
  }
  for (const std::string& note : imported.notes) std::cerr << note << "\n";
  return absl::OkStatus();
}

}  // namespace slmmesh
