//! Tests of the admin API against a real host in this process: who gets in, what is refused, what survives a restart.

use serde_json::{Value, json};
use tempfile::TempDir;
use ureq::Agent;
use ureq::http::Response;

use super::{Permission, permissions};
use crate::config::Config;
use crate::serve::InProcess;
use crate::token::Token;

struct Served {
    host: InProcess,
    agent: Agent,
    token: String,
}

fn start(dir: &TempDir) -> Served {
    let mut config =
        Config::parse("test", "[quic]\nlisten = \"127.0.0.1:0\"\n[admin]\nlisten = \"127.0.0.1:0\"\n").unwrap();
    config.data_dir = dir.path().join("data");
    let host = InProcess::start(&config).unwrap();
    let token = Token::load(&host.data().token()).unwrap();
    let agent = Agent::config_builder().http_status_as_error(false).build().into();
    Served { host, agent, token: token.reveal().to_owned() }
}

fn read(answer: Result<Response<ureq::Body>, ureq::Error>) -> (u16, Value) {
    let mut answer = answer.unwrap();
    let text = answer.body_mut().read_to_string().unwrap();
    let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
    (answer.status().as_u16(), body)
}

impl Served {
    fn ask(&self, method: &str, path: &str, token: Option<&str>, body: &[u8]) -> (u16, Value) {
        let uri = format!("http://{}{path}", self.host.endpoints().admin);
        let mut request = ureq::http::Request::builder().method(method).uri(uri);
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let request = request.header("content-type", "application/json").body(body.to_vec()).unwrap();
        read(self.agent.run(request))
    }

    fn call(&self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        self.ask(method, path, Some(&self.token), body.to_string().as_bytes())
    }

    fn get(&self, path: &str) -> Value {
        let (status, body) = self.ask("GET", path, Some(&self.token), b"");
        assert_eq!(status, 200, "{path}: {body}");
        body
    }

    /// The request is refused with this status and code, and the message has these words.
    fn refused(&self, (method, path, body): (&str, &str, Value), wanted: (u16, &str, &str)) {
        let (status, answer) = self.call(method, path, &body);
        let told = answer["message"].as_str().unwrap_or_default();
        assert_eq!((status, answer["code"].as_str()), (wanted.0, Some(wanted.1)), "{method} {path}: {answer}");
        assert!(told.contains(wanted.2), "{method} {path}: {told}");
    }
}

#[test]
fn every_route_is_shut_without_the_token_unless_it_is_open() {
    let dir = tempfile::tempdir().unwrap();
    let served = start(&dir);
    let mut open = Vec::new();
    for (method, path, permission) in permissions() {
        let filled = path.replace(['{', '}', '*'], "");
        for token in [None, Some(""), Some("wrong"), Some(&served.token[1..])] {
            let (status, answer) = served.ask(method, &filled, token, b"");
            match permission {
                Permission::Open => assert_eq!(status, 200, "{method} {path}"),
                Permission::Read | Permission::Change => {
                    assert_eq!((status, answer["code"].as_str()), (401, Some("unauthenticated")), "{method} {path}");
                }
            }
        }
        open.extend((permission == Permission::Open).then_some(path));
    }
    assert_eq!(open, ["/health", "/metrics"]);
    served.host.stop();
}

#[test]
fn a_foreign_host_header_is_refused_even_with_the_token() {
    let dir = tempfile::tempdir().unwrap();
    let served = start(&dir);
    let address = served.host.endpoints().admin.clone();
    for path in ["/health", "/v1/status"] {
        let request = served.agent.get(format!("http://{address}{path}"));
        let request = request.header("authorization", format!("Bearer {}", served.token));
        let (status, answer) = read(request.header("host", "evil.example").call());
        assert_eq!((status, answer["code"].as_str()), (403, Some("denied")));
    }
    served.host.stop();
}

