//! What the WebSocket wrapping adds.

use bytes::{BufMut, BytesMut};
use divan::{Bencher, black_box, counter::BytesCount};
use warren_tunnel::websocket::{Decoder, Item, Opcode, Side, encode_header};

const BULK: usize = 64 * 1024;

/// A client's message of 64 KiB under a mask.
fn message(key: u32) -> BytesMut {
    let mut wire = BytesMut::new();
    encode_header(Side::Client, Opcode::Binary, BULK, &mut wire);
    wire.truncate(wire.len() - 4);
    wire.put_u32(key);
    wire.put_bytes(7, BULK);
    wire
}

#[divan::bench]
fn encode_one_header(bencher: Bencher<'_, '_>) {
    let mut out = BytesMut::with_capacity(64);
    bencher.counter(1usize).bench_local(|| {
        out.clear();
        encode_header(Side::Client, Opcode::Binary, black_box(BULK), &mut out);
    });
}

/// A key of zero is what Warren sends; any other has to be undone byte by byte.
#[divan::bench(args = ["zero", "other"])]
fn decode_64_kib(bencher: Bencher<'_, '_>, key: &str) {
    let wire = message(if key == "zero" { 0 } else { 0x8001_ff07 });
    let mut decoder = Decoder::new(Side::Server);
    bencher.counter(BytesCount::new(BULK)).with_inputs(|| wire.clone()).bench_local_values(|wire| {
        decoder.push(wire);
        let mut bytes = 0;
        while let Ok(Some(Item::Payload(payload))) = decoder.next_item() {
            bytes += payload.len();
        }
        assert_eq!(bytes, BULK);
    });
}
