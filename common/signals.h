// SIGINT and SIGTERM as an event: main() starts its servers, then waits here.
#pragma once

namespace slmmesh {

// Blocks both signals for every thread started later; call first in main(). Also ignores SIGPIPE: a peer that went
// away is an error of the write, not the end of the process.
void BlockStopSignals();
// Waits for one of them; returns its number.
int WaitForStopSignal();

}  // namespace slmmesh
