use std::time::Duration;

use bytes::BytesMut;
use proptest::{collection::vec, prelude::*, sample::select};

use super::*;

/// Decodes `bytes` in pieces of at most `step`.
fn decode(bytes: &[u8], step: usize) -> Result<Vec<Frame>, DecodeError> {
    let mut decoder = Decoder::new();
    let mut frames = Vec::new();
    for piece in bytes.chunks(step.max(1)) {
        decoder.push(Bytes::copy_from_slice(piece));
        while let Some(frame) = decoder.next_frame()? {
            frames.push(frame);
        }
    }
    Ok(frames)
}

fn encoded(frame: &Frame) -> BytesMut {
    let mut out = BytesMut::new();
    encode(frame, &mut out);
    out
}

fn session() -> impl Strategy<Value = u64> {
    1..=u64::MAX
}

fn detail() -> impl Strategy<Value = String> {
    "\\PC{0,64}"
}

fn point() -> impl Strategy<Value = ResumePoint> {
    any::<(u64, u64, u32, bool)>().prop_map(|(received, consumed, window, finished)| ResumePoint {
        received,
        consumed,
        window,
        finished,
    })
}

fn frame() -> impl Strategy<Value = Frame> {
    let hello =
        (any::<[u16; 3]>(), any::<[u64; 4]>(), any::<[u32; 2]>()).prop_map(|(shorts, longs, ints)| {
            Frame::Hello(Hello {
                version_min: shorts[0],
                version_max: shorts[1],
                features: longs[0],
                boot: longs[1],
                epoch: longs[2],
                slot: shorts[2],
                window: ints[0],
                max_frame: ints[1],
                place: longs[3],
            })
        });
    let open = (
        session(),
        select(SessionKind::ALL),
        "\\PC{0,60}",
        any::<(u32, u64, [u8; 16])>(),
        "[a-z0-9:.]{0,64}",
    )
        .prop_map(|(session, kind, name, (deadline, min_revision, trace), caller)| Frame::Open {
            session,
            request: OpenRequest {
                kind,
                name,
                deadline: Duration::from_millis(deadline.into()),
                min_revision,
                trace,
                caller,
            },
        });
    prop_oneof![
        hello,
        open,
        (session(), select(OpenResult::ALL), any::<u32>(), detail())
            .prop_map(|(session, result, window, detail)| Frame::OpenAck { session, result, window, detail }),
        (session(), 0..u64::MAX / 2, vec(any::<u8>(), 1..2000))
            .prop_map(|(session, offset, bytes)| Frame::Data { session, offset, bytes: bytes.into() }),
        (session(), any::<(u64, u32)>()).prop_map(|(session, (consumed, window))| Frame::Credit {
            session,
            consumed,
            window
        }),
        (session(), any::<u64>()).prop_map(|(session, offset)| Frame::Fin { session, offset }),
        (session(), select(ResetReason::ALL), detail()).prop_map(|(session, reason, detail)| Frame::Reset {
            session,
            reason,
            detail
        }),
        any::<u64>().prop_map(|nonce| Frame::Ping { nonce }),
        any::<u64>().prop_map(|nonce| Frame::Pong { nonce }),
        (any::<u32>(), detail()).prop_map(|(deadline_ms, detail)| Frame::Drain { deadline_ms, detail }),
        (select(CloseReason::ALL), detail()).prop_map(|(reason, detail)| Frame::Close { reason, detail }),
        (session(), point()).prop_map(|(session, point)| Frame::Resume { session, point }),
        (session(), select(ResumeResult::ALL), point())
            .prop_map(|(session, result, point)| Frame::ResumeAck { session, result, point }),
        any::<u64>().prop_map(|epoch| Frame::Forsaken { epoch }),
        any::<u64>().prop_map(|epoch| Frame::Settled { epoch }),
    ]
}

/// Joins the parts that a data frame was handed out in.
fn joined(frames: Vec<Frame>) -> Vec<Frame> {
    let mut out: Vec<Frame> = Vec::new();
    for frame in frames {
        if let (
            Some(Frame::Data { session, offset, bytes }),
            Frame::Data { session: next, offset: at, bytes: more },
        ) = (out.last_mut(), &frame)
            && *session == *next
            && *offset + bytes.len() as u64 == *at
        {
            *bytes = [&bytes[..], more].concat().into();
        } else {
            out.push(frame);
        }
    }
    out
}

proptest! {
    #[test]
    fn round_trip_whole(frame in frame()) {
        let bytes = encoded(&frame);
        prop_assert_eq!(decode(&bytes, bytes.len()).unwrap(), vec![frame]);
    }

    #[test]
    fn round_trip_in_pieces(frames in vec(frame(), 1..6), step in 1usize..40) {
        let bytes: Vec<u8> = frames.iter().flat_map(|frame| encoded(frame).to_vec()).collect();
        prop_assert_eq!(joined(decode(&bytes, step).unwrap()), joined(frames));
    }

    #[test]
    fn random_bytes_never_panic(bytes in vec(any::<u8>(), 0..200), step in 1usize..60) {
        let _ = decode(&bytes, step);
    }

    #[test]
    fn damaged_frames_never_panic(frame in frame(), at in any::<prop::sample::Index>(), with in any::<u8>()) {
        let mut bytes = encoded(&frame);
        let at = at.index(bytes.len());
        bytes[at] = with;
        let _ = decode(&bytes, 7);
    }
}

