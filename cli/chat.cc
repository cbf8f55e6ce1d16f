#include "cli/chat.h"

#include <unistd.h>

#include <iostream>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "cli/http_client.h"
#include "cli/run_folder.h"
#include "cli/sse_parser.h"
#include "common/status.h"

namespace slmmesh {
namespace {

using Json = nlohmann::json;

absl::Status FindRouter(ChatOptions* options) {
  if (!options->url.empty() && !options->model.empty()) return absl::OkStatus();
  if (!options->url.empty()) return absl::InvalidArgumentError("--url needs --model: write the model's served name");
  ASSIGN_OR_RETURN(const std::string folder, FindRunFolder(options->name));
  ASSIGN_OR_RETURN(const MeshState state, ReadState(folder));
  options->url = absl::StrCat("http://", state.http);
  if (options->model.empty()) options->model = state.model;
  return absl::OkStatus();
}

std::string RequestBody(const ChatOptions& options, const Json& messages) {
  Json body = {{"model", options.model}, {"messages", messages}, {"stream", true}};
  if (options.temperature >= 0) body["temperature"] = options.temperature;
  if (options.max_tokens > 0) body["max_completion_tokens"] = options.max_tokens;
  return body.dump();
}

std::string ErrorMessage(const std::string& body) {
  const Json json = Json::parse(body, nullptr, false);
  if (json.is_object() && json.contains("error") && json["error"].is_object()) {
    return json["error"].value("message", body);
  }
  return body;
}

// Prints the answer as it comes and returns it whole.
absl::StatusOr<std::string> Ask(const ChatOptions& options, const Json& messages) {
  HttpClientOptions client_options;
  client_options.url = options.url;
  client_options.api_key = options.api_key;
  client_options.ca_file = options.ca_file;
  ASSIGN_OR_RETURN(auto client, HttpClient::Connect(client_options));
  std::string answer, raw, error;
  SseParser parser([&](const std::string& data) {
    const Json event = Json::parse(data, nullptr, false);
    if (!event.is_object()) return;
    if (event.contains("error")) error = ErrorMessage(data);
    if (!event.contains("choices") || event["choices"].empty()) return;
    const Json& delta = event["choices"][0]["delta"];
    if (!delta.contains("content") || !delta["content"].is_string()) return;
    const std::string text = delta["content"];
    answer += text;
    std::cout << text << std::flush;
  });
  absl::Status parsed;
  ASSIGN_OR_RETURN(const int code, client->Request("POST", "/v1/chat/completions", RequestBody(options, messages),
                                                   [&](absl::string_view piece) {
                                                     if (raw.size() < 65536) absl::StrAppend(&raw, piece);
                                                     if (parsed.ok()) parsed = parser.Feed(piece);
                                                   }));
  std::cout << "\n";
  if (code != 200) return absl::UnavailableError(absl::StrCat("HTTP ", code, ": ", ErrorMessage(raw)));
  if (!error.empty()) return absl::UnavailableError(error);
  RETURN_IF_ERROR(parsed);
  return answer;
}

}  // namespace

absl::Status Chat(ChatOptions options) {
  RETURN_IF_ERROR(FindRouter(&options));
  Json messages = Json::array();
  if (!options.system.empty()) messages.push_back({{"role", "system"}, {"content", options.system}});
  if (!options.message.empty()) {
    messages.push_back({{"role", "user"}, {"content", options.message}});
    return Ask(options, messages).status();
  }
  const bool terminal = isatty(STDIN_FILENO);
  if (terminal) std::cout << "chat with " << options.model << "; Ctrl-D ends\n";
  std::string line;
  while (true) {
    if (terminal) std::cout << "> " << std::flush;
    if (!std::getline(std::cin, line)) return absl::OkStatus();
    if (line.empty()) continue;
    messages.push_back({{"role", "user"}, {"content", line}});
    ASSIGN_OR_RETURN(const std::string answer, Ask(options, messages));
    messages.push_back({{"role", "assistant"}, {"content", answer}});
  }
}

}  // namespace slmmesh
