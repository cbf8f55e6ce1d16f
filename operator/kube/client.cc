#include "operator/kube/client.h"

#include <algorithm>
#include <atomic>
#include <optional>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/clock.h"
#include "common/random.h"
#include "common/status.h"
#include "nlohmann/json.hpp"
#include "operator/kube/api_error.h"
#include "operator/kube/api_path.h"
#include "operator/kube/connection_pool.h"
#include "operator/kube/list_splitter.h"
#include "operator/kube/rate_limiter.h"
#include "operator/kube/watch_lines.h"

namespace slmmesh::kube {
namespace {

constexpr int kMaxTries = 10;                                  // of one call that is told to come again
constexpr size_t kMaxErrorBytes = size_t{64} << 10;            // of a Status object
constexpr int kMaxStartsOfList = 3;                            // the second has no pages and cannot expire
constexpr int kMaxPages = 100000;                              // a server that never ends its list
constexpr absl::Duration kMaxWatchSilence = absl::Minutes(3);  // bookmarks come every minute
constexpr absl::Duration kShortestWatch = absl::Minutes(5);
constexpr absl::Duration kLongestWatch = absl::Minutes(10);
constexpr absl::Duration kWatchGrace = absl::Seconds(30);  // the server ends a watch; we only if it does not
constexpr absl::Duration kSleepSlice = absl::Milliseconds(200);

// Takes the pieces of a body; its error ends the response.
using BodySink = std::function<absl::Status(absl::string_view piece)>;

BodySink AppendTo(std::string& body, size_t max_bytes) {
  return [&body, max_bytes](absl::string_view piece) {
    if (body.size() + piece.size() > max_bytes) {
      return absl::UnavailableError(absl::StrCat("the API server's answer is over ", max_bytes, " bytes"));
    }
    body.append(piece.data(), piece.size());
    return absl::OkStatus();
  };
}

// Of an error: what is over is dropped, its HTTP status tells enough.
BodySink AppendBeginningTo(std::string& body, size_t max_bytes) {
  return [&body, max_bytes](absl::string_view piece) {
    body.append(piece.data(), std::min(piece.size(), max_bytes - body.size()));
    return absl::OkStatus();
  };
}

bool IsSuccess(int http_status) { return http_status >= 200 && http_status < 300; }

// How long to wait before the same request may be sent again; nullopt: it may not. A 429 was not carried out; after a
// 5xx only a request that may be done twice is sent again. Without a time to wait the answer is final: an eviction that
// a disruption budget forbids, for one.
std::optional<absl::Duration> WaitBeforeRetry(const HttpHead& head, bool repeatable) {
  if (head.status != 429 && !(head.status >= 500 && repeatable)) return std::nullopt;
  int64_t seconds = 0;
  if (!absl::SimpleAtoi(head.retry_after, &seconds) || seconds < 0) return std::nullopt;
  return absl::Seconds(std::max<int64_t>(seconds, 1));
}

absl::Status SleepFor(absl::Duration duration, const Patience& patience) {
  const absl::Time end = Clock::Real().Now() + duration;
  while (Clock::Real().Now() < end) {
    if (patience.cancelled && patience.cancelled()) return absl::CancelledError("cancelled");
    absl::SleepFor(std::min(kSleepSlice, end - Clock::Real().Now()));
  }
  return absl::OkStatus();
}

struct Request {
  std::string what;  // "create pods default/a": stands before every error
  std::string method;
  std::string target;
  std::string content_type;
  std::string body;
  bool limited = true;  // counts against queries_per_second
  bool repeatable() const { return method != "POST"; }
};

class HttpClient : public Client {
 public:
  HttpClient(Options options, const ServerUrl& server, std::unique_ptr<Credentials> credentials)
      : options_(std::move(options)),
        path_prefix_(server.path_prefix),
        credentials_(std::move(credentials)),
        pool_(server, options_.config.tls_server_name, credentials_.get(), options_.max_connections) {
    if (options_.queries_per_second > 0) {
      limiter_.emplace(options_.queries_per_second, std::max(1.0, 2 * options_.queries_per_second));
    }
  }

  absl::StatusOr<nlohmann::json> Get(const ObjectRef& ref) override {
    return CallForJson({absl::StrCat("get ", Describe(ref)), "GET", ObjectPath(ref)});
  }

  absl::StatusOr<nlohmann::json> Create(const ObjectRef& ref, const nlohmann::json& object) override {
    return CallForJson(
        {absl::StrCat("create ", Describe(ref)), "POST", CreatePath(ref), "application/json", Dump(object)});
  }

