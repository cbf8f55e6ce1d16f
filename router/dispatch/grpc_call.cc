#include "router/dispatch/grpc_call.h"

#include <nghttp2/nghttp2.h>

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace slmmesh {
namespace {

constexpr size_t kPrefixBytes = 5;  // of a message: a flag (compressed), its length in four bytes
constexpr int32_t kWindowBytes = 16 << 20;
constexpr uint32_t kMaxFrameBytes = 1 << 20;

nghttp2_nv Field(std::string_view name, std::string_view value) {
  // nghttp2 copies both, and writes to neither.
  return {reinterpret_cast<uint8_t*>(const_cast<char*>(name.data())),
          reinterpret_cast<uint8_t*>(const_cast<char*>(value.data())), name.size(), value.size(), NGHTTP2_NV_FLAG_NONE};
}

void AppendPrefix(std::string* out, uint32_t size) {
  const char prefix[kPrefixBytes] = {0, static_cast<char>(size >> 24), static_cast<char>(size >> 16),
                                     static_cast<char>(size >> 8), static_cast<char>(size)};
  out->append(prefix, sizeof prefix);
}

// `prefix` has its kPrefixBytes.
size_t SizeIn(std::string_view prefix) {
  const auto byte = [&](size_t i) { return size_t{static_cast<unsigned char>(prefix[i])}; };
  return byte(1) << 24 | byte(2) << 16 | byte(3) << 8 | byte(4);
}

// grpc-message is percent-encoded.
std::string PercentDecoded(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    const bool is_escape =
        text[i] == '%' && i + 2 < text.size() && absl::ascii_isxdigit(text[i + 1]) && absl::ascii_isxdigit(text[i + 2]);
    if (is_escape) {
      out += absl::HexStringToBytes(absl::string_view(text.data() + i + 1, 2));
      i += 2;
    } else {
      out.push_back(text[i]);
    }
  }
  return out;
}

}  // namespace

struct GrpcCall::State {
  nghttp2_session* session = nullptr;
  int32_t stream_id = -1;
  std::string unsent;  // messages with their prefixes, not yet nghttp2's
  size_t sent = 0;     // of them
  bool cancelled = false;
  std::string output;
  std::string input;  // of a message that is not complete
  const OnMessage* on_message = nullptr;
  bool over = false;
  int http_status = 0, grpc_status = -1;
  std::string grpc_message;
  absl::Status status;

  ~State() { nghttp2_session_del(session); }

  static State& Of(void* user) { return *static_cast<State*>(user); }

  static ssize_t OnReadBody(nghttp2_session*, int32_t, uint8_t* out, size_t room, uint32_t*, nghttp2_data_source*,
                            void* user) {
    State& state = Of(user);
    const size_t size = std::min(room, state.unsent.size() - state.sent);
    if (size == 0) return NGHTTP2_ERR_DEFERRED;
    state.unsent.copy(reinterpret_cast<char*>(out), size, state.sent);
    state.sent += size;
    if (state.sent == state.unsent.size()) {
      state.unsent.clear();
      state.sent = 0;
    }
    return static_cast<ssize_t>(size);
  }

  static int OnHeader(nghttp2_session*, const nghttp2_frame*, const uint8_t* name, size_t name_size,
                      const uint8_t* value, size_t value_size, uint8_t, void* user) {
    State& state = Of(user);
    const absl::string_view key(reinterpret_cast<const char*>(name), name_size);
    const absl::string_view text(reinterpret_cast<const char*>(value), value_size);
    if (key == ":status" && !absl::SimpleAtoi(text, &state.http_status)) state.http_status = -1;
    if (key == "grpc-status" && !absl::SimpleAtoi(text, &state.grpc_status)) state.grpc_status = -1;
    if (key == "grpc-message") state.grpc_message = PercentDecoded({text.data(), text.size()});
    return 0;
  }

  static int OnData(nghttp2_session*, uint8_t, int32_t, const uint8_t* data, size_t size, void* user) {
    State& state = Of(user);
    if (!state.over) state.TakeMessages({reinterpret_cast<const char*>(data), size});
    return 0;
  }

  static int OnStreamClose(nghttp2_session*, int32_t, uint32_t error_code, void* user) {
    State& state = Of(user);
    if (state.grpc_status >= 0) {
      const auto code = static_cast<absl::StatusCode>(state.grpc_status);
      state.End(absl::Status(code, state.grpc_message));
    } else {
      state.End(absl::UnavailableError(absl::StrCat("the call ended without a status (HTTP ", state.http_status, ", ",
                                                    nghttp2_http2_strerror(error_code), ")")));
    }
    return 0;
  }

