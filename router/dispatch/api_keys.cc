#include "router/dispatch/api_keys.h"

#include <sys/stat.h>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/files.h"
#include "common/log.h"
#include "common/status.h"
#include "common/tls.h"
#include "router/openai/api_error.h"

namespace slmmesh {
namespace {

constexpr size_t kMaxNameBytes = 64;
constexpr size_t kMaxKeyBytes = 512;
constexpr size_t kMaxKeys = 10000;

bool IsTenantName(absl::string_view name) {
  if (name.empty() || name.size() > kMaxNameBytes) return false;
  for (char c : name) {
    if (!absl::ascii_isalnum(c) && c != '-' && c != '_' && c != '.') return false;
  }
  return true;
}

bool IsKey(absl::string_view key) {
  if (key.empty() || key.size() > kMaxKeyBytes) return false;
  for (char c : key) {
    if (!absl::ascii_isgraph(c)) return false;
  }
  return true;
}

std::pair<int64_t, int64_t> Stamp(const std::string& path) {
  struct stat info {};
  if (stat(path.c_str(), &info) != 0) return {0, -1};
  return {int64_t{info.st_mtim.tv_sec} * 1000000000 + info.st_mtim.tv_nsec, info.st_size};
}

absl::Status WrongKey(const char* message) { return WithCode(absl::UnauthenticatedError(message), "invalid_api_key"); }

}  // namespace

absl::StatusOr<ApiKeys> ApiKeys::Parse(absl::string_view text) {
  ApiKeys keys;
  int line_number = 0;
  for (absl::string_view line : absl::StrSplit(text, '\n')) {
    ++line_number;
    line = absl::StripAsciiWhitespace(line);
    if (line.empty() || line[0] == '#') continue;
    const std::pair<absl::string_view, absl::string_view> parts = absl::StrSplit(line, absl::MaxSplits(':', 1));
    if (!IsTenantName(parts.first) || !IsKey(parts.second)) {
      return absl::InvalidArgumentError(absl::StrCat("line ", line_number, ": must be tenant:key; a tenant has 1 to ",
                                                     kMaxNameBytes, " of A-Z a-z 0-9 . _ -, a key 1 to ", kMaxKeyBytes,
                                                     " printable characters"));
    }
    if (keys.keys_.size() == kMaxKeys) return absl::InvalidArgumentError(absl::StrCat("more than ", kMaxKeys, " keys"));
    keys.keys_.emplace_back(parts.first, parts.second);
  }
  if (keys.keys_.empty()) return absl::InvalidArgumentError("holds no key; nobody could call");
  return keys;
}

absl::StatusOr<std::string> ApiKeys::TenantOf(absl::string_view authorization) const {
  constexpr absl::string_view kBearer = "bearer ";
  if (!absl::StartsWithIgnoreCase(authorization, kBearer)) {
    return WrongKey("no API key; send the header Authorization: Bearer KEY");
  }
  const absl::string_view given = absl::StripAsciiWhitespace(authorization.substr(kBearer.size()));
  const std::pair<std::string, std::string>* match = nullptr;
  for (const auto& entry : keys_) {  // no early exit: the time tells nothing of which key came near
    if (ConstantTimeEqual(entry.second, given)) match = &entry;
  }
  if (match == nullptr) return WrongKey("unknown API key");
  return match->first;
}

absl::StatusOr<std::unique_ptr<ApiKeysFile>> ApiKeysFile::Open(const std::string& path) {
  std::unique_ptr<ApiKeysFile> file(new ApiKeysFile(path));
  if (!path.empty()) RETURN_IF_ERROR(file->Read());
  return file;
}

absl::Status ApiKeysFile::Read() {
  stamp_ = Stamp(path_);
  ASSIGN_OR_RETURN(const std::string text, ReadFile(path_, size_t{8} << 20));
  absl::StatusOr<ApiKeys> keys = ApiKeys::Parse(text);
  if (!keys.ok()) return Annotate(keys.status(), path_);
  keys_.store(std::make_shared<const ApiKeys>(*std::move(keys)));
  return absl::OkStatus();
}

void ApiKeysFile::Refresh() {
  if (path_.empty() || Stamp(path_) == stamp_) return;
  if (const absl::Status status = Read(); !status.ok()) {
    LogWarning("router.api_keys_kept", {{"reason", status}});
  } else {
    LogInfo("router.api_keys_read", {{"keys", keys_.load()->size()}});
  }
}

absl::StatusOr<std::string> ApiKeysFile::TenantOf(absl::string_view authorization) const {
  if (path_.empty()) return std::string();
  return keys_.load()->TenantOf(authorization);
}

}  // namespace slmmesh
