//! Random numbers from one drawn by the caller.

/// splitmix64's output function: one bit changed changes half of the others.
pub(crate) fn mix(number: u64) -> u64 {
    let mut mixed = number;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

pub(super) struct Random(pub(super) u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// 0 up to, not including, 1.
    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    pub(super) fn shuffle<T>(&mut self, things: &mut [T]) {
        for end in (1..things.len()).rev() {
            things.swap(end, (self.next() % (end as u64 + 1)) as usize);
        }
    }

    /// An index, each by its share.
    pub(super) fn draw<T>(&mut self, things: &[T], share: impl Fn(&T) -> f64) -> usize {
        let mut point = self.unit() * things.iter().map(&share).sum::<f64>();
        for (index, thing) in things.iter().enumerate() {
            point -= share(thing);
            if point < 0.0 {
                return index;
            }
        }
        things.len().saturating_sub(1)
    }
}
