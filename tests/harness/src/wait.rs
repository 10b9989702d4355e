//! Waiting for a condition with a deadline, and finding a free port. No test sleeps for a guess.

use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::sync::atomic::{AtomicU32, Ordering};
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

/// Ports for hosts, below those that Linux gives to outgoing connections by default (32768 and up): a host that is killed
/// finds its port free again, however many connections other tests open meanwhile.
const PORTS: std::ops::Range<u16> = 12_000..32_000;

/// A loopback port that is free for TCP and UDP just now; no other caller in this process gets it.
pub fn free_port() -> u16 {
    static TAKEN: AtomicU32 = AtomicU32::new(0);
    let count = u32::from(PORTS.end - PORTS.start);
    // Processes that run at once begin far apart.
    let begin = std::process::id().wrapping_mul(7919);
    for _ in 0..count {
        let number = begin.wrapping_add(TAKEN.fetch_add(1, Ordering::Relaxed)) % count;
        let Ok(number) = u16::try_from(number) else { continue };
        let address = (Ipv4Addr::LOCALHOST, PORTS.start + number);
        if TcpListener::bind(address).is_ok() && UdpSocket::bind(address).is_ok() {
            return address.1;
        }
    }
    panic!("no port of {PORTS:?} is free for both TCP and UDP")
}