  absl::StatusOr<nlohmann::json> Update(const ObjectRef& ref, const nlohmann::json& object) override {
    return CallForJson(
        {absl::StrCat("update ", Describe(ref)), "PUT", ObjectPath(ref), "application/json", Dump(object)});
  }

  absl::StatusOr<nlohmann::json> Apply(const ObjectRef& ref, const nlohmann::json& object,
                                       const std::string& field_manager, bool force) override {
    const std::string target =
        WithQuery(ObjectPath(ref), {{"fieldManager", field_manager}, {"force", force ? "true" : "false"}});
    // JSON is YAML.
    return CallForJson(
        {absl::StrCat("apply ", Describe(ref)), "PATCH", target, "application/apply-patch+yaml", Dump(object)});
  }

  absl::StatusOr<nlohmann::json> MergePatch(const ObjectRef& ref, const nlohmann::json& patch) override {
    return CallForJson(
        {absl::StrCat("patch ", Describe(ref)), "PATCH", ObjectPath(ref), "application/merge-patch+json", Dump(patch)});
  }

  absl::Status Delete(const ObjectRef& ref, const DeleteOptions& options) override {
    nlohmann::json body = {{"apiVersion", "v1"}, {"kind", "DeleteOptions"}};
    if (!options.propagation.empty()) body["propagationPolicy"] = options.propagation;
    if (options.grace_seconds >= 0) body["gracePeriodSeconds"] = options.grace_seconds;
    if (!options.uid.empty()) body["preconditions"]["uid"] = options.uid;
    const Request request{absl::StrCat("delete ", Describe(ref)), "DELETE", ObjectPath(ref), "application/json",
                          Dump(body)};
    return Call(request, PatienceNow(), [](absl::string_view) { return absl::OkStatus(); });
  }

  absl::StatusOr<std::string> GetRaw(const std::string& path) override {
    std::string body;
    RETURN_IF_ERROR(Call({absl::StrCat("get ", path), "GET", path}, PatienceNow(), AppendTo(body, kMaxObjectBytes)));
    return body;
  }

  absl::StatusOr<std::string> List(const Resource& resource, const ListOptions& options,
                                   const std::function<void(const nlohmann::json& item)>& visit) override;

  absl::Status Watch(const Resource& resource, const ListOptions& options, const std::string& resource_version,
                     const std::function<void(WatchEventType type, const nlohmann::json& object)>& visit,
                     const std::function<bool()>& cancelled) override;

  ClientStats stats() const override { return {requests_.load(), failures_.load()}; }

 private:
  Patience PatienceNow(std::function<bool()> cancelled = nullptr) const {
    return {Clock::Real().Now() + options_.request_timeout, std::move(cancelled)};
  }

  // Bytes that are no UTF-8 (in an error's text, say) are replaced, never thrown about.
  static std::string Dump(const nlohmann::json& object) {
    return object.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  }

  absl::StatusOr<nlohmann::json> CallForJson(const Request& request);
  absl::StatusOr<nlohmann::json> ListPage(const Resource& resource, const ListOptions& options, int page_size,
                                          const std::string& token,
                                          const std::function<void(const nlohmann::json& item)>& visit);
  // One request until it is answered for good; the body of a success goes to `sink`.
  absl::Status Call(const Request& request, const Patience& patience, const BodySink& sink);
  absl::Status CallUncounted(const Request& request, const Patience& patience, const BodySink& sink);
  // One request on one connection. `retry_in`: the server asks to come again.
  absl::Status Exchange(Connection& connection, const Request& request, const Patience& patience, const BodySink& sink,
                        std::optional<absl::Duration>& retry_in);
  absl::Status WatchOn(Connection& connection, const Request& request, absl::Time end,
                       const std::function<bool()>& cancelled, const BodySink& sink);
  HttpRequest Prepare(const Request& request) const {
    return {request.method,       path_prefix_ + request.target,
            request.content_type, credentials_->CurrentToken(),
            options_.user_agent,  request.body};
  }
  absl::Status Counted(absl::Status status) {
    if (!status.ok() && !absl::IsCancelled(status)) failures_.fetch_add(1, std::memory_order_relaxed);
    return status;
  }

