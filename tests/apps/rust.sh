#!/bin/bash
# Rust: cargo builds, runs and tests a program with threads, channels, sockets and a child process.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
export HOME=$work CARGO_HOME=$work/cargo
mkdir -p hello/src
cd hello
printf '[package]\nname = "hello"\nversion = "0.1.0"\nedition = "2021"\n' >Cargo.toml
cat >src/main.rs <<'RUST'
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{mpsc, Arc, Barrier, Mutex};
use std::{panic, process, thread};

fn sum(n: u64) -> u64 {
    (1..=n).sum()
}

fn main() {
    println!("Hello, world!");
    let total = Arc::new(Mutex::new(0));
    let barrier = Arc::new(Barrier::new(4));
    let threads: Vec<_> = (0..4u64)
        .map(|i| {
            let (total, barrier) = (total.clone(), barrier.clone());
            thread::spawn(move || {
                barrier.wait();
                for n in 0..1000 {
                    *total.lock().unwrap() += i * n;
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|t| t.join().unwrap());
    println!("{} {}", total.lock().unwrap(), sum(100));
    let (sender, receiver) = mpsc::channel();
    thread::scope(|scope| {
        for i in 0..3 {
            let sender = sender.clone();
            scope.spawn(move || sender.send(i * i).unwrap());
        }
    });
    drop(sender);
    let mut received: Vec<i32> = receiver.iter().collect();
    received.sort();
    println!("{:?}", received);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        stream.write_all(text.to_uppercase().as_bytes()).unwrap();
    });
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(b"over tcp").unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    server.join().unwrap();
    println!("{}", text);
    let child = process::Command::new("sh").args(["-c", "echo child; exit 5"]).output().unwrap();
    println!("{} {:?}", String::from_utf8_lossy(&child.stdout).trim(), child.status.code());
    panic::set_hook(Box::new(|_| {}));
    println!("{}", panic::catch_unwind(|| panic!("caught")).is_err());
    println!("{}", thread::available_parallelism().unwrap().get() > 0);
}

#[test]
fn sums() {
    assert_eq!(sum(10), 55);
}
RUST
cargo build --offline 2>&1 | grep -o -E 'Compiling hello|Finished' || true
./target/debug/hello
[[ ${APP_SIZE:-short} == short ]] || cargo test --offline 2>/dev/null | grep '^test ' | sed 's|; finished in .*||'
