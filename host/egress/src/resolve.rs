//! Names to addresses: once per new connection, bounded in number, with a short memory.
//!
//! The system's resolver blocks a thread, so few lookups run at once and equal ones are answered from a memory of seconds.
//! The memory is no risk: whoever connects checks each address again and connects to exactly that one.
//!
//! Invariant: an answer with one forbidden address is refused as a whole.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;

use crate::CONNECT_TIMEOUT;
use crate::address::{Network, is_permitted};
use crate::error::EgressError;
use crate::origin::Origin;

/// Lookups at once; each blocks a thread of the pool.
const LOOKUPS_AT_ONCE: usize = 4;
/// How long an answer is used again: long enough for a burst, short enough for a moved receiver.
const ANSWER_AGE_MAX: Duration = Duration::from_secs(5);
/// Names remembered; above it the memory is emptied.
const ANSWERS_MAX: usize = 1024;
/// Addresses tried of one answer.
const ADDRESSES_MAX: usize = 8;

type Answers = HashMap<String, (Instant, Vec<IpAddr>)>;

/// The host's resolver; clones share lookups and memory.
#[derive(Clone, Debug)]
pub(crate) struct Resolver {
    permits: Arc<Semaphore>,
    answers: Arc<Mutex<Answers>>,
}

impl Resolver {
    /// An empty memory.
    pub(crate) fn new() -> Resolver {
        Resolver { permits: Arc::new(Semaphore::new(LOOKUPS_AT_ONCE)), answers: Arc::default() }
    }

    /// The addresses of the origin, all of them permitted.
    pub(crate) async fn resolve(&self, origin: &Origin, granted: &[Network]) -> Result<Vec<SocketAddr>, EgressError> {
        let addresses = match literal(&origin.host) {
            Some(address) => vec![address],
            None => self.lookup(&origin.host).await?,
        };
        if let Some(address) = addresses.iter().find(|address| !is_permitted(**address, granted)) {
            return Err(EgressError::Denied(format!(
                "denied: `{}` leads to {address}, a private or special address - add `networks = [\"{address}\"]` \
                 to [grants] of the subscription if it is meant",
                origin.host
            )));
        }
        Ok(addresses.into_iter().map(|address| SocketAddr::new(address, origin.port)).collect())
    }

    async fn lookup(&self, host: &str) -> Result<Vec<IpAddr>, EgressError> {
        if let Some(known) = self.remembered(host) {
            return Ok(known);
        }
        let failed = |reason: &str| EgressError::not_sent(format!("could not resolve `{host}`: {reason}"));
        let _permit = tokio::time::timeout(CONNECT_TIMEOUT, self.permits.acquire())
            .await
            .map_err(|_| failed("too many lookups at once"))?
            .map_err(|_| failed("the host is stopping"))?;
        // Another caller may have asked the same while this one waited.
        if let Some(known) = self.remembered(host) {
            return Ok(known);
        }
        let found = tokio::time::timeout(CONNECT_TIMEOUT, tokio::net::lookup_host((host, 0)))
            .await
            .map_err(|_| failed("no answer in time"))?
            .map_err(|error| failed(&error.to_string()))?;
        let mut addresses: Vec<IpAddr> = found.map(|address| address.ip()).collect();
        addresses.dedup();
        addresses.truncate(ADDRESSES_MAX);
        if addresses.is_empty() {
            return Err(failed("the name has no address"));
        }
        self.remember(host, &addresses);
        Ok(addresses)
    }

    fn remembered(&self, host: &str) -> Option<Vec<IpAddr>> {
        let answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        let (asked, addresses) = answers.get(host)?;
        (asked.elapsed() < ANSWER_AGE_MAX).then(|| addresses.clone())
    }

    fn remember(&self, host: &str, addresses: &[IpAddr]) {
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        if answers.len() >= ANSWERS_MAX {
            answers.clear();
        }
        answers.insert(host.to_owned(), (Instant::now(), addresses.to_vec()));
    }
}

/// The address of a host that is written as one; brackets mark IPv6.
fn literal(host: &str) -> Option<IpAddr> {
    host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host).parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
    }

    fn resolve(origin: &str, granted: &[&str]) -> Result<Vec<SocketAddr>, EgressError> {
        let granted: Vec<Network> = granted.iter().map(|text| text.parse().unwrap()).collect();
        run(Resolver::new().resolve(&origin.parse().unwrap(), &granted))
    }

    #[test]
    fn private_targets_are_denied_with_the_line_to_add() {
        for origin in [
            "http://127.0.0.1:81",
            "http://[::1]:81",
            "http://localhost",
            // Spellings that only the system's resolver understands.
            "http://2130706433",
            "http://0x7f.1",
            "http://127.1",
        ] {
            let error = resolve(origin, &[]).unwrap_err();
            // Some resolvers do not know the odd spellings at all, which is as good.
            assert!(matches!(error.code(), "denied" | "not-sent"), "{origin}: {error}");
        }
        let error = resolve("http://127.0.0.1:81", &[]).unwrap_err();
        assert!(error.to_string().contains("add `networks = [\"127.0.0.1\"]`"), "{error}");
    }

    #[test]
    fn granted_targets_keep_their_port() {
        let found = resolve("http://127.0.0.1:81", &["127.0.0.0/8"]).unwrap();
        assert_eq!(found, ["127.0.0.1:81".parse().unwrap()]);
        let found = resolve("http://[::1]:82", &["::1"]).unwrap();
        assert_eq!(found, ["[::1]:82".parse().unwrap()]);
    }

    #[test]
    fn unknown_names_are_not_sent() {
        let error = resolve("http://no-such-name.invalid", &[]).unwrap_err();
        assert_eq!(error.code(), "not-sent");
    }
}
