#include "operator/rollout.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <deque>

#include "absl/strings/str_cat.h"

namespace slmmesh {
namespace {

// Units in one letter each: what is wanted in capitals. S s: serves, r: ready, though no router says so, D d: serves
// and drains, L l: does not serve (yet); a number of requests may follow. Old ones are of the proven revision, or of
// one in between with an apostrophe before them.
class Units {
 public:
  explicit Units(const std::string& text) {
    bool is_between = false;
    for (const char c : text) {
      if (c == '\'') {
        is_between = true;
      } else if (c >= '0' && c <= '9') {
        units_.back().load = static_cast<uint32_t>(c - '0');
      } else {
        Add(c, is_between);
        is_between = false;
      }
    }
  }
  const std::vector<Unit>& get() const { return units_; }

 private:
  void Add(char c, bool is_between) {
    Unit unit;
    unit.is_wanted = c >= 'A' && c <= 'Z';
    unit.hash = unit.is_wanted ? "wanted" : is_between ? "between" : "proven";
    unit.revision = unit.is_wanted ? 3 : is_between ? 2 : 1;
    const char kind = static_cast<char>(unit.is_wanted ? c - 'A' + 'a' : c);
    unit.is_routable = kind == 's';
    unit.is_draining = kind == 'd';
    unit.may_serve = kind != 'l';
    ObservedPod& pod = pods_.emplace_back();
    pod.name = absl::StrCat("pod-", pods_.size());
    pod.slot = static_cast<uint32_t>(pods_.size());
    unit.pods = {&pod};
    units_.push_back(unit);
  }

  std::deque<ObservedPod> pods_;
  std::vector<Unit> units_;
};

struct Case {
  const char* units;
  uint32_t wanted, surge, unavailable;
  const char* leaves;  // by unit: x or .
  uint32_t wanted_units;
  uint32_t proven_units;
};

TEST(RolloutTest, Decides) {
  const Case cases[] = {
      // Nothing to do, creation, scaling.
      {"", 2, 1, 0, "", 1, 2},  // what is proven comes first
      {"SS", 2, 1, 0, "..", 2, 0},
      {"SSS", 2, 1, 0, "..x", 2, 0},    // the newest
      {"S5S9S", 2, 1, 0, "..x", 2, 0},  // the least busy
      {"S1SS9", 2, 1, 0, ".x.", 2, 0},
      {"SLS", 2, 1, 0, ".x.", 2, 0},  // what does not serve first
      {"SDS", 2, 1, 0, ".x.", 2, 0},  // what is on its way already
      {"SDS", 3, 1, 0, "...", 3, 0},  // wanted again: it comes back
      {"SS", 0, 1, 0, "xx", 0, 0},
      {"rrr", 2, 1, 0, "...", 0, 3},  // no router speaks: nothing that may serve goes
      // Surge.
      {"ss", 2, 1, 0, "..", 1, 2},
      {"ssL", 2, 1, 0, "...", 1, 2},
      {"ssS", 2, 1, 0, "x..", 1, 1},
      {"dsS", 2, 1, 0, "x..", 1, 1},
      {"sS", 2, 1, 0, "..", 2, 1},
      {"sSS", 2, 1, 0, "x..", 2, 0},
      {"ss", 2, 2, 0, "..", 2, 2},
      {"ss", 2, 1, 1, "x.", 1, 1},
      // In place.
      {"ss", 2, 0, 1, "x.", 0, 1},
      {"ds", 2, 0, 1, "x.", 0, 1},
      {"s", 2, 0, 1, ".", 1, 1},
      {"sS", 2, 0, 1, "x.", 1, 0},
      {"ss", 2, 0, 0, "x.", 0, 1},  // surge 0 means one may be away
      // Something breaks meanwhile.
      {"dsL", 2, 1, 0, "...", 1, 2},  // the new one is gone again: the old one comes back
      {"slL", 2, 1, 0, "...", 1, 2},  // the old one is repaired while too little serves
      {"slS", 2, 1, 0, ".x.", 1, 1},  // and goes when there is enough
      {"sL", 2, 1, 0, "..", 1, 2},    // one of the old is gone: made again
      {"llS", 2, 1, 0, "x..", 1, 1},
      // A revision in between that never served goes first, whatever serves.
      {"ss'l", 2, 1, 0, "..x", 0, 2},
      {"sl'l", 2, 1, 0, "..x", 0, 2},
      {"s's", 2, 1, 0, "..", 1, 1},
      {"s'sS", 2, 1, 0, "x..", 1, 0},
  };
  for (const Case& test : cases) {
    const Units units(test.units);
    RolloutRules rules;
    rules.wanted = test.wanted;
    rules.surge = test.surge;
    rules.unavailable = test.unavailable;
    rules.proven_hash = "proven";
    const RolloutDecision decision = DecideRollout(units.get(), rules);
    std::string leaves;
    for (const bool leaving : decision.leaves) leaves += leaving ? 'x' : '.';
    const std::string name = absl::StrCat("\"", test.units, "\" wanted ", test.wanted, " surge ", test.surge,
                                          " unavailable ", test.unavailable);
    EXPECT_EQ(leaves, test.leaves) << name;
    EXPECT_EQ(decision.wanted_units, test.wanted_units) << name;
    EXPECT_EQ(decision.proven_units, test.proven_units) << name;
  }
}

TEST(RolloutTest, FrozenBeginsNothingFurther) {
  const Units units("ssL");
  RolloutRules rules;
  rules.wanted = 2;
  rules.surge = 2;
  EXPECT_EQ(DecideRollout(units.get(), rules).wanted_units, 2u);
  rules.is_frozen = true;
  EXPECT_EQ(DecideRollout(units.get(), rules).wanted_units, 1u);
}

TEST(RolloutTest, HeldUnitsStayUnlessTheyDrainAlready) {
  const Units units("sdl");
  RolloutRules rules;
  rules.hold = true;
  EXPECT_EQ(DecideRollout(units.get(), rules).leaves, (std::vector<bool>{false, true, true}));
}

// Step by step with what a cluster would make of each decision: from 4 old to 4 new, never below the floor, never above
// the surge.
TEST(RolloutTest, ReachesTheEndUnderAnyRules) {
  for (uint32_t surge = 0; surge <= 3; ++surge) {
    for (uint32_t unavailable = surge == 0 ? 1 : 0; unavailable <= 4; ++unavailable) {
      std::string text = "ssss";
      RolloutRules rules;
      rules.wanted = 4;
      rules.surge = surge;
      rules.unavailable = unavailable;
      int rounds = 0;
      for (; text != "SSSS" && rounds < 20; ++rounds) {
        const Units units(text);
        const RolloutDecision decision = DecideRollout(units.get(), rules);
        std::string next;
        for (size_t i = 0; i < text.size(); ++i) {
          if (!decision.leaves[i]) next += text[i] == 'L' ? 'S' : text[i];
        }
        const auto serving =
            static_cast<uint32_t>(std::count_if(next.begin(), next.end(), [](char c) { return c == 's' || c == 'S'; }));
        EXPECT_GE(serving, FloorOf(rules)) << text;
        EXPECT_LE(text.size(), 4 + surge) << text;
        auto wanted =
            static_cast<uint32_t>(std::count_if(next.begin(), next.end(), [](char c) { return c == 'L' || c == 'S'; }));
        for (; wanted < decision.wanted_units; ++wanted) next += 'L';
        text = next;
      }
      EXPECT_EQ(text, "SSSS") << "surge " << surge << " unavailable " << unavailable;
    }
  }
}

}  // namespace
}  // namespace slmmesh
