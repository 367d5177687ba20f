use std::{ops::Range, sync::OnceLock};

const BLOCK: usize = 4096;
const NOISE: usize = 64 << 10;
/// How far around a wrong byte its right place is looked for.
const SEARCH: u64 = 4 << 20;

/// The bytes of one direction of one session, each of them known by its offset.
///
/// Blocks of 4 KiB: a mark of 8 bytes that no other block has, then a piece of noise that begins where the mark says.
#[derive(Debug, Clone, Copy)]
pub struct Bytes {
    seed: u64,
}

impl Bytes {
    pub fn new(seed: u64) -> Self {
        Self { seed }
    }

    /// Writes what belongs at `offset` and after.
    pub fn fill(self, offset: u64, into: &mut [u8]) {
        pieces(offset, into.len(), |number, within, range| {
            into[range].copy_from_slice(&self.block(number)[within]);
        });
    }

    /// What is wrong with `got`, which came at `offset`.
    pub fn check(self, offset: u64, got: &[u8]) -> Result<(), String> {
        let mut wrong = None;
        pieces(offset, got.len(), |number, within, range| {
            if wrong.is_none() && self.block(number)[within] != got[range.clone()] {
                wrong = Some(range);
            }
        });
        wrong.map_or(Ok(()), |range| Err(self.describe(offset, range, got)))
    }

    fn block(self, number: u64) -> [u8; BLOCK] {
        let mark = mix(mix(self.seed).wrapping_add(number));
        let start = (mark % (NOISE - BLOCK) as u64) as usize;
        let mut block = [0; BLOCK];
        block.copy_from_slice(&noise()[start..start + BLOCK]);
        block[..8].copy_from_slice(&mark.to_be_bytes());
        block
    }

    fn byte(self, offset: u64) -> u8 {
        let mut byte = [0];
        self.fill(offset, &mut byte);
        byte[0]
    }

    /// The first wrong byte, and whose it is when it belongs close by.
    fn describe(self, offset: u64, range: Range<usize>, got: &[u8]) -> String {
        let differs = |index: &usize| got[*index] != self.byte(offset + *index as u64);
        let first = range.clone().find(differs).unwrap_or(range.start);
        let at = offset + first as u64;
        let found = &got[first..got.len().min(first + 32)];
        let mut near = vec![0; (2 * SEARCH) as usize];
        let start = at.saturating_sub(SEARCH);
        self.fill(start, &mut near);
        let place = near.windows(found.len()).position(|window| found.len() >= 16 && window == found);
        match place {
            Some(place) => format!("at byte {at} stands what belongs at {}", start + place as u64),
            None => format!("at byte {at} stands what belongs nowhere near: {found:02x?}"),
        }
    }
}

/// Numbers that look random and follow from a seed.
#[derive(Debug)]
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(1);
        mix(self.0)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.bits() % bound.max(1)
    }
}

/// Scrambles 64 bits into 64 others (the finisher of splitmix64).
pub(super) fn mix(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

fn noise() -> &'static [u8] {
    static TABLE: OnceLock<Vec<u8>> = OnceLock::new();
    TABLE.get_or_init(|| (0..NOISE as u64 / 8).flat_map(|word| mix(word).to_be_bytes()).collect())
}

/// Walks the blocks that `length` bytes at `offset` lie in: the block's number, the part of it, the part of the bytes.
fn pieces(offset: u64, length: usize, mut piece: impl FnMut(u64, Range<usize>, Range<usize>)) {
    let mut done = 0;
    while done < length {
        let at = offset + done as u64;
        let within = (at % BLOCK as u64) as usize;
        let count = (BLOCK - within).min(length - done);
        piece(at / BLOCK as u64, within..within + count, done..done + count);
        done += count;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_cut_gives_the_same_bytes_and_every_fault_shows() {
        let bytes = Bytes::new(7);
        let mut whole = vec![0; 20_000];
        bytes.fill(0, &mut whole);
        for (start, end) in [(0, 1), (4_090, 4_100), (1, 20_000), (8_191, 12_289)] {
            let mut part = vec![0; end - start];
            bytes.fill(start as u64, &mut part);
            assert_eq!(part, whole[start..end]);
            bytes.check(start as u64, &whole[start..end]).unwrap();
        }
        assert_eq!(
            bytes.check(5_000, &whole[5_001..9_000]).unwrap_err(),
            "at byte 5000 stands what belongs at 5001"
        );
        let repeated = [&whole[..6_000], &whole[4_000..8_000]].concat();
        assert_eq!(bytes.check(0, &repeated).unwrap_err(), "at byte 6000 stands what belongs at 4000");
        let other = Bytes::new(8).check(0, &whole).unwrap_err();
        assert!(other.contains("nowhere"), "{other}");
    }
}
