//! What a filter costs for each event that is read: the written form against the compiled one.
//!
//! `cargo run --release --example filter_cost -p bugle-core`

use std::hint::black_box;
use std::time::Instant;

use bugle_core::event::{Event, Index, Span};
use bugle_core::matcher::Matcher;
use bugle_core::spec::Filter;

const TURNS: u32 = 2_000_000;

fn event(extensions: usize) -> Event {
    let mut bytes = Vec::new();
    let mut add = |text: &str| {
        let start = bytes.len() as u32;
        bytes.extend_from_slice(text.as_bytes());
        Span { start, len: text.len() as u32 }
    };
    let index = Index {
        id: add("0190f3c2-7f3c-7000-8000-000000000001"),
        source: add("/shop/checkout"),
        kind: add("com.example.order.paid"),
        subject: Some(add("order 7 of user 42")),
        key: Some(add("user:42")),
        others: (0..extensions).map(|n| (add(&format!("extension{n:02}")), add("some value of it"))).collect(),
        data: add("{\"sum\":3}"),
        ..Index::default()
    };
    Event::new(bytes.into(), index).expect("spans of the text")
}

fn measure(what: &str, filter: &Filter, event: &Event) {
    let compiled = Matcher::new(filter);
    let time = |matches: &dyn Fn() -> bool| {
        let start = Instant::now();
        for _ in 0..TURNS {
            black_box(matches());
        }
        start.elapsed().as_nanos() as f64 / f64::from(TURNS)
    };
    let written = time(&|| filter.matches(black_box(event)));
    let ready = time(&|| compiled.matches(black_box(event)));
    println!("{what:<42} written {written:6.1} ns, compiled {ready:6.1} ns");
}

fn main() {
    let prefix = |attribute: &str, value: &str| Filter::Prefix { attribute: attribute.into(), value: value.into() };
    let exact = |attribute: &str, value: &str| Filter::Exact { attribute: attribute.into(), value: value.into() };
    measure("prefix of the type", &prefix("type", "com.example."), &event(0));
    measure("last of 16 extensions", &exact("extension15", "some value of it"), &event(16));
    let many = (0..64).map(|n| exact("type", &format!("com.example.other.{n}"))).collect();
    measure("any of 64 types, none of them", &Filter::Any(many), &event(0));
    let mixed = Filter::All(vec![
        prefix("type", "com.example."),
        Filter::Not(Box::new(exact("subject", "test"))),
        Filter::Any(vec![exact("source", "/shop"), exact("source", "/shop/checkout")]),
    ]);
    measure("all of a prefix, a not and an any", &mixed, &event(4));
}
