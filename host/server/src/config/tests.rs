//! Tests of the config: what is refused and how it is explained, and that a printed config reads back the same.

use super::{Config, LoadConfigError};

fn refused(text: &str) -> String {
    Config::parse("bugle.toml", text).unwrap_err().to_string()
}

fn check(text: &str, wanted: &[&str]) {
    let said = refused(text);
    for part in wanted {
        assert!(said.contains(part), "{text:?} said {said:?}, not {part:?}");
    }
}

#[test]
fn an_empty_file_is_the_defaults() {
    let config = Config::parse("bugle.toml", "").unwrap();
    assert_eq!(config, Config::default());
    assert_eq!(config.quic.listen.port(), 4747);
    assert_eq!(config.admin.listen.port(), 4749);
    assert!(config.problems().is_empty());
}

#[test]
fn the_printed_config_reads_back_the_same() {
    let mut config = Config::default();
    assert_eq!(Config::parse("p", &config.print()).unwrap(), config);
    config.quic.certificate = Some("a.pem".into());
    config.quic.key = Some("b.pem".into());
    config.admin.allowed_hosts = vec!["bus.example".into()];
    config.storage.epoch = crate::quantity::Size::mib(96);
    config.mail.host = Some("relay.example".into());
    config.mail.sender = Some("a@example.com".into());
    let text = config.print();
    assert_eq!(Config::parse("p", &text).unwrap(), config, "{text}");
}

#[test]
fn every_field_is_explained_with_its_default() {
    let text = Config::default().print();
    let mut doc = String::new();
    for line in text.lines() {
        if let Some(comment) = line.strip_prefix('#') {
            doc.push_str(comment);
        } else if line.contains(" = ") {
            assert!(doc.contains("Default"), "no default told above `{line}`");
            doc.clear();
        }
    }
}

#[test]
fn callbacks_are_taken_on_loopback_only() {
    check("[inbound]\nlisten = \"0.0.0.0:4750\"\n", &["inbound.listen", "not loopback", "a proxy on this machine"]);
    check("[inbound]\nconcurrency = 0\n", &["inbound.concurrency", "1 to 1024"]);
    let config = Config::parse("c", "[inbound]\nlisten = \"127.0.0.1:0\"\n").unwrap();
    assert_eq!(Config::parse("p", &config.print()).unwrap(), config);
    assert_eq!(Config::default().inbound.listen, None, "nothing is taken unless somebody wants it");
}

#[test]
fn a_typo_is_told_with_place_and_hint() {
    check(
        "data_dir = \"x\"\n[quic]\nlisten = \"127.0.0.1:1\"\nlistne = 3\n",
        &["bugle.toml:4:1", "unknown field `listne`", "did you mean `listen`?"],
    );
    check("[qiuc]\n", &["bugle.toml:1", "did you mean `quic`?"]);
    check("[quic]\nlisten = 4747\n", &["bugle.toml:2:10"]);
    check("data_dir = ", &["bugle.toml:1"]);
    check("[log]\nformat = \"jsno\"\n", &["did you mean `json`?"]);
}

#[test]
fn a_quantity_without_a_unit_is_refused() {
    check("[publish]\nid_window = \"30\"\n", &["bugle.toml:2:13", "`30` is not a duration", "`30s`"]);
    check("[storage]\nepoch = \"4MB\"\n", &["`4MB` is not a size", "`4MiB`"]);
}

#[test]
fn values_that_cannot_work_are_all_told_at_once() {
    check(
        "[quic]\nlisten = \"0.0.0.0:1\"\n[admin]\nlisten = \"0.0.0.0:2\"\n[storage]\nepoch = \"1B\"\n",
        &["quic.listen", "certificate", "admin.listen", "loopback", "storage.epoch: 1B is too small"],
    );
    check("[quic]\nkey = \"k.pem\"\n", &["belong together"]);
    check("[publish]\nid_window_ids = 0\n", &["publish.id_window"]);
    check("[mail]\nhost = \"relay.example\"\n", &["mail.sender"]);
    check("[mail]\nusername = \"u\"\n", &["belong together"]);
    check("[quic]\ntokens = [\"secret\"]\n", &["quic.tokens", "64 hexadecimal"]);
    check("[log]\nfilter = \"a=b=c\"\n", &["log.filter"]);
    check("data_dir = \"\"\n", &["data_dir: name a directory"]);
    check("[sandbox]\nguest_threads = 4096\n", &["sandbox.guest_threads"]);
}

#[test]
fn a_missing_file_is_named() {
    let error = Config::load(Some(std::path::Path::new("/nowhere/b.toml"))).unwrap_err();
    assert!(matches!(error, LoadConfigError::Read { .. }));
    assert!(error.to_string().contains("/nowhere/b.toml"));
}
