use proptest::prelude::*;

use super::*;

/// Decodes `bytes` in pieces of at most `step`; gives the payload stream and the other items.
fn decode(side: Side, bytes: &[u8], step: usize) -> Result<(Vec<u8>, Vec<Item>), WebSocketError> {
    let mut decoder = Decoder::new(side);
    let (mut payload, mut items) = (Vec::new(), Vec::new());
    for piece in bytes.chunks(step.max(1)) {
        decoder.push(BytesMut::from(piece));
        while let Some(item) = decoder.next_item()? {
            match item {
                Item::Payload(bytes) => payload.extend_from_slice(&bytes),
                other => items.push(other),
            }
        }
    }
    Ok((payload, items))
}

fn message(side: Side, opcode: Opcode, payload: &[u8]) -> Vec<u8> {
    let mut out = BytesMut::new();
    encode_header(side, opcode, payload.len(), &mut out);
    out.extend_from_slice(payload);
    out.to_vec()
}

#[test]
fn accept_key_of_the_rfc() {
    assert_eq!(accept_key(b"dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
}

#[test]
fn every_length_form_in_every_piece_size() {
    for len in [0, 1, 125, 126, 127, 65_535, 65_536, 200_000] {
        let bytes: Vec<u8> = (0..len).map(|i| (i % 251) as u8).collect();
        for (from, to) in [(Side::Client, Side::Server), (Side::Server, Side::Client)] {
            let wire = message(from, Opcode::Binary, &bytes);
            for step in [1, 3, 1000, wire.len()] {
                assert_eq!(decode(to, &wire, step).unwrap(), (bytes.clone(), vec![]));
            }
        }
    }
}

#[test]
fn control_frames_between_fragments() {
    let mut wire = vec![0x02, 3, 1, 2, 3];
    wire.extend(message(Side::Server, Opcode::Ping, b"hi"));
    wire.extend([0x00, 1, 4]);
    wire.extend(message(Side::Server, Opcode::Pong, b""));
    wire.extend([0x80, 2, 5, 6]);
    wire.extend(message(Side::Server, Opcode::Close, &1001u16.to_be_bytes()));
    let items = vec![Item::Ping(b"hi".as_slice().into()), Item::Pong, Item::Close(Some(1001))];
    for step in [1, 2, 100] {
        assert_eq!(decode(Side::Client, &wire, step).unwrap(), (vec![1, 2, 3, 4, 5, 6], items.clone()));
    }
}

#[test]
fn undoes_a_real_mask() {
    let (key, plain) = ([1u8, 0x80, 0xff, 7], b"masked by a stranger");
    let mut wire = vec![0x82, 0x80 | plain.len() as u8];
    wire.extend(key);
    wire.extend(plain.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key));
    for step in [1, 3, 100] {
        assert_eq!(decode(Side::Server, &wire, step).unwrap().0, plain);
    }
}

#[test]
fn refuses_what_a_tunnel_does_not_carry() {
    use WebSocketError as E;
    let too_long = [&[0x82, 127][..], &(MESSAGE_MAX + 1).to_be_bytes()].concat();
    let cases: &[(&[u8], E)] = &[
        (&[0x81, 0], E::Opcode(1)),
        (&[0x83, 0], E::Opcode(3)),
        (&[0xc2, 0], E::Reserved(0x40)),
        (&[0x82, 0x80], E::Masked),
        (&[0x82, 126, 0, 125], E::LengthForm(125)),
        (&[0x82, 127, 0, 0, 0, 0, 0, 0, 0xff, 0xff], E::LengthForm(0xffff)),
        (&[0x89, 126, 0, 126], E::ControlTooLong(126)),
        (&[0x09, 0], E::ControlFragmented),
        (&[0x80, 0], E::NothingToContinue),
        (&[0x02, 0, 0x82, 0], E::MessageInside),
        (&too_long, E::TooLong),
    ];
    for (wire, error) in cases {
        assert_eq!(decode(Side::Client, wire, 100), Err(*error), "{wire:?}");
    }
    assert_eq!(decode(Side::Server, &[0x82, 0], 100), Err(E::NotMasked));
}

#[test]
fn fragments_count_together() {
    let mut wire = vec![0x02, 127];
    wire.extend(MESSAGE_MAX.to_be_bytes());
    wire.extend(vec![0; MESSAGE_MAX as usize]);
    assert!(decode(Side::Client, &wire, 1 << 16).is_ok());
    wire.extend([0x80, 1, 0]);
    assert_eq!(decode(Side::Client, &wire, 1 << 16), Err(WebSocketError::TooLong));
}

proptest! {
    #[test]
    fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300), step in 1usize..50) {
        let _ = decode(Side::Server, &bytes, step);
        let _ = decode(Side::Client, &bytes, step);
    }
}
