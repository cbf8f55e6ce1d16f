// A group of one: nothing to say to anybody.
#pragma once

#include <memory>

#include "worker/collective/communicator.h"

namespace slmmesh {

std::unique_ptr<Communicator> CreateLocalCommunicator();

}  // namespace slmmesh
