//! The machine, one rule at a time; `tests/machine` has the random histories.
