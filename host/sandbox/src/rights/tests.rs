//! Which halves make a right: settings as origins, addresses as grants, secrets in headers.

use super::*;
use crate::binding::Grants;
use crate::options::Tighter;
use serde_json::json;

const MANIFEST: &str = r#"
name = "probe"
version = "1"
contract = "0.1"
[egress]
allow = ["https://api.example.com", "config:url"]
[grants]
publish = ["orders.*"]
[secrets.token]
uses = ["header"]
required = true
doc = "For the API"
bind = [{ origin = "https://api.example.com", header = "Authorization", value = "Bearer {token}" }]
[config.url]
type = "string"
"#;

fn binding(token: Option<&str>) -> Binding {
    Binding {
        subscription: "s".into(),
        is_ordered: true,
        concurrency: 1,
        settings: [("url".to_owned(), json!("http://127.0.0.1:8080/hook?x"))].into(),
        grants: Grants {
            egress: vec!["http://127.0.0.1:8080".parse().unwrap(), "https://api.example.com".parse().unwrap()],
            publish: vec!["*".parse().unwrap()],
            secrets: token.into_iter().map(|token| ("token".to_owned(), Secret::from(token))).collect(),
            ..Grants::default()
        },
        limits: Tighter::default(),
        business_key: None,
        uncertain: None,
    }
}

fn built(token: Option<&str>) -> Result<Policy, String> {
    let (manifest, binding) = (Manifest::parse(MANIFEST).unwrap(), binding(token));
    let settings = settings::resolve(&manifest, &binding.settings).unwrap();
    policy(&manifest, &binding, &settings)
}

#[test]
fn a_setting_names_an_origin_and_an_address_grants_itself() {
    let policy = built(Some("sesame")).unwrap();
    let asked: Vec<String> = policy.asked.iter().map(ToString::to_string).collect();
    assert_eq!(asked, ["https://api.example.com", "http://127.0.0.1:8080"]);
    let networks: Vec<String> = policy.networks.iter().map(ToString::to_string).collect();
    assert_eq!(networks, ["127.0.0.1/32"]);
}

#[test]
fn a_header_secret_is_bound_and_never_printed() {
    let policy = built(Some("sesame")).unwrap();
    let [(origin, name, value)] = policy.injected.as_slice() else { panic!("{policy:?}") };
    assert_eq!((origin.to_string().as_str(), name.as_str()), ("https://api.example.com", "authorization"));
    assert_eq!(value.to_str().unwrap(), "Bearer sesame");
    assert!(!format!("{policy:?}").contains("sesame"));
    let error = built(Some("two\nlines")).unwrap_err();
    assert!(error.contains("`Authorization`") && !error.contains("two"), "{error}");
}

#[test]
fn both_sides_must_say_yes() {
    let egress = bugle_egress::Egress::new(bugle_egress::Options::default()).unwrap();
    let manifest = Manifest::parse(MANIFEST).unwrap();
    let rights = Rights::new(&manifest, "r".to_owned(), &binding(Some("x")), &egress).unwrap();
    assert_eq!(rights.check_publish("orders.paid"), Ok(()));
    assert!(rights.check_publish("other").unwrap_err().contains("[grants] in plugin.toml"));
    assert!(rights.check(Right::Kv).unwrap_err().contains("plugin.toml"));
    assert!(matches!(rights.secret("token", SecretUse::Reveal), Err(SecretRefusal::Denied(_))));
    let error = Rights::new(&manifest, "r".to_owned(), &binding(None), &egress).unwrap_err();
    assert!(error.to_string().contains("secret `token` is missing in [grants.secrets]: For the API"), "{error}");
}
