//! What must hold for any bytes that a peer sends as frames.

use bytes::{Bytes, BytesMut};
use warren_tunnel::frame::{DecodeError, Decoder, Frame, encode};

use crate::pieces::cut;

/// Where the stream is cut changes nothing, an error stays, and what was decoded is what its encoding says: byte for byte,
/// so that no two wires mean the same.
pub(crate) fn check(input: &[u8]) {
    let (stream, pieces) = cut(input);
    let (whole, fault) = decode([stream]);
    let (parts, fault_in_parts) = decode(pieces);
    assert_eq!(fault, fault_in_parts);
    assert_eq!(joined(whole.clone()), joined(parts.clone()));

    for frames in [whole.clone(), parts] {
        let (again, fault) = decode([&encoded(&frames)[..]]);
        assert_eq!((again, fault), (frames, None));
    }
    // The last data frame may have come in part, and then its header tells of more than was encoded here.
    let settled = match whole.split_last() {
        Some((Frame::Data { .. }, before)) => before,
        _ => &whole[..],
    };
    assert!(stream.starts_with(&encoded(settled)));
}

fn decode<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> (Vec<Frame>, Option<DecodeError>) {
    let mut decoder = Decoder::new();
    let mut frames = Vec::new();
    for piece in pieces {
        decoder.push(Bytes::copy_from_slice(piece));
        loop {
            match decoder.next_frame() {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(error) => {
                    assert_eq!(decoder.next_frame().as_ref(), Err(&error), "an error stays");
                    return (frames, Some(error));
                }
            }
        }
    }
    (frames, None)
}

fn encoded(frames: &[Frame]) -> BytesMut {
    let mut out = BytesMut::new();
    for frame in frames {
        encode(frame, &mut out);
    }
    out
}

/// Joins data that follows on, for a data frame is handed out in the parts that it came in.
fn joined(frames: Vec<Frame>) -> Vec<Frame> {
    let mut out: Vec<Frame> = Vec::new();
    for frame in frames {
        if let (
            Some(Frame::Data { session, offset, bytes }),
            Frame::Data { session: next, offset: at, bytes: more },
        ) = (out.last_mut(), &frame)
            && *session == *next
            && offset.wrapping_add(bytes.len() as u64) == *at
        {
            *bytes = [&bytes[..], more].concat().into();
        } else {
            out.push(frame);
        }
    }
    out
}
