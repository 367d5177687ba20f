//! Frames to bytes and back.

use bytes::{Bytes, BytesMut};
use divan::{Bencher, black_box, counter::BytesCount};
use warren_tunnel::frame::{
    Decoder, Frame, Hello, OpenRequest, OpenResult, ResetReason, encode, encode_data_header,
};

/// Frames in one decoded piece, so that what a piece costs by itself does not count.
const TRAIN: usize = 100;
const BULK: usize = 64 * 1024;
/// A TLS record's worth.
const PIECE: usize = 16 * 1024;
const KINDS: [&str; 7] = ["hello", "open", "open_ack", "data_64", "credit", "fin", "reset"];

fn frame(kind: &str) -> Frame {
    let session = 7;
    match kind {
        "hello" => Frame::Hello(Hello::new(1, 1, 0)),
        "open" => Frame::Open { session, request: OpenRequest::resource("orders-db") },
        "open_ack" => {
            Frame::OpenAck { session, result: OpenResult::Ok, window: 1 << 18, detail: String::new() }
        }
        "data_64" => Frame::Data { session, offset: 0, bytes: Bytes::from_static(&[7; 64]) },
        "credit" => Frame::Credit { session, consumed: 1 << 20, window: 1 << 18 },
        "fin" => Frame::Fin { session, offset: 1 << 20 },
        _ => Frame::Reset { session, reason: ResetReason::TargetReset, detail: "reset by peer".to_owned() },
    }
}

fn train(kind: &str) -> Bytes {
    let mut wire = BytesMut::new();
    (0..TRAIN).for_each(|_| encode(&frame(kind), &mut wire));
    wire.freeze()
}

fn count(decoder: &mut Decoder, piece: Bytes) -> usize {
    decoder.push(piece);
    let mut frames = 0;
    while let Ok(Some(frame)) = decoder.next_frame() {
        black_box(frame);
        frames += 1;
    }
    frames
}

#[divan::bench(args = KINDS)]
fn encode_one(bencher: Bencher<'_, '_>, kind: &str) {
    let (frame, mut out) = (frame(kind), BytesMut::with_capacity(1024));
    bencher.counter(1usize).bench_local(|| {
        out.clear();
        encode(black_box(&frame), &mut out);
    });
}

#[divan::bench(args = KINDS)]
fn decode_100(bencher: Bencher<'_, '_>, kind: &str) {
    let (wire, mut decoder) = (train(kind), Decoder::new());
    bencher.counter(TRAIN).bench_local(|| assert_eq!(count(&mut decoder, wire.clone()), TRAIN));
}

/// The machine's way: a header, then the payload's pieces as they are.
#[divan::bench]
fn encode_64_kib_of_data(bencher: Bencher<'_, '_>) {
    let (payload, mut out) = (Bytes::from(vec![7; BULK]), BytesMut::with_capacity(1024));
    bencher.counter(BytesCount::new(BULK)).bench_local(|| {
        out.clear();
        encode_data_header(7, 1 << 20, payload.len(), &mut out);
        (black_box(out.len()), payload.clone())
    });
}

#[divan::bench]
fn decode_64_kib_of_data(bencher: Bencher<'_, '_>) {
    let mut wire = BytesMut::new();
    encode(&Frame::Data { session: 7, offset: 0, bytes: Bytes::from(vec![7; BULK]) }, &mut wire);
    let (wire, mut decoder) = (wire.freeze(), Decoder::new());
    bencher.counter(BytesCount::new(BULK)).bench_local(|| {
        let mut rest = wire.clone();
        while !rest.is_empty() {
            let piece = rest.split_to(rest.len().min(PIECE));
            count(&mut decoder, piece);
        }
    });
}
