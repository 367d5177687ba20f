//! A queue of bytes that keeps large pieces as they came and gathers small ones.

use std::collections::VecDeque;

use bytes::{Buf, Bytes, BytesMut};

/// Pieces below this are copied together: a slice of a few bytes would keep a whole read buffer alive, and a million
/// one-byte pieces would cost far more than the million bytes that they count as.
const SMALL: usize = 4 * 1024;
const GATHER_MAX: usize = 16 * 1024;
/// Places that an empty list may keep.
const LIST_KEPT: usize = 4;

#[derive(Debug, Default)]
pub(super) struct Chunks {
    whole: VecDeque<Bytes>,
    /// Small pieces, all behind those in `whole`.
    tail: BytesMut,
    len: usize,
}

impl Chunks {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(super) fn push(&mut self, piece: Bytes) {
        self.len += piece.len();
        if piece.len() < SMALL {
            if self.tail.len() + piece.len() > GATHER_MAX {
                self.seal_tail();
            }
            self.tail.extend_from_slice(&piece);
        } else {
            self.seal_tail();
            self.whole.push_back(piece);
        }
    }

    /// The next piece, at most `max` bytes of it.
    pub(super) fn pop(&mut self, max: usize) -> Option<Bytes> {
        if self.whole.is_empty() {
            self.seal_tail();
        }
        let front = self.whole.front_mut().filter(|_| max > 0)?;
        let piece = if front.len() <= max { self.whole.pop_front()? } else { front.split_to(max) };
        self.len -= piece.len();
        self.let_go();
        Some(piece)
    }

    /// Forgets the first `count` bytes.
    pub(super) fn drop_front(&mut self, mut count: usize) {
        debug_assert!(count <= self.len);
        self.len -= count;
        while let Some(front) = self.whole.front_mut().filter(|_| count > 0) {
            if front.len() > count {
                front.advance(count);
                return;
            }
            count -= front.len();
            self.whole.pop_front();
        }
        self.tail.advance(count);
        self.let_go();
    }

    /// Takes all but the first `count` bytes out.
    pub(super) fn split_off(&mut self, count: usize) -> Self {
        debug_assert!(count <= self.len);
        self.seal_tail();
        let mut kept = Self::default();
        while kept.len < count {
            let Some(piece) = self.pop(count - kept.len) else { break };
            kept.len += piece.len();
            kept.whole.push_back(piece);
        }
        std::mem::replace(self, kept)
    }

    /// Puts `more` behind what is there.
    pub(super) fn append(&mut self, mut more: Self) {
        self.seal_tail();
        self.len += more.len;
        self.whole.append(&mut more.whole);
        self.tail = more.tail;
    }

    /// An idle session holds no buffer, and no long list that once held some.
    fn let_go(&mut self) {
        if self.len == 0 {
            self.tail = BytesMut::new();
            if self.whole.capacity() > LIST_KEPT {
                self.whole = VecDeque::new();
            }
        }
    }

    fn seal_tail(&mut self) {
        if !self.tail.is_empty() {
            self.whole.push_back(std::mem::take(&mut self.tail).freeze());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_back_what_was_put_in() {
        let mut chunks = Chunks::default();
        let bytes: Vec<u8> = (0..60_000u32).map(|i| (i * 7 % 251) as u8).collect();
        let mut rest = Bytes::from(bytes.clone());
        for len in [1, 2, 5000, 3, 4, 20_000, 10, 4095, 4096, 4095, 4095, 4095, 4095] {
            chunks.push(rest.split_to(len));
        }
        let total = chunks.len();
        assert_eq!(total, 60_000 - rest.len());
        let mut out = Vec::new();
        while let Some(piece) = chunks.pop(999) {
            out.extend_from_slice(&piece);
        }
        assert_eq!(out, bytes[..total]);
        assert!(chunks.is_empty());
    }

    #[test]
    fn forgets_in_any_steps() {
        let mut chunks = Chunks::default();
        chunks.push(Bytes::from(vec![1; 5000]));
        chunks.push(Bytes::from(vec![2; 100]));
        chunks.drop_front(4999);
        chunks.drop_front(51);
        assert_eq!(chunks.pop(1000).unwrap(), vec![2; 50]);
        chunks.push(Bytes::from_static(b"x"));
        chunks.drop_front(1);
        assert!(chunks.is_empty() && chunks.pop(1).is_none());
    }

    #[test]
    fn splits_and_joins_at_any_byte() {
        let bytes: Vec<u8> = (0..12_000u32).map(|i| (i % 251) as u8).collect();
        for at in [0, 1, 3, 5003, 5004, 9000, 11_999, 12_000] {
            let mut chunks = Chunks::default();
            let mut rest = Bytes::from(bytes.clone());
            for len in [3, 5000, 1, 4996, 2000] {
                chunks.push(rest.split_to(len));
            }
            let back = chunks.split_off(at);
            assert_eq!((chunks.len(), back.len()), (at, 12_000 - at));
            chunks.append(back);
            let mut out = Vec::new();
            while let Some(piece) = chunks.pop(usize::MAX) {
                out.extend_from_slice(&piece);
            }
            assert_eq!(out, bytes);
        }
    }

    #[test]
    fn small_pieces_let_go_of_their_buffer() {
        let big = Bytes::from(vec![0; 64 * 1024]);
        let mut chunks = Chunks::default();
        chunks.push(big.slice(0..10));
        assert!(big.is_unique());
    }
}