#[test]
fn what_cannot_be_is_refused_with_a_code_and_a_way_out() {
    let dir = tempfile::tempdir().unwrap();
    let served = start(&dir);
    let (status, _) = served.call("POST", "/v1/topics", &json!({ "name": "orders" }));
    assert_eq!(status, 200);
    let definition = json!({ "name": "s", "topics": ["orders"], "plugin": "p" });
    let with = |field: &str, value: Value| {
        let mut changed = definition.clone();
        changed[field] = value;
        changed
    };
    let subscription = |body: Value| ("PUT", "/v1/subscriptions/s", body);
    served.refused(("POST", "/v1/topics", json!({ "name": "A b" })), (400, "invalid", "not a topic name"));
    served.refused(("POST", "/v1/topics", json!({ "nmae": "a" })), (400, "invalid", "did you mean `name`?"));
    served.refused(("GET", "/v1/topics/none", json!(null)), (404, "unknown-topic", "bugle topic create none"));
    served.refused(("GET", "/v1/topics/orders/events?from=soon", json!(null)), (400, "invalid", "`latest`"));
    served.refused(subscription(definition.clone()), (404, "not-found", "bugle plugin deploy p"));
    served.refused(subscription(with("topics", json!(["none"]))), (404, "unknown-topic", "bugle topic create none"));
    served.refused(subscription(with("concurency", json!(3))), (400, "invalid", "did you mean `concurrency`?"));
    served.refused(subscription(with("concurrency", json!(0))), (400, "invalid", "from 1"));
    served.refused(subscription(with("name", json!("t"))), (400, "invalid", "the path names `s`"));
    served.refused(("POST", "/v1/subscriptions/s/pause", json!({})), (404, "not-found", "no subscription `s`"));
    served.refused(("PUT", "/v1/plugins/p", json!("not a component")), (400, "invalid", "could not deploy plugin `p`"));
    served.refused(("GET", "/v1/plugins/p", json!(null)), (404, "not-found", "no plugin `p`"));
    served.refused(("GET", "/v1/kv/s/none", json!(null)), (404, "not-found", "no entry `none`"));
    served.refused(("GET", "/v1/nothing", json!(null)), (404, "not-found", "/v1/nothing"));
    let simulate = |body: Value| ("POST", "/v1/subscriptions/s/simulate", body);
    served.refused(simulate(json!({})), (404, "not-found", "no subscription `s`"));
    served.refused(simulate(json!({ "helth": [] })), (400, "invalid", "did you mean `health`?"));
    served.refused(simulate(json!({ "definition": with("name", json!("t")) })), (400, "invalid", "defines `t`"));
    served.refused(simulate(json!({ "definition": definition })), (400, "invalid", "no degrade rule"));
    let rule = |rule: Value| simulate(json!({ "definition": with("degrade", json!([rule])) }));
    let lost = json!({ "do": "reroute", "to": "none" });
    served.refused(rule(lost.clone()), (400, "invalid", "`none`, which does not exist"));
    served.refused(rule(json!({ "do": "reroute" })), (400, "invalid", "rule 1 must say `to`"));
    served.refused(subscription(with("degrade", json!([lost]))), (400, "invalid", "apply that one first"));
    let (status, told) = served.call("POST", "/v1/subscriptions/s/simulate", &rule(json!({ "do": "drop" })).2);
    assert_eq!((status, &told["events"], told["healths"].as_array().unwrap().len()), (200, &json!(0), 2), "{told}");
    let (status, _) = served.call("DELETE", "/v1/status", &json!(null));
    assert_eq!(status, 405);
    served.host.stop();
}

