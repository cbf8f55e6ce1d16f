#include "operator/adopt.h"

#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/log.h"
#include "common/status.h"
#include "operator/api_json.h"
#include "operator/json_fields.h"
#include "operator/observed.h"
#include "proto/raycluster_import.h"
#include "proto/yaml_message.h"
#include "slmmesh/v1/cluster.pb.h"

namespace slmmesh {
namespace {

using nlohmann::json;

constexpr char kAdoptManager[] = "slm-mesh-adopt";
constexpr char kModelPathAnnotation[] = "slmmesh.io/model-path";
constexpr char kServedNameAnnotation[] = "slmmesh.io/served-name";
constexpr char kSizeAnnotation[] = "slmmesh.io/tensor-parallel-size";

std::string SourceOf(const json& ray_cluster) {
  const json& metadata = FieldOf(ray_cluster, "metadata");
  return absl::StrCat(TextOf(metadata, "uid"), "/", NumberOf(metadata, "generation"));
}

absl::StatusOr<ImportOptions> OptionsOf(const json& metadata) {
  const json& annotations = FieldOf(metadata, "annotations");
  ImportOptions options;
  options.file = TextOf(metadata, "name");
  options.model_path = TextOf(annotations, kModelPathAnnotation);
  options.served_name = TextOf(annotations, kServedNameAnnotation);
  const std::string size = TextOf(annotations, kSizeAnnotation);
  if (!size.empty() && !absl::SimpleAtoi(size, &options.tensor_parallel_size)) {
    return absl::InvalidArgumentError(
        absl::StrCat("annotation ", kSizeAnnotation, ": \"", size, "\" is not a number; write 1, 2, 4 or 8"));
  }
  return options;
}

}  // namespace

absl::StatusOr<Adoption> ConvertRayCluster(const json& ray_cluster) {
  const json& metadata = FieldOf(ray_cluster, "metadata");
  ASSIGN_OR_RETURN(const ImportOptions options, OptionsOf(metadata));
  const json manifest = {{"apiVersion", TextOf(ray_cluster, "apiVersion")},
                         {"kind", "RayCluster"},
                         {"metadata", {{"name", TextOf(metadata, "name")}}},
                         {"spec", FieldOf(ray_cluster, "spec")}};
  ASSIGN_OR_RETURN(ImportedCluster imported, ImportRayCluster(manifest.dump(), options));
  Adoption adoption;
  adoption.notes = std::move(imported.notes);
  if (imported.needs_model_path) {
    adoption.missing = absl::StrCat("it does not say which model it serves; annotate it: ", kModelPathAnnotation,
                                    "=<folder or .gguf file in the pods>");
    return adoption;
  }
  v1::InferenceCluster cluster;
  FieldLines lines;
  RETURN_IF_ERROR(ParseYamlMessage(imported.yaml, options.file, {}, &cluster, &lines));
  adoption.cluster = {{"apiVersion", "slmmesh.io/v1alpha1"},
                      {"kind", "InferenceCluster"},
                      {"metadata",
                       {{"name", TextOf(metadata, "name")},
                        {"namespace", TextOf(metadata, "namespace")},
                        {"annotations", {{kAdoptedFromAnnotation, SourceOf(ray_cluster)}}}}},
                      {"spec", JsonFromMessage(cluster.spec())}};
  return adoption;
}

RayClusterAdopter::RayClusterAdopter(kube::Client* client, kube::EventRecorder* events)
    : client_(client), events_(events), queue_(kube::WorkQueue::Create({})) {}

std::unique_ptr<RayClusterAdopter> RayClusterAdopter::Start(kube::Client* client, kube::EventRecorder* events,
                                                            const std::vector<std::string>& namespaces) {
  std::unique_ptr<RayClusterAdopter> adopter(new RayClusterAdopter(client, events));
  RayClusterAdopter* const self = adopter.get();
  kube::Reflector::Sink sink;
  sink.begin_list = [self] {
    const absl::MutexLock lock(&self->mutex_);
    self->ray_clusters_.clear();  // those that are gone are not listed
  };
  sink.end_list = [] {};
  sink.upsert = [self](const json& object) {
    json kept = object;
    kept["metadata"].erase("managedFields");
    kept.erase("status");
    const std::string key = kube::KeyOf(object);
    {
      const absl::MutexLock lock(&self->mutex_);
      self->ray_clusters_[key] = kept.dump();
    }
    self->queue_->Add(key);
  };
  sink.remove = [self](const json& object) {
    const absl::MutexLock lock(&self->mutex_);
    self->ray_clusters_.erase(kube::KeyOf(object));
  };
  self->thread_ = std::thread([self] { self->Work(); });
  std::vector<std::string> watched = namespaces;
  if (watched.empty()) watched.emplace_back();
  for (const std::string& ns : watched) {
    kube::Reflector::Options options;
    options.resource = kube::resources::kRayClusters;
    options.list.ns = ns;
    options.list.label_selector = absl::StrCat(kAdoptLabel, "=true");
    self->reflectors_.push_back(kube::Reflector::Start(client, std::move(options), sink));
  }
  return adopter;
}

RayClusterAdopter::~RayClusterAdopter() {
  for (const auto& reflector : reflectors_) reflector->RequestStop();
  reflectors_.clear();
  queue_->ShutDown();
  thread_.join();
}

void RayClusterAdopter::Work() {
  while (const std::optional<std::string> key = queue_->Get()) {
    std::string text;
    {
      const absl::MutexLock lock(&mutex_);
      if (const auto found = ray_clusters_.find(*key); found != ray_clusters_.end()) text = found->second;
    }
    const absl::Status status = text.empty() ? absl::OkStatus() : Adopt(json::parse(text, nullptr, false));
    if (status.ok()) {
      queue_->Forget(*key);
    } else {
      LogWarning("adopt.failed", {{"raycluster", *key}, {"reason", status}});
      queue_->AddRateLimited(*key);
    }
    queue_->Done(*key);
  }
}

// An error: again later. What only the user can mend is an event, and looked at again when the RayCluster changes.
absl::Status RayClusterAdopter::Adopt(const json& ray_cluster) {
  const json& metadata = FieldOf(ray_cluster, "metadata");
  const std::string name = TextOf(metadata, "name");
  const kube::EventTarget target{kube::resources::kRayClusters, TextOf(metadata, "namespace"), name,
                                 TextOf(metadata, "uid")};
  const auto tell = [&](kube::EventType type, const char* reason, absl::string_view message) {
    events_->Record(target, type, reason, std::string(message));
    return absl::OkStatus();
  };
  const kube::ObjectRef ref{kube::resources::kInferenceClusters, target.ns, name, ""};
  const absl::StatusOr<json> present = client_->Get(ref);
  if (!present.ok() && !absl::IsNotFound(present.status())) return present.status();
  if (present.ok()) {
    const std::string source = TextOf(FieldOf(FieldOf(*present, "metadata"), "annotations"), kAdoptedFromAnnotation);
    if (source == SourceOf(ray_cluster)) return absl::OkStatus();
    if (source.empty()) {
      return tell(kube::EventType::kWarning, "NotAdopted",
                  absl::StrCat("there is an InferenceCluster ", name, " that was not made from this; rename one"));
    }
  }
  const absl::StatusOr<Adoption> adoption = ConvertRayCluster(ray_cluster);
  if (!adoption.ok()) return tell(kube::EventType::kWarning, "NotAdopted", adoption.status().message());
  if (adoption->cluster.is_null()) return tell(kube::EventType::kWarning, "NotAdopted", adoption->missing);
  const absl::Status applied = client_->Apply(ref, adoption->cluster, kAdoptManager, /*force=*/false).status();
  if (absl::IsInvalidArgument(applied) || absl::IsAborted(applied)) {
    return tell(kube::EventType::kWarning, "NotAdopted", applied.message());
  }
  RETURN_IF_ERROR(applied);
  return tell(
      kube::EventType::kNormal, "Adopted",
      absl::StrCat("InferenceCluster ", name, " follows this",
                   adoption->notes.empty() ? "" : "; without meaning there: ", absl::StrJoin(adoption->notes, "; ")));
}

}  // namespace slmmesh