  void End(absl::Status reason) {
    if (over) return;
    over = true;
    status = std::move(reason);
  }

  void TakeMessages(std::string_view bytes) {
    if (!input.empty()) {
      input.append(bytes);
      bytes = input;
    }
    while (!over && bytes.size() >= kPrefixBytes) {
      const size_t size = SizeIn(bytes);
      if (bytes[0] != 0) return End(absl::InternalError("a compressed message, which was not asked for"));
      if (size > kMaxMessageBytes) {
        return End(absl::ResourceExhaustedError(absl::StrCat("a message of ", size, " bytes")));
      }
      if (bytes.size() < kPrefixBytes + size) break;
      (*on_message)(bytes.substr(kPrefixBytes, size));
      bytes.remove_prefix(kPrefixBytes + size);
    }
    if (bytes.size() != input.size()) input = std::string(bytes);
  }
};

GrpcCall::GrpcCall() : state_(std::make_unique<State>()) {
  nghttp2_session_callbacks* callbacks = nullptr;
  nghttp2_session_callbacks_new(&callbacks);
  nghttp2_session_callbacks_set_on_header_callback(callbacks, State::OnHeader);
  nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, State::OnData);
  nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, State::OnStreamClose);
  nghttp2_session_client_new(&state_->session, callbacks, state_.get());
  nghttp2_session_callbacks_del(callbacks);
}

GrpcCall::~GrpcCall() = default;

void GrpcCall::Begin(const std::string& authority, const std::string& method) {
  const nghttp2_settings_entry settings[] = {{NGHTTP2_SETTINGS_ENABLE_PUSH, 0},
                                             {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, kWindowBytes},
                                             {NGHTTP2_SETTINGS_MAX_FRAME_SIZE, kMaxFrameBytes}};
  nghttp2_submit_settings(state_->session, NGHTTP2_FLAG_NONE, settings, std::size(settings));
  nghttp2_session_set_local_window_size(state_->session, NGHTTP2_FLAG_NONE, 0, kWindowBytes);
  const nghttp2_nv headers[] = {
      Field(":method", "POST"),          Field(":scheme", "https"), Field(":path", method),
      Field(":authority", authority),    Field("te", "trailers"),   Field("content-type", "application/grpc"),
      Field("user-agent", "mesh-router")};
  nghttp2_data_provider body{};
  body.read_callback = State::OnReadBody;
  state_->stream_id = nghttp2_submit_request(state_->session, nullptr, headers, std::size(headers), &body,
                                             /*stream_user_data=*/nullptr);
}

bool GrpcCall::begun() const { return state_->stream_id > 0; }

void GrpcCall::Send(std::string_view message) {
  if (state_->over || state_->cancelled) return;
  AppendPrefix(&state_->unsent, static_cast<uint32_t>(message.size()));
  state_->unsent.append(message);
  if (begun()) nghttp2_session_resume_data(state_->session, state_->stream_id);
}

void GrpcCall::Ping() {
  if (begun()) nghttp2_submit_ping(state_->session, NGHTTP2_FLAG_NONE, nullptr);
}

void GrpcCall::Cancel() {
  state_->cancelled = true;
  if (!begun()) return;
  nghttp2_submit_rst_stream(state_->session, NGHTTP2_FLAG_NONE, state_->stream_id, NGHTTP2_CANCEL);
}

std::string_view GrpcCall::TakeOutput() {
  state_->output.clear();
  const uint8_t* data = nullptr;
  ssize_t size = 0;
  while ((size = nghttp2_session_mem_send(state_->session, &data)) > 0) {
    state_->output.append(reinterpret_cast<const char*>(data), size);
  }
  if (size < 0) state_->End(absl::InternalError(nghttp2_strerror(static_cast<int>(size))));
  return state_->output;
}

bool GrpcCall::Receive(std::string_view bytes, const OnMessage& on_message) {
  state_->on_message = &on_message;
  const ssize_t used =
      nghttp2_session_mem_recv(state_->session, reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size());
  state_->on_message = nullptr;
  if (used < 0) state_->End(absl::UnavailableError(nghttp2_strerror(static_cast<int>(used))));
  return !state_->over;
}

const absl::Status& GrpcCall::status() const { return state_->status; }

}  // namespace slmmesh
