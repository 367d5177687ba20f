//! How often one address may call.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv6Addr},
    time::{Duration, Instant},
};

/// Addresses that are remembered; when they are too many, those that have been quiet are forgotten.
const ADDRESSES_MAX: usize = 16_384;
/// The burst is what this time would give.
const BURST: Duration = Duration::from_secs(2);

/// A token bucket for each address; an IPv6 network of 64 bits counts as one, since one host has all of it.
#[derive(Debug)]
pub(crate) struct RateLimit {
    per_second: f64,
    buckets: BTreeMap<IpAddr, Bucket>,
}

#[derive(Debug)]
struct Bucket {
    left: f64,
    at: Instant,
}

impl RateLimit {
    pub(crate) fn new(per_second: u32) -> Self {
        Self { per_second: per_second.into(), buckets: BTreeMap::new() }
    }

    /// Whether a call from `address` would be admitted; counts nothing.
    pub(crate) fn has_room(&self, address: IpAddr, now: Instant) -> bool {
        let bucket = self.buckets.get(&network(address));
        bucket.is_none_or(|bucket| bucket.filled(self.per_second, now) >= 1.0)
    }

    /// Whether a call from `address` may go on; counts it if so.
    pub(crate) fn admit(&mut self, address: IpAddr, now: Instant) -> bool {
        let address = network(address);
        let (rate, full) = (self.per_second, self.per_second * BURST.as_secs_f64());
        if self.buckets.len() >= ADDRESSES_MAX && !self.buckets.contains_key(&address) {
            self.buckets.retain(|_, bucket| bucket.filled(rate, now) < full);
            if self.buckets.len() >= ADDRESSES_MAX {
                return false;
            }
        }
        let bucket = self.buckets.entry(address).or_insert(Bucket { left: full, at: now });
        bucket.left = bucket.filled(rate, now).min(full);
        bucket.at = now;
        let admitted = bucket.left >= 1.0;
        if admitted {
            bucket.left -= 1.0;
        }
        admitted
    }
}

impl Bucket {
    fn filled(&self, rate: f64, now: Instant) -> f64 {
        self.left + rate * now.saturating_duration_since(self.at).as_secs_f64()
    }
}

fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64)),
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_burst_is_let_in_and_then_the_rate() {
        let (mut limit, start) = (RateLimit::new(5), Instant::now());
        let burst = (0..20).filter(|_| limit.admit(address("192.0.2.1"), start)).count();
        assert_eq!(burst, 10);
        assert!(limit.admit(address("192.0.2.2"), start), "others are not touched");
        let later = start + Duration::from_secs(1);
        assert_eq!((0..20).filter(|_| limit.admit(address("192.0.2.1"), later)).count(), 5);
    }

    #[test]
    fn looking_costs_nothing() {
        let (mut limit, now) = (RateLimit::new(1), Instant::now());
        assert!((0..9).all(|_| limit.has_room(address("192.0.2.1"), now)));
        assert!(limit.admit(address("192.0.2.1"), now) && limit.admit(address("192.0.2.1"), now));
        assert!(!limit.has_room(address("192.0.2.1"), now));
        assert!(limit.has_room(address("192.0.2.2"), now));
        assert!(limit.has_room(address("192.0.2.1"), now + Duration::from_secs(1)));
    }

    #[test]
    fn one_ipv6_host_is_one_address() {
        let (mut limit, now) = (RateLimit::new(1), Instant::now());
        let tries = (0..9).filter(|n| limit.admit(address(&format!("2001:db8::{n}")), now)).count();
        assert_eq!(tries, 2);
        assert!(limit.admit(address("2001:db8:0:1::1"), now));
    }

    #[test]
    fn a_flood_of_addresses_is_bounded_and_passes() {
        let (mut limit, start) = (RateLimit::new(1), Instant::now());
        for number in 0..u32::try_from(ADDRESSES_MAX).unwrap() {
            assert!(limit.admit(IpAddr::from(number.to_be_bytes()), start));
        }
        assert!(!limit.admit(address("203.0.113.9"), start));
        assert!(limit.admit(address("203.0.113.9"), start + Duration::from_secs(5)));
        assert!(limit.buckets.len() < 10);
    }
}
