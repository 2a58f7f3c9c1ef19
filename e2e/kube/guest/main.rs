//! The helper program in pods of the cluster tests, and the pause program of every pod.
//!
//! It uses nothing but the standard library, so that the compiler alone builds it, statically, in a
//! second.
#![forbid(unsafe_code)]
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a command-line program without a runtime"
)]

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::process::ExitCode;
use std::time::Duration;

/// Time for a connection, and for each read.
const LIMIT: Duration = Duration::from_secs(2);

const USAGE: &str = "usage: guest pause | serve PORT… | get HOST:PORT | knock HOST:PORT… | \
                     resolve NAME | write FILE TEXT | read FILE | exit CODE";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let result = match words.as_slice() {
        ["pause"] => pause(),
        ["serve", ports @ ..] if !ports.is_empty() => serve(ports),
        ["get", address] => get(address),
        ["knock", addresses @ ..] if !addresses.is_empty() => knock(addresses),
        ["resolve", name] => resolve(name),
        ["write", file, text] => std::fs::write(file, text),
        ["read", file] => std::fs::read_to_string(file).map(|text| print!("{text}")),
        ["exit", code] => return ExitCode::from(code.parse().unwrap_or(1)),
        _ => Err(io::Error::other(USAGE)),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Waits for the signal that ends it; as the first process of a container it gets SIGKILL.
fn pause() -> io::Result<()> {
    loop {
        std::thread::park();
    }
}

/// Answers HTTP requests on every port with the name of the pod.
fn serve(ports: &[&str]) -> io::Result<()> {
    for port in ports {
        let port: u16 = port.parse().map_err(io::Error::other)?;
        let listener = TcpListener::bind(("0.0.0.0", port))?;
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                std::thread::spawn(move || answer(stream));
            }
        });
    }
    println!("serving");
    pause()
}

fn answer(stream: TcpStream) -> io::Result<()> {
    stream.set_read_timeout(Some(LIMIT))?;
    let mut reader = BufReader::new(&stream);
    let mut line = String::new();
    // A request ends with an empty line.
    while reader.read_line(&mut line)? > 2 {
        line.clear();
    }
    let name = std::fs::read_to_string("/etc/hostname")?;
    let name = name.trim();
    let length = name.len();
    write!(
        &stream,
        "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{name}"
    )
}

/// Prints what an HTTP server answers; fails when no address of the host is reached within
/// [`LIMIT`].
fn get(address: &str) -> io::Result<()> {
    let mut last = io::Error::other("the name has no address");
    for address in address.to_socket_addrs()? {
        match fetch(address) {
            Ok(body) => {
                println!("{body}");
                return Ok(());
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn fetch(address: SocketAddr) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, LIMIT)?;
    stream.set_read_timeout(Some(LIMIT))?;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: guest\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let body = answer.split_once("\r\n\r\n").map(|(_, body)| body);
    body.map(str::to_owned)
        .ok_or_else(|| io::Error::other("not an HTTP answer"))
}

/// Prints those of the addresses at which a connection is accepted within [`LIMIT`], all asked at once.
fn knock(addresses: &[&str]) -> io::Result<()> {
    let mut knocks = Vec::new();
    for address in addresses {
        let address: SocketAddr = address.parse().map_err(io::Error::other)?;
        let knock = move || TcpStream::connect_timeout(&address, LIMIT).is_ok();
        knocks.push((address, std::thread::spawn(knock)));
    }
    for (address, knock) in knocks {
        if knock.join().is_ok_and(|is_open| is_open) {
            println!("{address}");
        }
    }
    Ok(())
}

fn resolve(name: &str) -> io::Result<()> {
    for address in (name, 0).to_socket_addrs()? {
        println!("{}", address.ip());
    }
    Ok(())
}
