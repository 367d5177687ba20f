//! Since when something is as it is.

/// The latest value of something that is looked at again and again, and when it was first so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Since<T> {
    known: Option<(T, u64)>,
}

impl<T> Default for Since<T> {
    fn default() -> Self {
        Self { known: None }
    }
}

impl<T: PartialEq + Clone> Since<T> {
    /// Takes note that it is `value` at `now_ms`; gives the time since which it is.
    pub fn note(&mut self, value: &T, now_ms: u64) -> u64 {
        match &self.known {
            // A clock that was set back must not show a time that is still to come.
            Some((known, since)) if known == value => (*since).min(now_ms),
            _ => {
                self.known = Some((value.clone(), now_ms));
                now_ms
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_changes_with_the_value_only() {
        let mut since = Since::default();
        let told = [("a", 5), ("a", 6), ("b", 7), ("b", 9), ("a", 10)].map(|(v, now)| since.note(&v, now));
        assert_eq!(told, [5, 5, 7, 7, 10]);
        assert_eq!(since.note(&"a", 3), 3, "a clock set back");
    }
}
