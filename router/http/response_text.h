// HTTP/1.1 as bytes.
#pragma once

#include <string>
#include <string_view>

#include "router/http/http_message.h"

namespace slmmesh {

std::string_view HttpReason(int status);

enum class HttpBodyLength { kKnown, kChunked, kUntilClose };
// The status line and the headers, the empty line included.
void AppendHttpHead(std::string* out, const HttpResponse& response, HttpBodyLength length, bool keep_alive);
// A chunk is put together in place: where it begins, then its bytes, then the end, which fills in their count.
size_t BeginHttpChunk(std::string* out);
void EndHttpChunk(std::string* out, size_t begin);
inline constexpr std::string_view kLastHttpChunk = "0\r\n\r\n";

}  // namespace slmmesh
