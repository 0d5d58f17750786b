//! Black-box tests: the real binary against real peers.
