#include "worker/checkpoint/json_fields.h"

#include <cmath>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"

namespace slmmesh {
namespace {

constexpr size_t kMaxDepth = 64;

// A first pass over the text that keeps nothing but the keys of the open objects: it stops at the first thing that is
// not allowed, before anything large was built.
class JsonGuard : public nlohmann::json_sax<Json> {
 public:
  explicit JsonGuard(int64_t max_values) : values_left_(max_values) {}
  const std::string& problem() const { return problem_; }

  bool null() override { return Count(); }
  bool boolean(bool) override { return Count(); }
  bool number_integer(number_integer_t) override { return Count(); }
  bool number_unsigned(number_unsigned_t) override { return Count(); }
  bool number_float(number_float_t, const string_t&) override { return Count(); }
  bool string(string_t&) override { return Count(); }
  bool binary(binary_t&) override { return Fail("binary data"); }
  bool start_object(std::size_t) override { return Open(); }
  bool start_array(std::size_t) override { return Open(); }
  bool end_object() override { return Close(); }
  bool end_array() override { return Close(); }
  bool key(string_t& name) override {
    if (!keys_.back().insert(name).second)
      return Fail(absl::StrCat("the key `", name.substr(0, 80), "` is there twice"));
    return true;
  }
  bool parse_error(std::size_t position, const std::string&, const nlohmann::detail::exception&) override {
    return Fail(absl::StrCat("not valid JSON at byte ", position));
  }

 private:
  bool Count() { return --values_left_ >= 0 || Fail("too many values"); }
  bool Open() {
    if (keys_.size() >= kMaxDepth) return Fail(absl::StrCat("nested deeper than ", kMaxDepth));
    keys_.emplace_back();
    return Count();
  }
  bool Close() {
    keys_.pop_back();
    return true;
  }
  bool Fail(std::string problem) {
    problem_ = std::move(problem);
    return false;
  }

  int64_t values_left_;
  std::vector<absl::flat_hash_set<std::string>> keys_;
  std::string problem_;
};

}  // namespace

absl::StatusOr<Json> ParseJson(const std::string& where, absl::string_view text, int64_t max_values) {
  JsonGuard guard(max_values);
  if (!Json::sax_parse(text.begin(), text.end(), &guard)) {
    return absl::InvalidArgumentError(absl::StrCat(where, ": ", guard.problem()));
  }
  return Json::parse(text.begin(), text.end(), nullptr, /*allow_exceptions=*/false);
}

std::string ShowJson(const Json& value) {
  constexpr size_t kMaxShown = 60;
  if (value.is_object() && value.size() > 8) return absl::StrCat("an object of ", value.size(), " fields");
  if (value.is_array() && value.size() > 8) return absl::StrCat("a list of ", value.size());
  const std::string shown = value.dump(-1, ' ', /*ensure_ascii=*/true, Json::error_handler_t::replace);
  return shown.size() <= kMaxShown ? shown : absl::StrCat(shown.substr(0, kMaxShown), "…");
}

absl::StatusOr<JsonFields> JsonFields::Create(std::string where, const Json& value) {
  if (!value.is_object()) {
    return absl::InvalidArgumentError(absl::StrCat(where, ": is ", ShowJson(value), "; expected an object"));
  }
  return JsonFields(std::move(where), &value);
}

const Json* JsonFields::Find(const char* name) const {
  const auto found = object_->find(name);
  return found == object_->end() || found->is_null() ? nullptr : &*found;
}

absl::Status JsonFields::Error(const char* name, absl::string_view expected) const {
  const auto found = object_->find(name);
  const std::string value = found == object_->end() ? "missing" : ShowJson(*found);
  return absl::InvalidArgumentError(absl::StrCat(where_, ": field `", name, "` is ", value, "; expected ", expected));
}

absl::StatusOr<int64_t> JsonFields::Integer(const char* name, int64_t min, int64_t max) const {
  const Json* value = Find(name);
  const bool is_integer = value != nullptr && value->is_number_integer();
  const bool fits = is_integer && !(value->is_number_unsigned() && value->get<uint64_t>() > uint64_t{INT64_MAX});
  if (!fits || value->get<int64_t>() < min || value->get<int64_t>() > max) {
    return Error(name, absl::StrCat("an integer from ", min, " to ", max));
  }
  return value->get<int64_t>();
}

absl::StatusOr<double> JsonFields::Number(const char* name, double min, double max) const {
  const Json* value = Find(name);
  // Written so that NaN is out of bounds.
  if (value == nullptr || !value->is_number() || !(value->get<double>() >= min && value->get<double>() <= max)) {
    return Error(name, absl::StrCat("a number from ", min, " to ", max));
  }
  return value->get<double>();
}

absl::StatusOr<std::string> JsonFields::String(const char* name) const {
  const Json* value = Find(name);
  if (value == nullptr || !value->is_string()) return Error(name, "a string");
  return value->get<std::string>();
}

absl::StatusOr<int64_t> JsonFields::IntegerOr(const char* name, int64_t fallback, int64_t min, int64_t max) const {
  if (!Has(name)) return fallback;
  return Integer(name, min, max);
}

absl::StatusOr<double> JsonFields::NumberOr(const char* name, double fallback, double min, double max) const {
  if (!Has(name)) return fallback;
  return Number(name, min, max);
}

absl::StatusOr<bool> JsonFields::BoolOr(const char* name, bool fallback) const {
  const Json* value = Find(name);
  if (value == nullptr) return fallback;
  if (!value->is_boolean()) return Error(name, "true or false");
  return value->get<bool>();
}

absl::StatusOr<std::string> JsonFields::StringOr(const char* name, std::string fallback) const {
  if (!Has(name)) return fallback;
  return String(name);
}

}  // namespace slmmesh
