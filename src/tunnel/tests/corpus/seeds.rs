//! Inputs to start fuzzing from: one of each kind, boundaries, cuts, and one of each fault.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use warren_tunnel::{
    frame::{
        CALLER_MAX, CloseReason, DATA_MAX, DETAIL_MAX, Frame, FrameType, Hello, NAME_MAX, OpenRequest,
        OpenResult, ResetReason, ResumePoint, ResumeResult, SessionKind, encode,
    },
    websocket::{CONTROL_MAX, MESSAGE_MAX, Opcode, Side, encode_header},
};

type Seed = (String, Vec<u8>);

/// Every frame whole and in bytes, all in a row, and every way to be malformed.
pub(crate) fn frames() -> Vec<Seed> {
    let one_of_each = one_of_each();
    assert_eq!(
        one_of_each.iter().map(Frame::frame_type).collect::<Vec<_>>(),
        FrameType::ALL,
        "one of each kind, in order"
    );
    let mut seeds = Vec::new();
    for frame in &one_of_each {
        seeds.push((format!("one-{}", frame.name()), whole(&wire([frame]))));
    }
    let all = wire(&one_of_each);
    for (name, lengths) in
        [("whole", &[][..]), ("bytes", &[1]), ("sevens", &[7]), ("mixed", &[16, 0, 3, 8, 255])]
    {
        seeds.push((format!("all-{name}"), in_pieces(lengths, &all)));
    }
    for (name, frame) in boundaries() {
        seeds.push((format!("limit-{name}"), whole(&wire([&frame]))));
    }
    for (name, bytes) in malformed_frames() {
        seeds.push((format!("bad-{name}"), in_pieces(&[5], &bytes)));
    }
    seeds
}

/// Messages, fragments, masks and control frames at both sides, and every way to be malformed.
pub(crate) fn websocket() -> Vec<Seed> {
    let mut seeds = Vec::new();
    for (name, side) in [("client", Side::Client), ("server", Side::Server)] {
        for len in [0, 1, 125, 126, 300] {
            let bytes = message(peer(side), Opcode::Binary, &vec![0xa5; len]);
            seeds.push((format!("{name}-binary-{len}"), at(side, &[3, 200], &bytes)));
        }
        for opcode in [Opcode::Ping, Opcode::Pong, Opcode::Close] {
            let bytes = message(peer(side), opcode, &1001u16.to_be_bytes());
            seeds.push((format!("{name}-{opcode:?}").to_lowercase(), at(side, &[], &bytes)));
        }
        let longest = message(peer(side), Opcode::Ping, &[b'p'; CONTROL_MAX]);
        seeds.push((format!("{name}-ping-longest"), at(side, &[60], &longest)));
    }
    seeds.push(("server-masked".to_owned(), at(Side::Server, &[3, 2], b"\x82\x85\x01\x80\xff\x07iaskm")));
    for lengths in [&[][..], &[1], &[2, 5]] {
        seeds.push((format!("client-fragments-{}", lengths.len()), at(Side::Client, lengths, &fragments())));
    }
    for (name, bytes) in malformed_messages() {
        seeds.push((format!("bad-{name}"), at(Side::Client, &[], &bytes)));
    }
    seeds.push(("bad-not-masked".to_owned(), at(Side::Server, &[], &[0x82, 0])));
    seeds
}

fn one_of_each() -> Vec<Frame> {
    let detail = || "wörter".to_owned();
    let request = OpenRequest {
        kind: SessionKind::Resource,
        name: "orders-db".to_owned(),
        deadline: Duration::from_secs(5),
        min_revision: 7,
        trace: *b"sixteen bytes ok",
        caller: "10.0.0.1:5432".to_owned(),
    };
    let point = ResumePoint { received: 10, consumed: 9, window: 4096, finished: true };
    vec![
        Frame::Hello(Hello::new(0x0102_0304_0506_0708, 2, 1)),
        Frame::Open { session: 1, request },
        Frame::OpenAck { session: 1, result: OpenResult::Busy, window: 0, detail: detail() },
        Frame::Data { session: 1, offset: 0, bytes: Bytes::from_static(b"some bytes") },
        Frame::Credit { session: 1, consumed: 10, window: 4096 },
        Frame::Fin { session: 1, offset: 10 },
        Frame::Reset { session: 1, reason: ResetReason::TargetReset, detail: detail() },
        Frame::Ping { nonce: 1 },
        Frame::Pong { nonce: 1 },
        Frame::Drain { deadline_ms: 30_000, detail: detail() },
        Frame::Close { reason: CloseReason::Shutdown, detail: detail() },
        Frame::Resume { session: 1, point },
        Frame::ResumeAck { session: 1, result: ResumeResult::Ok, point },
        Frame::Forsaken { epoch: 3 },
        Frame::Settled { epoch: 3 },
    ]
}

fn boundaries() -> Vec<(&'static str, Frame)> {
    let request = |name: usize, caller: usize| OpenRequest {
        caller: "c".repeat(caller),
        deadline: Duration::from_millis(u32::MAX.into()),
        ..OpenRequest::resource("n".repeat(name))
    };
    let reset = |detail: String| Frame::Reset { session: u64::MAX, reason: ResetReason::Unknown, detail };
    let data = |offset, len| Frame::Data { session: u64::MAX, offset, bytes: vec![0x5a; len].into() };
    vec![
        ("open-longest", Frame::Open { session: u64::MAX, request: request(NAME_MAX, CALLER_MAX) }),
        ("open-shortest", Frame::Open { session: 1, request: request(0, 0) }),
        ("detail-longest", reset("d".repeat(DETAIL_MAX))),
        ("detail-cut-at-a-character", reset("ä".repeat(DETAIL_MAX))),
        ("detail-empty", reset(String::new())),
        ("data-one-byte", data(0, 1)),
        ("data-past-the-last-offset", data(u64::MAX - 1, 4)),
        ("credit-most", Frame::Credit { session: 1, consumed: u64::MAX, window: u32::MAX }),
        ("fin-last", Frame::Fin { session: 1, offset: u64::MAX }),
    ]
}

