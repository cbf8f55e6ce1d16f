// A ca.crt with several CAs: whoever was signed by one of them is trusted, so that a CA can change under running pods.
#pragma once

#include <string>
#include <vector>

#include "absl/time/time.h"

namespace slmmesh {

// `first`, in this order, then those of `old_bundle` that have other keys and have not ended: at most
// kMaxOldAuthorities of them, the youngest. What is no certificate is left out.
inline constexpr int kMaxOldAuthorities = 4;
std::string MakeBundle(const std::vector<std::string>& first, const std::string& old_bundle, absl::Time now);

// Whether each of `certificates` is in the bundle: a certificate of the same key that lasts for another year.
bool BundleHolds(const std::string& bundle, const std::vector<std::string>& certificates, absl::Time now);

// The end of the first certificate in `pem`; InfinitePast: there is none.
absl::Time NotAfter(const std::string& pem);

}  // namespace slmmesh
