// Where objects live below the API server's root.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "operator/kube/client.h"

namespace slmmesh::kube {

// /api/v1/pods, /apis/apps/v1/namespaces/<ns>/deployments. Empty namespace: all of them.
std::string CollectionPath(const Resource& resource, const std::string& ns);
// The object's own path, with its subresource.
std::string ObjectPath(const ObjectRef& ref);
// Where POST creates it: the collection, or the object's subresource (…/eviction).
std::string CreatePath(const ObjectRef& ref);
// `path`?a=b&c=d; pairs with an empty value are left out.
std::string WithQuery(const std::string& path, const std::vector<std::pair<std::string, std::string>>& query);
// "pods default/web-0", for errors.
std::string Describe(const ObjectRef& ref);

}  // namespace slmmesh::kube
