//! Tests of the whole store: reopen, crash, damage.
