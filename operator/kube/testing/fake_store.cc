#include "operator/kube/testing/fake_store.h"

#include <algorithm>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"

namespace slmmesh::kube {
namespace {

constexpr absl::Duration kEndingCheckPeriod = absl::Milliseconds(20);

std::string VersionOf(const nlohmann::json& object) { return object.at("metadata").value("resourceVersion", ""); }

int64_t Number(const std::string& text) {
  int64_t number = 0;
  return absl::SimpleAtoi(text, &number) ? number : 0;
}

}  // namespace

// /api/v1/namespaces/ns/pods/name/status → {/api/v1/pods, ns, name}. Subresources are the object itself.
FakeStore::Place FakeStore::PlaceOf(const std::string& path) {
  std::vector<std::string> parts = absl::StrSplit(path, '/', absl::SkipEmpty());
  const size_t root = !parts.empty() && parts[0] == "api" ? 2 : 3;
  Place place;
  if (parts.size() > root + 2 && parts[root] == "namespaces") {
    place.ns = parts[root + 1];
    parts.erase(parts.begin() + root, parts.begin() + root + 2);
  }
  if (parts.size() > root + 1) place.name = parts[root + 1];
  parts.resize(std::min(parts.size(), root + 1));
  place.collection = absl::StrCat("/", absl::StrJoin(parts, "/"));
  return place;
}

nlohmann::json FakeStore::Save(const Place& place, nlohmann::json object, const char* type) {
  object["metadata"]["name"] = place.name;
  if (!place.ns.empty()) object["metadata"]["namespace"] = place.ns;
  object["metadata"]["resourceVersion"] = absl::StrCat(++version_);
  if (std::string(type) == "DELETED") {
    objects_.erase(KeyAt(place));
  } else {
    objects_[KeyAt(place)] = object;
  }
  changes_.push_back({version_, type, place, object});
  return object;
}

void FakeStore::Put(const std::string& collection, const std::string& ns, const std::string& name,
                    const nlohmann::json& more) {
  const absl::MutexLock lock(&mutex_);
  const Place place{collection, ns, name};
  Save(place, more, objects_.contains(KeyAt(place)) ? "MODIFIED" : "ADDED");
}

void FakeStore::Remove(const std::string& collection, const std::string& ns, const std::string& name) {
  const absl::MutexLock lock(&mutex_);
  const Place place{collection, ns, name};
  Save(place, objects_.at(KeyAt(place)), "DELETED");
}

nlohmann::json FakeStore::Find(const std::string& collection, const std::string& ns, const std::string& name) const {
  const absl::MutexLock lock(&mutex_);
  const auto found = objects_.find(KeyAt({collection, ns, name}));
  return found == objects_.end() ? nlohmann::json() : found->second;
}

size_t FakeStore::Count(const std::string& collection) const {
  const absl::MutexLock lock(&mutex_);
  return std::count_if(objects_.begin(), objects_.end(),
                       [&](const auto& entry) { return entry.first.first == collection; });
}

void FakeStore::EndWatches() {
  const absl::MutexLock lock(&mutex_);
  ++ended_;
}

void FakeStore::BreakWatches() {
  const absl::MutexLock lock(&mutex_);
  ++broken_;
}

void FakeStore::Compact() {
  const absl::MutexLock lock(&mutex_);
  compacted_ = ++version_;
  changes_.clear();
}

void FakeStore::ExpireContinue(int n) {
  const absl::MutexLock lock(&mutex_);
  expire_ = n;
}

int FakeStore::watches() const {
  const absl::MutexLock lock(&mutex_);
  return watches_;
}

int FakeStore::lists() const {
  const absl::MutexLock lock(&mutex_);
  return lists_;
}

void FakeStore::Handle(FakeExchange& exchange) {
  const Place place = PlaceOf(exchange.path);
  if (exchange.method == "GET" && place.name.empty()) {
    return exchange.query.contains("watch") ? Watch(exchange, place) : List(exchange, place);
  }
  if (exchange.method == "GET") {
    const nlohmann::json object = Find(place.collection, place.ns, place.name);
    if (object.is_null()) return exchange.Reply(404, StatusBody(404, "NotFound", "not found"));
    return exchange.Reply(200, object.dump());
  }
  const auto [status, body] = Write(exchange.method, place, exchange.body);
  exchange.Reply(status, body);
}

// The token is the key after which to go on.
void FakeStore::List(FakeExchange& exchange, const Place& place) {
  const std::string token = exchange.query["continue"];
  const int64_t limit = exchange.query.contains("limit") ? Number(exchange.query["limit"]) : 1 << 30;
  nlohmann::json list = {{"kind", "List"}, {"apiVersion", "v1"}, {"metadata", nlohmann::json::object()}};
  nlohmann::json items = nlohmann::json::array();
  {
    const absl::MutexLock lock(&mutex_);
    if (token.empty()) ++lists_;
    if (!token.empty() && expire_ > 0) {
      --expire_;
      list.clear();
    } else {
      list["metadata"]["resourceVersion"] = absl::StrCat(version_);
      for (auto it = objects_.upper_bound({place.collection, token}); it != objects_.end(); ++it) {
        if (it->first.first != place.collection) break;
        if (!place.ns.empty() && !it->first.second.starts_with(place.ns + "/")) continue;
        if (static_cast<int64_t>(items.size()) == limit) {
          list["metadata"]["continue"] = KeyAt({"", items.back()["metadata"].value("namespace", ""),
                                                items.back()["metadata"]["name"].get<std::string>()})
                                             .second;
          break;
        }
        items.push_back(it->second);
      }
    }
  }
  if (list.empty()) return exchange.Reply(410, StatusBody(410, "Expired", "the continue token is too old"));
  list["items"] = std::move(items);
  exchange.Reply(200, list.dump());
}

void FakeStore::Watch(FakeExchange& exchange, const Place& place) {
  int64_t seen = Number(exchange.query["resourceVersion"]);
  exchange.BeginStream();
  const absl::MutexLock lock(&mutex_);
  ++watches_;
  const int ended = ended_;
  const int broken = broken_;
  while (true) {
    std::string lines;
    const auto line = [&lines](const char* type, const nlohmann::json& object) {
      absl::StrAppend(&lines, nlohmann::json{{"type", type}, {"object", object}}.dump(), "\n");
    };
    const bool gone = seen < compacted_;
    if (gone) line("ERROR", nlohmann::json::parse(StatusBody(410, "Expired", "too old resource version")));
    for (const Change& change : changes_) {
      const bool ours =
          change.place.collection == place.collection && (place.ns.empty() || place.ns == change.place.ns);
      if (!gone && change.version > seen && ours) line(change.type.c_str(), change.object);
    }
    seen = version_;
    // As the real one: a bookmark before it ends.
    if (ended_ > ended && !gone) {
      line("BOOKMARK", {{"kind", "x"}, {"metadata", {{"resourceVersion", absl::StrCat(seen)}}}});
    }
    const bool ends = gone || ended_ > ended;
    const bool breaks = broken_ > broken;
    mutex_.Unlock();
    const bool there = lines.empty() ? exchange.Chunk("") : exchange.Chunk(lines);
    if (ends) exchange.EndStream();
    if (breaks) exchange.Drop();
    mutex_.Lock();
    if (ends || breaks || !there) break;
    const auto news = [&] { return version_ > seen || ended_ > ended || broken_ > broken; };
    while (!exchange.ending() && !mutex_.AwaitWithTimeout(absl::Condition(&news), kEndingCheckPeriod)) {
    }
  }
  --watches_;
}

std::pair<int, std::string> FakeStore::Write(const std::string& method, Place place, const std::string& body) {
  const absl::MutexLock lock(&mutex_);
  const nlohmann::json given = nlohmann::json::parse(body, nullptr, false);
  if (method == "POST") place.name = given["metadata"].value("name", "");
  const auto found = objects_.find(KeyAt(place));
  const bool exists = found != objects_.end();
  if (method == "POST") {
    if (exists) return {409, StatusBody(409, "AlreadyExists", place.name + " already exists")};
    return {201, Save(place, given, "ADDED").dump()};
  }
  if (!exists) return {404, StatusBody(404, "NotFound", place.name + " not found")};
  nlohmann::json object = found->second;
  if (method == "DELETE") return {200, Save(place, object, "DELETED").dump()};
  if (method == "PUT") {
    const std::string version = VersionOf(given);
    if (!version.empty() && version != VersionOf(object))
      return {409, StatusBody(409, "Conflict", "changed meanwhile")};
    return {200, Save(place, given, "MODIFIED").dump()};
  }
  object.merge_patch(given);
  return {200, Save(place, object, "MODIFIED").dump()};
}

}  // namespace slmmesh::kube
