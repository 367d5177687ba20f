use std::{
    io,
    net::TcpStream,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    thread,
    time::Duration,
};

use super::{lock, pump};

/// A direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    ToGateway,
    ToAgent,
}

impl Way {
    pub const BOTH: [Self; 2] = [Self::ToGateway, Self::ToAgent];
}

/// How a connection is ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// TCP RST to both ends: what they have not read is lost to them.
    Reset,
    /// TCP FIN to both ends.
    Fin,
}

/// One connection that the relay carries; a handle, cheap to clone, that does not keep it up.
#[derive(Debug, Clone)]
pub struct Connection(Arc<State>);

#[derive(Debug)]
struct State {
    number: usize,
    ways: [Mutex<Passage>; 2],
    end: Mutex<Option<End>>,
    /// Directions that have not ended.
    flowing: AtomicUsize,
}

/// One direction. Locked while bytes pass, so that what is ordered or asked falls between two pieces, never into one
/// that the far end has and nobody has counted.
#[derive(Debug)]
struct Passage {
    orders: Orders,
    bytes: u64,
}

/// What is to happen to the bytes of one direction.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Orders {
    pub(super) holed: bool,
    pub(super) delay: Duration,
    /// The connection ends after so many more bytes this way.
    pub(super) cut: Option<(u64, End)>,
}

impl Connection {
    pub(super) fn carry(number: usize, agent: TcpStream, gateway: TcpStream, orders: [Orders; 2]) -> Self {
        let connection = Self(Arc::new(State {
            number,
            ways: orders.map(|orders| Mutex::new(Passage { orders, bytes: 0 })),
            end: Mutex::new(None),
            flowing: AtomicUsize::new(Way::BOTH.len()),
        }));
        let sockets = Arc::new([agent, gateway]);
        for way in Way::BOTH {
            let (sockets, connection) = (sockets.clone(), connection.clone());
            thread::spawn(move || {
                pump::carry(&sockets, &connection, way);
                // Closed before it counts as ended; the reset of a linger of zero leaves with the last of the two.
                drop(sockets);
                connection.0.flowing.fetch_sub(1, SeqCst);
            });
        }
        connection
    }

    /// Counts the relay's connections from 1.
    pub fn number(&self) -> usize {
        self.0.number
    }

    pub fn is_up(&self) -> bool {
        self.0.flowing.load(SeqCst) > 0 && self.ended().is_none()
    }

    /// Bytes passed on so far.
    pub fn bytes(&self, way: Way) -> u64 {
        self.way(way).bytes
    }

    /// Ends it at once.
    pub fn cut(&self, end: End) {
        lock(&self.0.end).get_or_insert(end);
    }

    /// Ends it after exactly `bytes` more have passed this way, wherever in a record that is.
    pub fn cut_after(&self, way: Way, bytes: u64, end: End) {
        self.order(way, |orders| orders.cut = Some((bytes, end)));
    }

    /// Nothing passes these ways any more; both ends stay connected.
    pub fn black_hole(&self, ways: &[Way]) {
        ways.iter().for_each(|way| self.order(*way, |orders| orders.holed = true));
    }

    /// What was held back goes on its way.
    pub fn heal(&self) {
        Way::BOTH.iter().for_each(|way| self.order(*way, |orders| orders.holed = false));
    }

    pub(super) fn order(&self, way: Way, order: impl FnOnce(&mut Orders)) {
        order(&mut self.way(way).orders);
    }

    pub(super) fn orders(&self, way: Way) -> Orders {
        self.way(way).orders
    }

    pub(super) fn ended(&self) -> Option<End> {
        *lock(&self.0.end)
    }

    /// Passes the head of `len` bytes on by `write`, which is told how many may go and gives how many went; counts them, and
    /// ends the connection where it was told to end. `None` while nothing may pass.
    pub(super) fn pass(
        &self,
        way: Way,
        len: usize,
        write: impl FnOnce(usize) -> io::Result<usize>,
    ) -> Option<io::Result<usize>> {
        let mut passage = self.way(way);
        if passage.orders.holed {
            return None;
        }
        let allowed = passage.orders.cut.map_or(u64::MAX, |(left, _)| left);
        let piece = len.min(usize::try_from(allowed).unwrap_or(usize::MAX));
        let written = if piece == 0 { Ok(0) } else { write(piece) };
        let count = written.as_ref().map_or(0, |count| *count as u64);
        passage.bytes += count;
        if let Some((left, end)) = &mut passage.orders.cut {
            *left = left.saturating_sub(count);
            if *left == 0 {
                self.cut(*end);
            }
        }
        Some(written)
    }

    fn way(&self, way: Way) -> MutexGuard<'_, Passage> {
        lock(&self.0.ways[way as usize])
    }
}
