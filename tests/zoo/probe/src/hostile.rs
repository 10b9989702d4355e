//! What no host should have to bear: traps, loops, hunger for memory and for attention.

use crate::{Given, Tried};
use bugle_plugin::prelude::*;
use std::hint::black_box;

pub(crate) fn run(kind: &str, _: &Cx, _: &Event<Value>, given: &Given<'_>) -> Tried {
    let bytes = usize::try_from(given.number("bytes", 8 << 20)).unwrap_or(usize::MAX);
    Some(match kind {
        "trap" => panic!("said trap"),
        "abort" => std::process::abort(),
        "exit" => std::process::exit(3),
        "spin" => spin(),
        "work" => {
            let rounds = given.number("rounds", 1_000_000);
            info!("sum {}", (0..rounds).fold(0_u64, |sum, n| black_box(sum.wrapping_mul(31).wrapping_add(n))));
            Ok(())
        }
        "sleep" => {
            std::thread::sleep(given.time("millis", Duration::from_secs(60)));
            Ok(())
        }
        "alloc" => alloc(),
        "alloc-some" => {
            black_box(vec![1_u8; bytes]);
            Ok(())
        }
        "recurse" => {
            info!("depth {}", recurse(u64::MAX));
            Ok(())
        }
        "huge-output" => reject("x".repeat(bytes)),
        "huge-unknown" => unknown("x".repeat(bytes)),
        "huge-log" => {
            info!("{}", "x".repeat(bytes));
            Ok(())
        }
        "log-flood" => {
            for n in 0..given.number("count", 100_000) {
                info!("line {n}");
            }
            Ok(())
        }
        "stdout-flood" => {
            for n in 0..given.number("count", 100_000) {
                println!("line {n}");
                eprintln!("line {n}");
            }
            Ok(())
        }
        _ => return None,
    })
}

/// Never comes back.
pub(crate) fn spin() -> ! {
    loop {
        black_box(());
    }
}

/// Takes memory until there is none.
fn alloc() -> ! {
    let mut kept = Vec::new();
    loop {
        kept.push(vec![1_u8; 1 << 20]);
        black_box(&kept);
    }
}

fn recurse(depth: u64) -> u64 {
    let frame = black_box([depth; 64]);
    if depth == 0 { 0 } else { recurse(depth - 1) + frame[7] % 2 }
}
