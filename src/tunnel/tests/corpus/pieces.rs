//! How an input is read: where its stream is cut, then the stream.

/// Splits an input into its stream and the lengths of the pieces that it arrives in.
///
/// ```text
/// [count of lengths, modulo 8] [lengths, one byte each] [stream …]
/// ```
/// The lengths are used in turn, 255 standing for all that is left. No lengths: the stream comes whole. A length of 0 is
/// an empty piece; when all are 0, the stream comes whole too.
pub(crate) fn cut(input: &[u8]) -> (&[u8], Vec<&[u8]>) {
    let Some((count, rest)) = input.split_first() else { return (&[], vec![]) };
    let (lengths, stream) = rest.split_at(usize::from(count % 8).min(rest.len()));
    if lengths.iter().all(|length| *length == 0) {
        return (stream, vec![stream]);
    }
    let (mut pieces, mut rest) = (Vec::new(), stream);
    for length in lengths.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let length = if *length == u8::MAX { rest.len() } else { usize::from(*length).min(rest.len()) };
        let (piece, after) = rest.split_at(length);
        pieces.push(piece);
        rest = after;
    }
    (stream, pieces)
}
