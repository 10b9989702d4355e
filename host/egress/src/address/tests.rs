//! The table of addresses: what is forbidden in which spelling, and what a grant opens.

use super::*;

fn permitted(address: &str, granted: &[&str]) -> bool {
    let granted: Vec<Network> = granted.iter().map(|text| text.parse().unwrap()).collect();
    is_permitted(address.parse().unwrap(), &granted)
}

#[test]
fn global_addresses_are_permitted() {
    for address in [
        "1.1.1.1",
        "8.8.8.8",
        "93.184.216.34",
        "172.32.0.1",
        "100.128.0.1",
        "192.169.0.1",
        "223.255.255.254",
        "2606:4700::1111",
        "2a00:1450:4001::200e",
        "::ffff:8.8.8.8",
        "64:ff9b::808:808",
    ] {
        assert!(permitted(address, &[]), "{address}");
    }
}

#[test]
fn everything_else_is_forbidden_in_every_spelling() {
    for address in [
        "0.0.0.0",
        "0.1.2.3",
        "10.0.0.1",
        "100.64.0.1",
        "100.127.255.255",
        "127.0.0.1",
        "127.255.255.254",
        "168.63.129.16",
        "169.254.169.254",
        "169.254.170.2",
        "172.16.0.1",
        "172.31.255.255",
        "192.0.0.1",
        "192.0.2.1",
        "192.88.99.1",
        "192.168.1.1",
        "198.18.0.1",
        "198.51.100.1",
        "203.0.113.1",
        "224.0.0.1",
        "239.255.255.255",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::7f00:1",
        "::ffff:127.0.0.1",
        "::ffff:7f00:1",
        "::ffff:169.254.169.254",
        "::ffff:0:7f00:1",
        "64:ff9b::a9fe:a9fe",
        "64:ff9b::7f00:1",
        "64:ff9b:1::a00:1",
        "100::1",
        "2001::1",
        "2001:0:4136:e378:8000:63bf:f5ff:fffe",
        "2001:2::1",
        "2001:10::1",
        "2001:db8::1",
        "2002:7f00:1::1",
        "2002:a00:1::1",
        "2002:a9fe:a9fe::1",
        "2620:4f:8000::1",
        "3fff::1",
        "5f00::1",
        "fc00::1",
        "fd00:ec2::254",
        "fe80::1",
        "fe80::5efe:a00:1",
        "2a00:1450:4001::5efe:a00:1",
        "fec0::1",
        "ff02::1",
    ] {
        assert!(!permitted(address, &[]), "{address}");
    }
}

#[test]
fn a_grant_opens_its_network_only() {
    assert!(permitted("127.0.0.1", &["127.0.0.0/8"]));
    assert!(permitted("::ffff:127.0.0.1", &["127.0.0.1"]));
    assert!(permitted("::1", &["::1"]));
    assert!(permitted("10.1.2.3", &["192.168.0.0/16", "10.0.0.0/8"]));
    assert!(!permitted("10.1.2.3", &["10.1.2.4/32"]));
    assert!(!permitted("10.1.2.3", &["::/0"]));
}

#[test]
fn a_wide_grant_never_opens_metadata() {
    assert!(!permitted("169.254.169.254", &["0.0.0.0/0"]));
    assert!(!permitted("169.254.169.254", &["169.0.0.0/8"]));
    assert!(!permitted("::ffff:169.254.169.254", &["::/0", "0.0.0.0/0"]));
    assert!(!permitted("fe80::1", &["::/0"]));
    assert!(permitted("169.254.169.254", &["169.254.169.254/32"]));
}

#[test]
fn odd_networks_are_refused() {
    for text in ["", "10.0.0.0/33", "::/129", "10.0.0/8", "10.0.0.0/-1", "host", "10.0.0.0/"] {
        assert!(text.parse::<Network>().is_err(), "{text}");
    }
}
