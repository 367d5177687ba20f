//! What a scraper or a probe sees at a metrics address.

use std::{
    io::{self, Read, Write},
    net::SocketAddr,
};

use crate::caller;

/// Status and body of a GET.
pub fn get(address: SocketAddr, path: &str) -> io::Result<(u16, String)> {
    let mut socket = caller::connect(address)?;
    write!(socket, "GET {path} HTTP/1.1\r\nhost: probe\r\nconnection: close\r\n\r\n")?;
    let mut answer = String::new();
    socket.read_to_string(&mut answer)?;
    let broken = || io::Error::other(format!("not an HTTP answer: {answer}"));
    let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(broken)?;
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).ok_or_else(broken)?;
    Ok((status, body.to_owned()))
}

/// The text of `/metrics`; panics when it cannot be had.
pub fn metrics(address: SocketAddr) -> String {
    let (status, text) = get(address, "/metrics").expect("metrics are served");
    assert_eq!(status, 200, "{text}");
    text
}

/// Sum of the samples of `name` whose labels contain `labels`; 0 when there is none.
pub fn sum(metrics: &str, name: &str, labels: &str) -> f64 {
    let samples = metrics.lines().filter(|line| !line.starts_with('#')).filter_map(|line| {
        let (series, value) = line.rsplit_once(' ')?;
        let (found, of) = series.split_once('{').unwrap_or((series, ""));
        (found == name && of.contains(labels)).then(|| value.parse::<f64>().ok())?
    });
    samples.sum()
}

/// Names of all metrics in the text.
pub fn names(metrics: &str) -> Vec<&str> {
    let types = metrics.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    types.filter_map(|line| line.split(' ').next()).collect()
}