#[test]
fn a_component_may_be_larger_than_any_other_body() {
    let dir = tempfile::tempdir().unwrap();
    let served = start(&dir);
    let large = vec![b' '; 3 << 20];
    let put = |path: &str| {
        let (status, answer) = served.ask("PUT", path, Some(&served.token), &large);
        (status, answer["code"].as_str().unwrap_or_default().to_owned())
    };
    assert_eq!(put("/v1/plugins/p"), (400, "invalid".to_owned()));
    assert_eq!(put("/v1/kv/box/a"), (413, "too-large".to_owned()));
    assert_eq!(put("/v1/subscriptions/s"), (413, "too-large".to_owned()));
    served.host.stop();
}

#[test]
fn kv_entries_are_written_swapped_scanned_and_deleted() {
    let dir = tempfile::tempdir().unwrap();
    let served = start(&dir);
    let put = |path: &str| served.ask("PUT", path, Some(&served.token), b"one").0;
    assert_eq!(put("/v1/kv/box/user/1/a?expect=0"), 200);
    assert_eq!(put("/v1/kv/box/user/1/a?expect=0"), 409);
    let entry = served.get("/v1/kv/box/user/1/a");
    assert_eq!((entry["key"].as_str(), entry["value"].as_str()), (Some("user/1/a"), Some("one")));
    let version = entry["version"].as_u64().unwrap();
    assert_eq!(put(&format!("/v1/kv/box/user%2F1%2Fa?expect={version}")), 200);
    assert_eq!(put("/v1/kv/box/user/2/a"), 200);
    assert_eq!(put("/v1/kv/box/gone?ttl=1ms"), 200);
    let page = served.get("/v1/kv/box?prefix=user/&limit=1");
    assert_eq!((page["entries"].as_array().unwrap().len(), page["after"].as_str()), (1, Some("user/1/a")));
    let page = served.get("/v1/kv/box?prefix=user/&after=user/1/a");
    assert_eq!((page["entries"][0]["key"].as_str(), page["after"].as_str()), (Some("user/2/a"), None));
    let (status, _) = served.call("DELETE", "/v1/kv/box/user/1/a", &json!(null));
    assert_eq!(status, 200);
    served.refused(("GET", "/v1/kv/box/user/1/a", json!(null)), (404, "not-found", "no entry"));
    served.refused(("PUT", "/v1/kv/BAD/a", json!(1)), (400, "invalid", "not a store name"));
    served.host.stop();
}

#[test]
fn definitions_and_entries_survive_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let served = start(&dir);
    let boot = served.get("/v1/status")["boot"].as_u64().unwrap();
    served.call("POST", "/v1/topics", &json!({ "name": "orders" }));
    served.call("POST", "/v1/topics", &json!({ "name": "orders" }));
    served.ask("PUT", "/v1/kv/box/a", Some(&served.token), &[0xff]);
    let token = served.token.clone();
    served.host.stop();
    let served = start(&dir);
    assert_eq!(served.token, token);
    assert!(served.get("/v1/status")["boot"].as_u64().unwrap() > boot);
    let topics = served.get("/v1/topics");
    assert_eq!((topics[0]["name"].as_str(), topics.as_array().unwrap().len()), (Some("orders"), 1));
    assert_eq!(served.get("/v1/kv/box/a")["value_base64"], "/w==");
    served.host.stop();
}

#[test]
fn metrics_and_the_dump_have_their_forms() {
    let dir = tempfile::tempdir().unwrap();
    let served = start(&dir);
    served.call("POST", "/v1/topics", &json!({ "name": "orders" }));
    let metrics = served.get("/metrics");
    let metrics = metrics.as_str().unwrap();
    for line in metrics.lines().filter(|line| !line.starts_with('#')) {
        let (_, value) = line.rsplit_once(' ').unwrap();
        assert!(value.parse::<u64>().is_ok(), "{line}");
    }
    assert!(metrics.contains("\nbugle_commits_total "), "{metrics}");
    let (status, dump) = served.ask("GET", "/v1/dump", Some(&served.token), b"");
    assert_eq!((status, dump["kind"].as_str(), dump["events"].as_u64()), (200, Some("scan-end"), Some(0)));
    served.host.stop();
}
