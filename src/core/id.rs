//! Names of things that outlive a process.
//!
//! An id is 50 random bits, shown as a prefix and ten characters of Crockford's base 32 (no i, l, o, u), such as
//! `agt-0k3v9m2xqd`. Ids are drawn once, kept in the gateway's store, and never used again.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;

const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
const DIGITS: usize = 10;
const BITS: u32 = 50;

/// Why a text is not an id.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("`{text}` is not {what} id, expected `{prefix}-` and ten characters")]
pub struct IdError {
    text: String,
    what: &'static str,
    prefix: &'static str,
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(u64);

        impl $name {
            /// What every id of this kind starts with, without the dash.
            pub const PREFIX: &'static str = $prefix;

            /// Takes the low 50 bits of `random`; zero becomes one, so that zero can mean "none" on the wire.
            pub const fn from_random(random: u64) -> Self {
                let bits = random & ((1 << BITS) - 1);
                Self(if bits == 0 { 1 } else { bits })
            }

            /// The id as a number, 1 ..= 2^50 - 1.
            pub const fn number(self) -> u64 {
                self.0
            }

            /// The inverse of [`Self::number`]; `None` outside its bounds.
            pub const fn from_number(number: u64) -> Option<Self> {
                if number == 0 || number >= 1 << BITS { None } else { Some(Self(number)) }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str($prefix)?;
                f.write_str("-")?;
                write_base32(self.0, f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                text.strip_prefix(concat!($prefix, "-"))
                    .and_then(read_base32)
                    .and_then(Self::from_number)
                    .ok_or_else(|| IdError { text: text.to_owned(), what: $what, prefix: $prefix })
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

id!(
    /// A tenant.
    CustomerId, "cus", "a customer"
);
id!(
    /// The agents of one site. A group that is deleted and made again under its old name has a new id.
    GroupId, "grp", "a group"
);
id!(
    /// One enrolled agent. Its number is also its name in the group's Raft log.
    AgentId, "agt", "an agent"
);
id!(
    /// One gateway's store, kept across restarts.
    GatewayId, "gwy", "a gateway"
);
id!(
    /// A registration token.
    TokenId, "tok", "a token"
);
id!(
    /// One who may call the admin API.
    UserId, "usr", "a user"
);

fn write_base32(number: u64, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    for digit in (0..DIGITS).rev() {
        let value = (number >> (digit * 5)) & 31;
        write!(f, "{}", ALPHABET[value as usize] as char)?;
    }
    Ok(())
}

fn read_base32(text: &str) -> Option<u64> {
    if text.len() != DIGITS {
        return None;
    }
    text.bytes().try_fold(0, |number, byte| {
        let value = ALPHABET.iter().position(|&letter| letter == byte)?;
        Some(number << 5 | value as u64)
    })
}

/// A name that people give to a resource, group, customer or agent: 1 to 63 of `a-z 0-9 - _ .`, starting with a
/// letter or digit.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Name(String);

/// Why a text is not a name.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("`{0}` is not a name, expected 1 to 63 of a-z 0-9 - _ . starting with a letter or digit")]
pub struct NameError(String);

impl Name {
    /// The longest name, in bytes.
    pub const LENGTH_MAX: usize = 63;

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Makes a name from what people type: lower case, other characters become dashes ("Acme MS SQL" is
    /// `acme-ms-sql`). Fails only when nothing usable is left.
    pub fn slug(text: &str) -> Result<Self, NameError> {
        let dashed: String = text
            .trim()
            .to_lowercase()
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.') { c } else { '-' })
            .collect();
        let trimmed = dashed.trim_matches(['-', '_', '.']);
        trimmed
            .chars()
            .take(Self::LENGTH_MAX)
            .collect::<String>()
            .parse()
            .map_err(|_| NameError(text.to_owned()))
    }
}

impl FromStr for Name {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let mut bytes = text.bytes();
        let first_fits = bytes.next().is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        let rest_fits =
            bytes.all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_' | b'.'));
        if first_fits && rest_fits && text.len() <= Self::LENGTH_MAX {
            Ok(Self(text.to_owned()))
        } else {
            Err(NameError(text.to_owned()))
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn an_id_reads_back_what_it_shows(random: u64) {
            let id = AgentId::from_random(random);
            prop_assert_eq!(id.to_string().parse::<AgentId>().unwrap(), id);
            prop_assert_eq!(AgentId::from_number(id.number()), Some(id));
        }

        #[test]
        fn random_text_never_panics(text in ".{0,80}") {
            let _ = text.parse::<GroupId>();
            let _ = text.parse::<Name>();
            if let Ok(name) = Name::slug(&text) {
                prop_assert_eq!(name.as_str().parse::<Name>().unwrap(), name);
            }
        }
    }

    #[test]
    fn an_id_of_another_kind_is_refused() {
        let agent = AgentId::from_random(7).to_string();
        let error = agent.parse::<GroupId>().unwrap_err().to_string();
        assert_eq!(error, "`agt-0000000007` is not a group id, expected `grp-` and ten characters");
    }

    #[test]
    fn what_people_type_becomes_a_name() {
        assert_eq!(Name::slug("Acme MS SQL").unwrap().as_str(), "acme-ms-sql");
        assert!(Name::slug("--").is_err());
        assert!("Upper".parse::<Name>().is_err());
    }
}
