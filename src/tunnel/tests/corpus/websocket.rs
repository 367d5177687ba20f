//! What must hold for any bytes that a peer sends as WebSocket frames.

use bytes::{BufMut, BytesMut};
use warren_tunnel::websocket::{Decoder, Item, Opcode, Side, WebSocketError, encode_header};

use crate::pieces::cut;

/// Longest message that the check itself sends.
const MESSAGE: usize = 1000;

/// Where the stream is cut changes nothing, an error stays, and what was decoded can be said again, masked or not.
///
/// ```text
/// [1: decode at the client] [where to cut, and the stream]
/// ```
pub(crate) fn check(input: &[u8]) {
    let Some((side, rest)) = input.split_first() else { return };
    let side = if side & 1 == 1 { Side::Client } else { Side::Server };
    let (stream, pieces) = cut(rest);
    let (items, fault) = decode(side, [stream]);
    assert_eq!((items.clone(), fault), decode(side, pieces));

    for (from, to) in [(Side::Client, Side::Server), (Side::Server, Side::Client)] {
        let keys: &[u32] = if from == Side::Client { &[0, 0x8001_ff07] } else { &[0] };
        for key in keys {
            let wire = encoded(from, *key, &items);
            assert_eq!(decode(to, wire.chunks(7)), (items.clone(), None), "{from:?}, key {key:#x}");
        }
    }
}

/// The items, with payload that follows on joined.
fn decode<'a>(side: Side, pieces: impl IntoIterator<Item = &'a [u8]>) -> (Vec<Item>, Option<WebSocketError>) {
    let mut decoder = Decoder::new(side);
    let mut items: Vec<Item> = Vec::new();
    for piece in pieces {
        decoder.push(BytesMut::from(piece));
        loop {
            match (decoder.next_item(), items.last_mut()) {
                (Ok(Some(Item::Payload(more))), Some(Item::Payload(bytes))) => {
                    *bytes = [&bytes[..], &more].concat().into();
                }
                (Ok(Some(item)), _) => items.push(item),
                (Ok(None), _) => break,
                (Err(error), _) => {
                    assert_eq!(decoder.next_item(), Err(error), "an error stays");
                    return (items, Some(error));
                }
            }
        }
    }
    (items, None)
}

fn encoded(side: Side, key: u32, items: &[Item]) -> BytesMut {
    let mut out = BytesMut::new();
    for item in items {
        match item {
            Item::Payload(bytes) => {
                for message in bytes.chunks(MESSAGE) {
                    put(side, key, Opcode::Binary, message, &mut out);
                }
            }
            Item::Ping(bytes) => put(side, key, Opcode::Ping, bytes, &mut out),
            Item::Pong => put(side, key, Opcode::Pong, &[], &mut out),
            Item::Close(code) => {
                let code = code.map_or(vec![], |code| code.to_be_bytes().to_vec());
                put(side, key, Opcode::Close, &code, &mut out);
            }
        }
    }
    out
}

fn put(side: Side, key: u32, opcode: Opcode, payload: &[u8], out: &mut BytesMut) {
    encode_header(side, opcode, payload.len(), out);
    if side == Side::Client {
        let header = out.len() - 4;
        out.truncate(header);
        out.put_u32(key);
    }
    out.extend(payload.iter().zip(key.to_be_bytes().iter().cycle()).map(|(byte, key)| byte ^ key));
}
