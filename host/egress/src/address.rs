//! Which network addresses a plugin may reach: global ones, and those networks that the operator granted.
//!
//! It judges addresses only; names are resolved elsewhere. Embedded IPv4 addresses (mapped, compatible, 6to4, NAT64, Teredo)
//! are judged as the IPv4 address they lead to.
//!
//! Invariant: what is not known to be global is forbidden. Link-local and metadata addresses open only to a grant that lies
//! wholly inside link-local, so that a wide grant never opens them by accident.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// A network an operator grants, like `10.0.0.0/8` or `::1/128`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

/// Text that is no network.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a network; write it like `10.0.0.0/8` or `127.0.0.1`")]
pub struct ParseNetworkError(pub String);

impl FromStr for Network {
    type Err = ParseNetworkError;

    fn from_str(text: &str) -> Result<Network, ParseNetworkError> {
        let refuse = || ParseNetworkError(text.chars().take(64).collect());
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| refuse())?;
        let widest = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            Some(text) => text.parse::<u8>().map_err(|_| refuse())?,
            None => widest,
        };
        if prefix > widest {
            return Err(refuse());
        }
        Ok(Network { address, prefix })
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

impl Network {
    const fn v4(a: u8, b: u8, c: u8, d: u8, prefix: u8) -> Network {
        Network { address: IpAddr::V4(Ipv4Addr::new(a, b, c, d)), prefix }
    }

    /// Whether the address lies in the network.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                same_prefix(network.to_bits().into(), address.to_bits().into(), self.prefix, 32)
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => {
                same_prefix(network.to_bits(), address.to_bits(), self.prefix, 128)
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }
}

fn same_prefix(a: u128, b: u128, prefix: u8, width: u8) -> bool {
    let host_bits = u32::from(width - prefix);
    (a ^ b).checked_shr(host_bits).unwrap_or(0) == 0
}

/// Everything in IPv4 that is not global unicast (IANA special-purpose registry), and Azure's metadata address.
const FORBIDDEN_V4: [Network; 17] = [
    Network::v4(0, 0, 0, 0, 8),
    Network::v4(10, 0, 0, 0, 8),
    Network::v4(100, 64, 0, 0, 10),
    Network::v4(127, 0, 0, 0, 8),
    Network::v4(168, 63, 129, 16, 32),
    Network::v4(169, 254, 0, 0, 16),
    Network::v4(172, 16, 0, 0, 12),
    Network::v4(192, 0, 0, 0, 24),
    Network::v4(192, 0, 2, 0, 24),
    Network::v4(192, 31, 196, 0, 24),
    Network::v4(192, 52, 193, 0, 24),
    Network::v4(192, 88, 99, 0, 24),
    Network::v4(192, 168, 0, 0, 16),
    Network::v4(198, 18, 0, 0, 15),
    Network::v4(198, 51, 100, 0, 24),
    Network::v4(203, 0, 113, 0, 24),
    // Multicast, reserved and broadcast.
    Network::v4(224, 0, 0, 0, 3),
];

const LINK_LOCAL_V4: Network = Network::v4(169, 254, 0, 0, 16);

/// Whether a plugin with these granted networks may connect to the address.
pub(crate) fn is_permitted(address: IpAddr, granted: &[Network]) -> bool {
    let target = innermost(address);
    let needs_narrow_grant = is_link_local(target);
    let is_granted = granted.iter().any(|network| {
        (network.contains(address) || network.contains(target))
            && (!needs_narrow_grant || (is_link_local(network.address) && network.prefix >= 10))
    });
    is_granted || (is_global(target) && is_global_or_embedding(address))
}

fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(_) => LINK_LOCAL_V4.contains(address),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    }
}

fn is_global(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(_) => !FORBIDDEN_V4.iter().any(|network| network.contains(address)),
        IpAddr::V6(v6) => is_global_v6(v6),
    }
}

/// An outer form that only wraps an IPv4 address is as good as what it wraps.
fn is_global_or_embedding(address: IpAddr) -> bool {
    innermost(address) != address || is_global(address)
}

/// 2000::/3 is the only global unicast space handed out; of it, protocol assignments, documentation and AS112 are not global.
fn is_global_v6(address: Ipv6Addr) -> bool {
    let segments = address.segments();
    match segments {
        [0x2001, second, ..] if second < 0x200 => false,
        [0x2001, 0xdb8, ..] | [0x2002, ..] | [0x3ffe, ..] | [0x5f00, ..] => false,
        [0x3fff, second, ..] if second < 0x1000 => false,
        [0x2620, 0x4f, 0x8000, ..] => false,
        [first, ..] => first & 0xe000 == 0x2000,
    }
}

/// The IPv4 address an IPv6 form leads to, or the address itself.
fn innermost(address: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = address else {
        return address;
    };
    let v4 = |high: u16, low: u16| IpAddr::V4(Ipv4Addr::from_bits((u32::from(high) << 16) | u32::from(low)));
    match v6.segments() {
        // Loopback and the unspecified address are no compatible forms.
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => address,
        // Mapped, compatible, translated (SIIT), NAT64 (well-known and local).
        [0, 0, 0, 0, 0, 0xffff | 0, high, low]
        | [0, 0, 0, 0, 0xffff, 0, high, low]
        | [0x64, 0xff9b, 0, 0, 0, 0, high, low]
        | [0x64, 0xff9b, 1, _, _, _, high, low] => v4(high, low),
        // 6to4 carries it after the prefix, Teredo inverted at the end.
        [0x2002, high, low, ..] => v4(high, low),
        [0x2001, 0, _, _, _, _, high, low] => v4(!high, !low),
        // ISATAP.
        [_, _, _, _, 0 | 0x200, 0x5efe, high, low] => v4(high, low),
        _ => address,
    }
}

#[cfg(test)]
mod tests;