fn malformed_frames() -> Vec<(&'static str, Vec<u8>)> {
    let with = |frame: &Frame, at: usize, value: u8| {
        let mut bytes = wire([frame]);
        bytes[at] = value;
        bytes
    };
    let payload = |kind: FrameType, payload: &[u8]| {
        let mut bytes = vec![kind.code(), 0, 0, 0, 0, 0, 0, payload.len() as u8, 0, 0, 0, 0, 0, 0, 0, 1];
        bytes.extend_from_slice(payload);
        bytes
    };
    let fin = Frame::Fin { session: 1, offset: 2 };
    let reset = Frame::Reset { session: 1, reason: ResetReason::Internal, detail: "abc".to_owned() };
    let data = Frame::Data { session: 1, offset: 0, bytes: Bytes::from_static(b"x") };
    let mut over = wire([&data]);
    over[4..8].copy_from_slice(&(DATA_MAX as u32 + 9).to_be_bytes());
    let mut half = wire([&data]);
    half[4..8].copy_from_slice(&(DATA_MAX as u32 + 8).to_be_bytes());
    let mut after = wire([&fin, &data]);
    after.extend([99; 16]);
    vec![
        ("type", with(&fin, 0, 99)),
        ("flags", with(&fin, 1, 1)),
        ("reserved", with(&fin, 3, 1)),
        ("oversize", with(&fin, 5, 1)),
        ("data-oversize", over),
        ("data-unfinished", half),
        ("session-missing", with(&fin, 15, 0)),
        ("session-unexpected", with(&Frame::Ping { nonce: 1 }, 15, 7)),
        ("short", payload(FrameType::Fin, &[0; 7])),
        ("trailing", payload(FrameType::Fin, &[0; 10])),
        ("data-empty", payload(FrameType::Data, &[0; 8])),
        ("code", with(&reset, 16, 200)),
        ("utf8", with(&reset, 19, 0xff)),
        ("text-short", with(&reset, 18, 4)),
        ("text-long", with(&reset, 17, 2)),
        ("caller-long", payload(FrameType::Open, &[&[0; 29][..], &[0, 65], &[b'a'; 65]].concat())),
        ("cut-in-header", wire([&fin])[..9].to_vec()),
        ("after-good-ones", after),
    ]
}

fn malformed_messages() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("text", vec![0x81, 0]),
        ("opcode", vec![0x83, 0]),
        ("reserved", vec![0xc2, 0]),
        ("masked", vec![0x82, 0x80]),
        ("length-form-16", vec![0x82, 126, 0, 125]),
        ("length-form-64", vec![0x82, 127, 0, 0, 0, 0, 0, 0, 0xff, 0xff]),
        ("length-most", [&[0x82, 127][..], &[0xff; 8]].concat()),
        ("message-too-long", [&[0x82, 127][..], &(MESSAGE_MAX + 1).to_be_bytes()].concat()),
        ("fragments-too-long", [&[0x02, 1, 0, 0x80, 127][..], &MESSAGE_MAX.to_be_bytes()].concat()),
        ("control-too-long", vec![0x89, 126, 0, 126]),
        ("control-fragment", vec![0x09, 0]),
        ("nothing-to-continue", vec![0x80, 0]),
        ("message-inside", vec![0x02, 0, 0x82, 0]),
        ("close-of-one-byte", vec![0x88, 1, 3]),
        ("cut-in-header", vec![0x82, 126, 1]),
    ]
}

/// A message in three fragments, with control frames between them.
fn fragments() -> Vec<u8> {
    [
        vec![0x02, 3, 1, 2, 3],
        message(Side::Server, Opcode::Ping, b"hi"),
        vec![0x00, 1, 4],
        message(Side::Server, Opcode::Pong, b""),
        vec![0x80, 2, 5, 6],
        message(Side::Server, Opcode::Close, &1001u16.to_be_bytes()),
    ]
    .concat()
}

fn wire<'a>(frames: impl IntoIterator<Item = &'a Frame>) -> Vec<u8> {
    let mut out = BytesMut::new();
    frames.into_iter().for_each(|frame| encode(frame, &mut out));
    out.to_vec()
}

fn message(from: Side, opcode: Opcode, payload: &[u8]) -> Vec<u8> {
    let mut out = BytesMut::new();
    encode_header(from, opcode, payload.len(), &mut out);
    out.extend_from_slice(payload);
    out.to_vec()
}

fn peer(side: Side) -> Side {
    match side {
        Side::Client => Side::Server,
        Side::Server => Side::Client,
    }
}

fn whole(stream: &[u8]) -> Vec<u8> {
    in_pieces(&[], stream)
}

fn in_pieces(lengths: &[u8], stream: &[u8]) -> Vec<u8> {
    [&[lengths.len() as u8][..], lengths, stream].concat()
}

fn at(side: Side, lengths: &[u8], stream: &[u8]) -> Vec<u8> {
    [vec![u8::from(side == Side::Client)], in_pieces(lengths, stream)].concat()
}
