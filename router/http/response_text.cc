#include "router/http/response_text.h"

#include <charconv>

namespace slmmesh {

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

void AppendHttpChunk(std::string* out, std::string_view piece) {
  if (piece.empty()) return;  // an empty chunk would end the body
  char size[20];
  const auto result = std::to_chars(size, size + sizeof size, piece.size(), 16);
  out->append(size, result.ptr - size).append("\r\n").append(piece).append("\r\n");
}

}  // namespace slmmesh