  const Options options_;
  const std::string path_prefix_;
  const std::unique_ptr<Credentials> credentials_;
  ConnectionPool pool_;
  std::optional<RateLimiter> limiter_;
  std::atomic<uint64_t> requests_{0};
  std::atomic<uint64_t> failures_{0};
};

absl::Status HttpClient::Exchange(Connection& connection, const Request& request, const Patience& patience,
                                  const BodySink& sink, std::optional<absl::Duration>& retry_in) {
  requests_.fetch_add(1, std::memory_order_relaxed);
  RETURN_IF_ERROR(connection.Send(Prepare(request), patience));
  ASSIGN_OR_RETURN(const HttpHead head, connection.ReadHead(patience));
  std::string error_body;
  const BodySink error_sink = AppendBeginningTo(error_body, kMaxErrorBytes);
  const BodySink& body_sink = IsSuccess(head.status) ? sink : error_sink;
  while (true) {
    ASSIGN_OR_RETURN(const absl::string_view piece, connection.ReadBody(patience));
    if (piece.empty()) break;
    RETURN_IF_ERROR(body_sink(piece));
  }
  if (IsSuccess(head.status)) return absl::OkStatus();
  retry_in = WaitBeforeRetry(head, request.repeatable());
  return ErrorOfResponse(head.status, error_body, request.what);
}

absl::Status HttpClient::CallUncounted(const Request& request, const Patience& patience, const BodySink& sink) {
  if (limiter_.has_value() && request.limited) {
    const absl::Duration wait = limiter_->Reserve(Clock::Real().Now());
    if (Clock::Real().Now() + wait > patience.deadline) {
      return absl::DeadlineExceededError(absl::StrCat(request.what, ": over our own limit of requests a second"));
    }
    RETURN_IF_ERROR(SleepFor(wait, patience));
  }
  Reuse reuse = Reuse::kAllowed;
  absl::Status status;
  for (int tries = 0; tries < kMaxTries; ++tries) {
    std::optional<absl::Duration> retry_in;
    {
      absl::StatusOr<ConnectionPool::Loan> loan = pool_.Borrow(reuse, patience);
      if (!loan.ok()) return Annotate(loan.status(), request.what);
      status = Exchange(**loan, request, patience, sink, retry_in);
      // The server closed an idle connection just as we sent: once more on a new one, if twice is as good as once.
      const bool was_stale = absl::IsUnavailable(status) && loan->reused() && !(*loan)->answered();
      if (was_stale && request.repeatable() && reuse == Reuse::kAllowed) {
        reuse = Reuse::kFreshOnly;
        continue;
      }
    }
    if (!retry_in.has_value() || Clock::Real().Now() + *retry_in > patience.deadline) return status;
    RETURN_IF_ERROR(SleepFor(*retry_in, patience));
  }
  return status;
}

absl::Status HttpClient::Call(const Request& request, const Patience& patience, const BodySink& sink) {
  return Counted(CallUncounted(request, patience, sink));
}

absl::StatusOr<nlohmann::json> HttpClient::CallForJson(const Request& request) {
  std::string body;
  RETURN_IF_ERROR(Call(request, PatienceNow(), AppendTo(body, kMaxObjectBytes)));
  nlohmann::json object = nlohmann::json::parse(body, nullptr, /*allow_exceptions=*/false);
  if (!object.is_object()) {
    return Counted(absl::UnavailableError(absl::StrCat(request.what, ": the API server's answer is no JSON object")));
  }
  return object;
}

absl::StatusOr<nlohmann::json> HttpClient::ListPage(const Resource& resource, const ListOptions& options, int page_size,
                                                    const std::string& token,
                                                    const std::function<void(const nlohmann::json& item)>& visit) {
  Request request;
  request.what = absl::StrCat("list ", resource.plural);
  request.method = "GET";
  request.target =
      WithQuery(CollectionPath(resource, options.ns), {{"labelSelector", options.label_selector},
                                                       {"fieldSelector", options.field_selector},
                                                       {"limit", page_size > 0 ? absl::StrCat(page_size) : ""},
                                                       {"continue", token}});
  request.limited = false;
  ListSplitter splitter(visit);
  RETURN_IF_ERROR(Call(request, PatienceNow(options.cancelled),
                       [&splitter](absl::string_view piece) { return splitter.Feed(piece); }));
  absl::StatusOr<nlohmann::json> list = splitter.Finish();
  if (!list.ok()) return Counted(Annotate(list.status(), request.what));
  return list;
}

absl::StatusOr<std::string> HttpClient::List(const Resource& resource, const ListOptions& options,
                                             const std::function<void(const nlohmann::json& item)>& visit) {
  std::string token;
  int page_size = options.page_size;
  int starts = 1;
  for (int pages = 0; pages < kMaxPages; ++pages) {
    absl::StatusOr<nlohmann::json> list = ListPage(resource, options, page_size, token, visit);
    if (absl::IsOutOfRange(list.status()) && !token.empty() && starts < kMaxStartsOfList) {
      ++starts;
      token.clear();
      page_size = 0;  // all in one page, which cannot expire
      if (options.started_over) options.started_over();
      continue;
    }
    if (!list.ok()) return list.status();
    token = MetadataTextAt(*list, "continue");
    if (token.empty()) return MetadataTextAt(*list, "resourceVersion");
  }
  return absl::UnavailableError(absl::StrCat("list ", resource.plural, ": over ", kMaxPages, " pages"));
}

absl::Status HttpClient::WatchOn(Connection& connection, const Request& request, absl::Time end,
                                 const std::function<bool()>& cancelled, const BodySink& sink) {
  const auto patience = [&](absl::Duration duration) {
    return Patience{std::min(end, Clock::Real().Now() + duration), cancelled};
  };
  RETURN_IF_ERROR(connection.Send(Prepare(request), patience(options_.request_timeout)));
  ASSIGN_OR_RETURN(const HttpHead head, connection.ReadHead(patience(options_.request_timeout)));
  std::string error_body;
  const BodySink error_sink = AppendBeginningTo(error_body, kMaxErrorBytes);
  const bool success = IsSuccess(head.status);
  while (true) {
    ASSIGN_OR_RETURN(const absl::string_view piece,
                     connection.ReadBody(patience(success ? kMaxWatchSilence : options_.request_timeout)));
    if (piece.empty()) break;
    RETURN_IF_ERROR(success ? sink(piece) : error_sink(piece));
    if (cancelled && cancelled()) return absl::CancelledError("cancelled");
  }
  return success ? absl::OkStatus() : ErrorOfResponse(head.status, error_body, request.what);
}

absl::Status HttpClient::Watch(const Resource& resource, const ListOptions& options,
                               const std::string& resource_version,
                               const std::function<void(WatchEventType type, const nlohmann::json& object)>& visit,
                               const std::function<bool()>& cancelled) {
  // Spread out, or all watches of a restarted server would end together ever after.
  const absl::Duration span = kLongestWatch - kShortestWatch;
  const absl::Duration lifetime =
      kShortestWatch + absl::Seconds(RandomUint64() % static_cast<uint64_t>(absl::ToInt64Seconds(span)));
  Request request;
  request.what = absl::StrCat("watch ", resource.plural);
  request.method = "GET";
  request.target = WithQuery(CollectionPath(resource, options.ns),
                             {{"watch", "true"},
                              {"allowWatchBookmarks", "true"},
                              {"labelSelector", options.label_selector},
                              {"fieldSelector", options.field_selector},
                              {"resourceVersion", resource_version},
                              {"timeoutSeconds", absl::StrCat(absl::ToInt64Seconds(lifetime))}});
  requests_.fetch_add(1, std::memory_order_relaxed);
  absl::StatusOr<std::unique_ptr<Connection>> connection = pool_.OpenOwn(PatienceNow(cancelled));
  if (!connection.ok()) return Counted(Annotate(connection.status(), request.what));
  LineSplitter lines(kMaxObjectBytes);
  const auto take_line = [&visit](absl::string_view line) {
    ASSIGN_OR_RETURN(const WatchEvent event, DecodeWatchLine(line));
    visit(event.type, event.object);
    return absl::OkStatus();
  };
  return Counted(WatchOn(**connection, request, Clock::Real().Now() + lifetime + kWatchGrace, cancelled,
                         [&](absl::string_view piece) { return lines.Feed(piece, take_line); }));
}

}  // namespace

absl::StatusOr<std::unique_ptr<Client>> Client::Create(Options options) {
  ASSIGN_OR_RETURN(const ServerUrl server, ParseServerUrl(options.config.server));
  if (options.max_connections < 1) return absl::InvalidArgumentError("max_connections must be at least 1");
  if (options.request_timeout <= absl::ZeroDuration()) {
    return absl::InvalidArgumentError("request_timeout must be more than nothing");
  }
  ASSIGN_OR_RETURN(std::unique_ptr<Credentials> credentials, Credentials::Create(options.config));
  return std::make_unique<HttpClient>(std::move(options), server, std::move(credentials));
}

}  // namespace slmmesh::kube
