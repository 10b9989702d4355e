//! End-to-end tests: the real host as a process, real guests, receivers outside of it.
//!
//! The tests are in `tests/e2e`, one binary; the host under test is `bugle-test-host`, the product with bugs that can be planted.
