//! One that reads slowly what is said to it without end.

use std::{
    io::{self, ErrorKind, Read, Write},
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use rustix::net::{self, sockopt};

use super::{Bytes, PATIENCE};
use crate::{
    crew::{Crew, Stop},
    target, wait,
};

const PIECE: usize = 1 << 10;
/// The kernel holds little on behalf of a slow reader, so that its slowness is felt at once.
const KERNEL_BUFFER: usize = 16 << 10;

/// The target: says the bytes of one seed, as fast as they are taken, until nobody listens.
#[derive(Debug)]
pub struct Flood {
    pub address: SocketAddr,
    said: Arc<AtomicU64>,
    seed: u64,
}

impl Flood {
    pub fn start(seed: u64) -> Self {
        let said = Arc::new(AtomicU64::new(0));
        let count = said.clone();
        let address = target::serve(move |mut socket| {
            socket.set_write_timeout(Some(PATIENCE))?;
            let (mut at, mut piece) = (0, vec![0; 64 << 10]);
            loop {
                Bytes::new(seed).fill(at, &mut piece);
                socket.write_all(&piece)?;
                at += piece.len() as u64;
                count.fetch_add(piece.len() as u64, SeqCst);
            }
        });
        Self { address, said, seed }
    }

    /// Bytes that were taken from all its connections.
    pub fn said(&self) -> u64 {
        self.said.load(SeqCst)
    }

    /// One more caller at `port`, which leads here, that reads `pace` bytes a second.
    pub fn slow_reader(&self, port: SocketAddr, pace: u64) -> SlowReader {
        let (read, mut reading) = (Arc::new(AtomicU64::new(0)), Crew::default());
        let (so_far, seed) = (read.clone(), self.seed);
        reading.spawn(move |stop| read_slowly(port, seed, pace, stop, &so_far));
        SlowReader { read, reading }
    }
}

/// Reads until it is told to finish.
#[derive(Debug)]
pub struct SlowReader {
    read: Arc<AtomicU64>,
    reading: Crew<Result<(), String>>,
}

impl SlowReader {
    /// Bytes read so far.
    pub fn read(&self) -> u64 {
        self.read.load(SeqCst)
    }

    /// Hangs up; what was wrong with the bytes, if anything.
    pub fn finish(self) -> Result<(), String> {
        let mut ends = self.reading.finish().into_iter();
        ends.try_for_each(|end| end.unwrap_or_else(|_| Err("the slow reader panicked".into())))
    }
}

fn read_slowly(port: SocketAddr, seed: u64, pace: u64, stop: &Stop, read: &AtomicU64) -> Result<(), String> {
    let mut socket = connect(port).map_err(|error| format!("not opened: {error}"))?;
    let (start, mut got, mut piece) = (Instant::now(), 0, [0; PIECE]);
    while !stop.is_set() {
        match socket.read(&mut piece) {
            Ok(0) => return Err(format!("ended after {got} bytes")),
            Ok(count) => {
                Bytes::new(seed).check(got, &piece[..count])?;
                got += count as u64;
                read.store(got, SeqCst);
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(format!("after {got} bytes: {error}")),
        }
        wait::until(start + Duration::from_secs_f64(got as f64 / pace as f64));
    }
    Ok(())
}

fn connect(port: SocketAddr) -> io::Result<std::net::TcpStream> {
    let socket = target::socket()?;
    // Before the connection is made, as it settles what the kernel announces.
    sockopt::set_socket_recv_buffer_size(&socket, KERNEL_BUFFER)?;
    net::connect(&socket, &port)?;
    let socket = std::net::TcpStream::from(socket);
    socket.set_read_timeout(Some(Duration::from_secs(1)))?;
    Ok(socket)
}