#[test]
fn a_data_frame_is_a_slice_of_its_piece() {
    let frame = Frame::Data { session: 5, offset: 9, bytes: Bytes::from(vec![1; 1000]) };
    let piece = encoded(&frame).freeze();
    let range = piece.as_ptr_range();
    let mut decoder = Decoder::new();
    decoder.push(piece);
    let Some(Frame::Data { bytes, .. }) = decoder.next_frame().unwrap() else { panic!("no data frame") };
    assert!(range.contains(&bytes.as_ptr()));
}

#[test]
fn every_fault_is_named() {
    use DecodeError as E;
    let valid = |frame: Frame| encoded(&frame).to_vec();
    let with = |mut bytes: Vec<u8>, at: usize, value: u8| {
        bytes[at] = value;
        bytes
    };
    let fin = valid(Frame::Fin { session: 1, offset: 2 });
    let ping = valid(Frame::Ping { nonce: 1 });
    let reset = valid(Frame::Reset { session: 1, reason: ResetReason::Internal, detail: "abc".into() });
    let data = valid(Frame::Data { session: 1, offset: 0, bytes: Bytes::from_static(b"x") });
    let short = |kind: u8, payload: &[u8]| {
        let mut bytes = vec![kind, 0, 0, 0, 0, 0, 0, payload.len() as u8, 0, 0, 0, 0, 0, 0, 0, 1];
        bytes.extend_from_slice(payload);
        bytes
    };
    let mut long_caller = vec![0; 29];
    long_caller.extend([0, 65]);
    long_caller.extend([b'a'; 65]);
    let cases = [
        (with(fin.clone(), 0, 99), E::UnknownType(99)),
        (with(fin.clone(), 1, 1), E::Flags { frame: "fin", flags: 1 }),
        (with(fin.clone(), 3, 1), E::Reserved { frame: "fin", reserved: 1 }),
        (with(fin.clone(), 5, 1), E::Oversize { frame: "fin", length: 0x0001_0008, max: 1024 }),
        (with(data, 4, 1), E::Oversize { frame: "data", length: 0x0100_0009, max: DATA_MAX as u32 + 8 }),
        (with(fin, 15, 0), E::SessionMissing { frame: "fin" }),
        (with(ping, 15, 7), E::SessionUnexpected { frame: "ping", session: 7 }),
        (short(6, &[0; 7]), E::Short { frame: "fin", field: "offset" }),
        (short(6, &[0; 10]), E::Trailing { frame: "fin", extra: 2 }),
        (short(4, &[0; 8]), E::Short { frame: "data", field: "bytes" }),
        (with(reset.clone(), 16, 200), E::UnknownCode { frame: "reset", field: "reason", code: 200 }),
        (with(reset.clone(), 19, 0xff), E::Utf8 { frame: "reset", field: "detail" }),
        (with(reset.clone(), 18, 4), E::Short { frame: "reset", field: "detail" }),
        (with(reset, 17, 2), E::TooLong { frame: "reset", field: "detail", length: 515, max: 256 }),
        (short(2, &long_caller), E::TooLong { frame: "open", field: "caller", length: 65, max: 64 }),
    ];
    for (bytes, error) in cases {
        assert_eq!(decode(&bytes, 5), Err(error.clone()), "{error}");
    }
}

#[test]
fn an_error_stays() {
    let mut decoder = Decoder::new();
    decoder.push(Bytes::from_static(&[99; 20]));
    assert_eq!(decoder.next_frame(), Err(DecodeError::UnknownType(99)));
    assert_eq!(decoder.next_frame(), Err(DecodeError::UnknownType(99)));
}

#[test]
fn long_text_is_cut_at_a_character() {
    let detail = "ä".repeat(200);
    let bytes = encoded(&Frame::Close { reason: CloseReason::Shutdown, detail });
    let frames = decode(&bytes, 100).unwrap();
    assert_eq!(frames, [Frame::Close { reason: CloseReason::Shutdown, detail: "ä".repeat(128) }]);
}

#[test]
fn codes_are_stable_and_reversible() {
    for result in OpenResult::ALL {
        assert_eq!(OpenResult::from_code(result.code()), Some(*result));
    }
    assert_eq!((OpenResult::Internal.code(), OpenResult::Internal.as_str()), (9, "internal"));
    assert_eq!(
        (ResetReason::PeerRestarted.code(), ResetReason::PeerRestarted.as_str()),
        (9, "peer_restarted")
    );
    assert_eq!((CloseReason::Recycled.code(), CloseReason::Recycled.as_str()), (7, "recycled"));
    assert_eq!(CloseReason::from_code(8), None);
}
