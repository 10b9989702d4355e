//! Waiting for a condition with a deadline, and finding a free port. No test sleeps for a guess.

use std::net::{TcpListener, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

/// Pause between two looks; short beside anything a test waits for.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Looks until `look` gives something or the time is up; then panics with what was waited for.
pub fn eventually<T>(what: &str, within: Duration, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + within;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited {within:?} for {what}");
        thread::sleep(LOOK_EVERY);
    }
}

/// A loopback port that is free for TCP and UDP just now.
pub fn free_port() -> u16 {
    for _ in 0..100 {
        let Ok(tcp) = TcpListener::bind("127.0.0.1:0") else { continue };
        let Ok(address) = tcp.local_addr() else { continue };
        if UdpSocket::bind(address).is_ok() {
            return address.port();
        }
    }
    panic!("no port is free for both TCP and UDP after 100 tries")
}
