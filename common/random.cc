#include "common/random.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/random.h>

#include "absl/strings/escaping.h"

namespace slmmesh {
namespace {

void FillRandom(void* data, size_t size) {
  char* bytes = static_cast<char*>(data);
  size_t done = 0;
  while (done < size) {
    const ssize_t count = getrandom(bytes + done, size - done, 0);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) abort();  // no Linux that we run on lacks getrandom
    done += static_cast<size_t>(count);
  }
}

}  // namespace

uint64_t RandomUint64() {
  uint64_t value;
  FillRandom(&value, sizeof value);
  return value;
}

std::string RandomHexId(size_t bytes) {
  std::string data(bytes, '\0');
  FillRandom(data.data(), data.size());
  return absl::BytesToHexString(data);
}

}  // namespace slmmesh
