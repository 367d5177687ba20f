//! Two machines that talk to each other, without anything between them.

use bytes::Bytes;
use divan::{Bencher, counter::BytesCount};
use warren_tunnel::{frame::Frame, machine::Received};

use crate::pair::Pair;

const SESSIONS: usize = 1000;
const BULK: usize = 16 << 20;
const PIECE: usize = 64 * 1024;
/// What each of many sessions sends.
const SHARE: usize = 16 * 1024;

/// A session from its open to its end at both ends, nothing sent.
#[divan::bench]
fn open_ack_fin(bencher: Bencher<'_, '_>) {
    let mut pair = Pair::new();
    bencher.counter(1usize).bench_local(|| {
        let id = pair.open();
        pair.end(id);
    });
}

/// One session, gateway to agent, with a reader that takes all there is.
#[divan::bench]
fn bulk_16_mib(bencher: Bencher<'_, '_>) {
    let mut pair = Pair::new();
    let (id, piece) = (pair.open(), Bytes::from(vec![7; PIECE]));
    bencher.counter(BytesCount::new(BULK)).bench_local(|| {
        let (mut sent, mut read) = (0, 0);
        while read < BULK {
            let mut bytes = piece.slice(..PIECE.min(BULK - sent));
            while !bytes.is_empty() {
                match pair.gateway.bundle.send(id, &mut bytes) {
                    Ok(0) | Err(_) => break,
                    Ok(count) => sent += count,
                }
            }
            pair.exchange();
            while let Received::Bytes(bytes) = pair.agent.bundle.recv(id, usize::MAX, pair.now) {
                read += bytes.len();
            }
        }
    });
}

/// A thousand sessions of 16 KiB each, all at once.
#[divan::bench]
fn round_robin_1000(bencher: Bencher<'_, '_>) {
    let mut pair = Pair::new();
    let ids: Vec<u64> = (0..SESSIONS).map(|_| pair.open()).collect();
    let share = Bytes::from(vec![7; SHARE]);
    bencher.counter(BytesCount::new(SESSIONS * SHARE)).bench_local(|| {
        for id in &ids {
            assert_eq!(pair.gateway.bundle.send(*id, &mut share.clone()), Ok(SHARE));
        }
        pair.settle();
        for id in &ids {
            while let Received::Bytes(_) = pair.agent.bundle.recv(*id, usize::MAX, pair.now) {}
        }
        pair.settle();
    });
}

/// Credits of a thousand sessions, as the sender hears them.
#[divan::bench]
fn credits_1000(bencher: Bencher<'_, '_>) {
    let mut pair = Pair::new();
    let ids: Vec<u64> = (0..SESSIONS).map(|_| pair.open()).collect();
    bencher.counter(SESSIONS).bench_local(|| {
        for id in &ids {
            let credit = Frame::Credit { session: *id, consumed: 0, window: 1 << 18 };
            let key = pair.gateway.key;
            pair.gateway.bundle.handle_frame(key, credit, pair.now).expect("a credit that is allowed");
        }
    });
}

/// A thousand sessions whose tunnel breaks and that go on, on another.
#[divan::bench]
fn resume_1000(bencher: Bencher<'_, '_>) {
    let mut pair = Pair::new();
    for _ in 0..SESSIONS {
        pair.open();
    }
    bencher.counter(SESSIONS).bench_local(|| {
        pair.replace_tunnel();
        pair.settle();
        let carried = |end: &crate::pair::End| end.bundle.tunnel(end.key).map(|tunnel| tunnel.sessions());
        assert_eq!((carried(&pair.gateway), carried(&pair.agent)), (Some(SESSIONS), Some(SESSIONS)));
    });
}
