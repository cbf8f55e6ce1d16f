#include "router/http/response_text.h"

namespace slmmesh {
namespace {

constexpr size_t kChunkSizeDigits = 8;  // leading zeros are allowed

}  // namespace

std::string_view HttpReason(int status) {
  switch (status) {
    case 200:
      return "OK";
    case 400:
      return "Bad Request";
    case 401:
      return "Unauthorized";
    case 403:
      return "Forbidden";
    case 404:
      return "Not Found";
    case 405:
      return "Method Not Allowed";
    case 408:
      return "Request Timeout";
    case 413:
      return "Content Too Large";
    case 415:
      return "Unsupported Media Type";
    case 429:
      return "Too Many Requests";
    case 431:
      return "Request Header Fields Too Large";
    case 500:
      return "Internal Server Error";
    case 503:
      return "Service Unavailable";
    case 504:
      return "Gateway Timeout";
    default:
      return "Unknown";
  }
}

void AppendHttpHead(std::string* out, const HttpResponse& response, HttpBodyLength length, bool keep_alive) {
  out->append("HTTP/1.1 ").append(std::to_string(response.status)).append(" ").append(HttpReason(response.status));
  out->append("\r\nContent-Type: ").append(response.content_type).append("\r\n");
  for (const auto& [name, value] : response.headers) out->append(name).append(": ").append(value).append("\r\n");
  switch (length) {
    case HttpBodyLength::kKnown:
      out->append("Content-Length: ").append(std::to_string(response.body.size())).append("\r\n");
      break;
    case HttpBodyLength::kChunked:
      out->append("Transfer-Encoding: chunked\r\n");
      break;
    case HttpBodyLength::kUntilClose:
      break;
  }
  out->append(keep_alive ? "\r\n" : "Connection: close\r\n\r\n");
}

size_t BeginHttpChunk(std::string* out) {
  const size_t begin = out->size();
  out->append(kChunkSizeDigits, '0').append("\r\n");
  return begin;
}

void EndHttpChunk(std::string* out, size_t begin) {
  size_t size = out->size() - begin - kChunkSizeDigits - 2;
  for (size_t digit = kChunkSizeDigits; digit > 0 && size > 0; --digit, size >>= 4) {
    (*out)[begin + digit - 1] = "0123456789abcdef"[size & 15];
  }
  out->append("\r\n");
}

}  // namespace slmmesh
