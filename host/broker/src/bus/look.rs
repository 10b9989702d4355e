//! Lists for operators: dead letters, parked deliveries, send records, and the dump for an independent checker.
//!
//! Knows nothing of how they are shown.

use std::sync::Arc;

use bugle_core::ids::{Offset, Position};
use bugle_core::row::{DeadRow, RecordRow, UnknownRow};

use super::Bus;
use crate::reads::ReadError;
