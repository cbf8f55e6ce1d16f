// Any communicator, with the time of its all-reduces measured.
#pragma once

#include <prometheus/histogram.h>

#include <memory>

#include "worker/collective/communicator.h"

namespace slmmesh {

// `all_reduce_seconds` outlives it.
std::unique_ptr<Communicator> TimeCommunicator(std::unique_ptr<Communicator> inner,
                                               prometheus::Histogram* all_reduce_seconds);

}  // namespace slmmesh
