//! Producer client of the Bugle event bus: one QUIC connection, batches, confirms, automatic retry.
//!
//! A publish has three results, see [`Outcome`]: confirmed means on disk, refused means not stored, unknown means the
//! deadline passed in doubt. Until then the client reconnects and sends again by itself, with the same ids, so that
//! nothing is stored twice. It does not know what subscribers do with an event, nor does it keep anything on disk:
//! whoever must survive its own crash uses the outbox or the same event id again.
//!
//! The invariant: events with the same ordering key are stored in the order in which [`Client::send`] took them, and
//! no caller is told `Confirmed` or `Refused` without the host having said so or the event never having left.
//!
//! ```no_run
//! use bugle_client::{Client, Event, Outcome};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let client = Client::builder("127.0.0.1:4747")
//!     .producer("checkout")
//!     .server_fingerprint("d4c7…") // printed by the host at its first start
//!     .connect()
//!     .await?;
//!
//! let event = Event::builder("https://shop.example/orders", "order.paid")
//!     .key("user-42")
//!     .json("{\"order\":7,\"amount\":1299}")
//!     .build()?;
//! match client.publish("orders", event).await {
//!     Outcome::Confirmed(receipt) => println!("on disk at {}", receipt.position),
//!     Outcome::Refused { code, detail, .. } => eprintln!("not stored: {code}: {detail}"),
//!     Outcome::Unknown => eprintln!("in doubt: publish the same event again, or ask with `query`"),
//! }
//! client.close().await;
//! # Ok(())
//! # }
//! ```
//!
//! A refused event with a key stops its key: later events of it come back [`Code::BEHIND_REFUSED`], so that none overtakes
//! it. Await the outcomes of what was sent after it, then publish each refused event again in its order, or
//! [`Client::abandon`] it. Nothing else waits, and a session that ends forgets it.
//!
//! For throughput use [`Client::send`]: it returns once the event has its place in the queue, and the receipt is
//! awaited later. Events that queue up while a receipt is pending travel together.

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "tests may panic"))]

mod backoff;
mod batch;
mod builder;
mod client;
mod connect;
mod counters;
mod driver;
mod event;
mod id;
mod json;
mod outcome;
mod queue;
mod requests;
mod session;
mod shared;
mod stream;
mod tls;
mod transport;

pub use batch::PendingReceipt;
pub use bugle_wire::{AttributeValue, Code, Data, EventError, EventView, Position, Priority, Timestamp};
pub use builder::ClientBuilder;
pub use client::{Client, QueryError};
pub use connect::ConnectError;
pub use counters::Counters;
pub use event::{Event, EventBuilder};
pub use json::ImportError;
pub use outcome::{Outcome, Receipt, Stored};
