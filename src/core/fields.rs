//! Reading a configuration file so that all of its mistakes are told at once.
//!
//! A [`Fields`] walks one section. Every `take` notes what is wrong instead of stopping, and [`Fields::finish`] notes
//! the keys that nobody asked for. When all is read, [`Problems::into_result`] says everything together.

use std::{cell::RefCell, fmt, str::FromStr, time::Duration};

use serde_json::{Map, Value};
use thiserror::Error;

/// One thing that is wrong, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Dotted path such as `tunnel.count` or `gateways[1]`.
    pub path: String,
    pub message: String,
}

/// All that is wrong with one file.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub struct ConfigError {
    /// The file, or what else the text came from.
    pub origin: String,
    pub problems: Vec<Problem>,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.problems.len();
        write!(f, "{}: {count} mistake{}", self.origin, if count == 1 { "" } else { "s" })?;
        for Problem { path, message } in &self.problems {
            match path.as_str() {
                "" => write!(f, "\n  {message}")?,
                _ => write!(f, "\n  {path}: {message}")?,
            }
        }
        Ok(())
    }
}

/// Where mistakes are gathered.
#[derive(Debug, Default)]
pub struct Problems(RefCell<Vec<Problem>>);

impl Problems {
    pub fn note(&self, path: impl Into<String>, message: impl fmt::Display) {
        self.0.borrow_mut().push(Problem { path: path.into(), message: message.to_string() });
    }

    /// `value` if nothing was noted, otherwise everything that was, in the order of reading.
    pub fn into_result<T>(self, origin: &str, value: T) -> Result<T, ConfigError> {
        let problems = self.0.into_inner();
        if problems.is_empty() { Ok(value) } else { Err(ConfigError { origin: origin.to_owned(), problems }) }
    }
}

/// Reads YAML (of which JSON is a part) into a tree; an empty text is an empty section.
pub fn parse_yaml(origin: &str, text: &str) -> Result<Value, ConfigError> {
    if text.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#')) {
        return Ok(Value::Object(Map::new()));
    }
    serde_saphyr::from_str(text).map_err(|error| ConfigError {
        origin: origin.to_owned(),
        // Without the lines around it, which may hold a token or a password.
        problems: vec![Problem { path: String::new(), message: error.without_snippet().to_string() }],
    })
}

/// One section that is being read.
#[derive(Debug)]
pub struct Fields<'p> {
    path: String,
    map: Map<String, Value>,
    known: Vec<&'static str>,
    problems: &'p Problems,
}

impl<'p> Fields<'p> {
    /// The top of a file.
    pub fn root(value: Value, problems: &'p Problems) -> Self {
        Self::at(String::new(), value, problems)
    }

    /// A section found elsewhere, such as an element of a list.
    pub fn at(path: String, value: Value, problems: &'p Problems) -> Self {
        let map = match value {
            Value::Object(map) => map,
            Value::Null => Map::new(),
            other => {
                problems
                    .note(path.clone(), format!("expected a section with keys, found {}", kind_of(&other)));
                Map::new()
            }
        };
        Self { path, map, known: Vec::new(), problems }
    }

    pub fn problems(&self) -> &'p Problems {
        self.problems
    }

    /// Full path of a key of this section.
    pub fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    /// Notes a mistake about `key`.
    pub fn note(&self, key: &str, message: impl fmt::Display) {
        self.problems.note(self.path_of(key), message);
    }

    pub fn section(&mut self, key: &'static str) -> Self {
        let value = self.take(key).unwrap_or(Value::Null);
        Self::at(self.path_of(key), value, self.problems)
    }

    pub fn text(&mut self, key: &'static str) -> Option<String> {
        let value = self.take(key)?;
        self.as_text(&self.path_of(key), value)
    }

    pub fn flag(&mut self, key: &'static str) -> Option<bool> {
        match self.take(key)? {
            Value::Bool(flag) => Some(flag),
            other => self.mismatch(key, "true or false", &other),
        }
    }

    /// A whole number within `bounds`.
    pub fn number(&mut self, key: &'static str, bounds: std::ops::RangeInclusive<u64>) -> Option<u64> {
        let value = self.take(key)?;
        match value.as_u64() {
            Some(number) if bounds.contains(&number) => Some(number),
            _ => self.mismatch(
                key,
                &format!("a whole number from {} to {}", bounds.start(), bounds.end()),
                &value,
            ),
        }
    }

    /// Anything that is read from a text.
    pub fn parse<T>(&mut self, key: &'static str) -> Option<T>
    where
        T: FromStr,
        T::Err: fmt::Display,
    {
        let text = self.text(key)?;
        self.parse_text(&self.path_of(key), &text)
    }

    /// What was given elsewhere if anything was, otherwise as [`Self::parse`]; both are checked.
    pub fn pick<T>(&mut self, key: &'static str, given: Option<&str>) -> Option<T>
    where
        T: FromStr,
        T::Err: fmt::Display,
    {
        let own = self.parse(key);
        given.and_then(|text| self.parse_text(&self.path_of(key), text)).or(own)
    }

    /// A time such as `500ms`, `30s`, `5m`, `1h`, `7d`.
    pub fn duration(&mut self, key: &'static str) -> Option<Duration> {
        let text = self.text(key)?;
        let parsed = parse_duration(&text);
        if parsed.is_none() {
            self.note(key, format!("`{text}` is not a time, expected such as 500ms, 30s, 5m, 1h or 7d"));
        }
        parsed
    }

    /// A list of things that are read from texts; one text alone is a list of one.
    pub fn list<T>(&mut self, key: &'static str) -> Option<Vec<T>>
    where
        T: FromStr,
        T::Err: fmt::Display,
    {
        let items = match self.take(key)? {
            Value::Array(items) => items,
            single @ Value::String(_) => vec![single],
            other => return self.mismatch(key, "a list", &other),
        };
        let mut parsed = Vec::with_capacity(items.len());
        for (index, item) in items.into_iter().enumerate() {
            let path = format!("{}[{index}]", self.path_of(key));
            let text = self.as_text(&path, item);
            parsed.extend(text.and_then(|text| self.parse_text(&path, &text)));
        }
        Some(parsed)
    }

    /// The keys and values of a section whose keys are names that people chose.
    pub fn entries(self) -> Vec<(String, Value)> {
        self.map.into_iter().collect()
    }

    /// Whether `key` is there with a value.
    pub fn has(&self, key: &str) -> bool {
        self.map.get(key).is_some_and(|value| !value.is_null())
    }

    /// Takes the raw value of `key`; a `null` counts as absent.
    pub fn take(&mut self, key: &'static str) -> Option<Value> {
        self.known.push(key);
        self.map.remove(key).filter(|value| !value.is_null())
    }

    /// Notes every key that was not taken, with the nearest known one.
    pub fn finish(self) {
        for key in self.map.keys() {
            let hint = self
                .known
                .iter()
                .map(|known| (distance(key, known), known))
                .min()
                .filter(|(distance, _)| *distance <= 3)
                .map(|(_, known)| format!(", did you mean `{known}`?"))
                .unwrap_or_default();
            self.problems.note(self.path_of(key), format!("unknown key{hint}"));
        }
    }

    fn as_text(&self, path: &str, value: Value) -> Option<String> {
        match value {
            Value::String(text) => Some(text),
            Value::Number(number) => Some(number.to_string()),
            other => {
                self.problems.note(path, format!("expected a text, found {}", kind_of(&other)));
                None
            }
        }
    }

    fn parse_text<T>(&self, path: &str, text: &str) -> Option<T>
    where
        T: FromStr,
        T::Err: fmt::Display,
    {
        text.parse().map_err(|error: T::Err| self.problems.note(path, error)).ok()
    }

    fn mismatch<T>(&self, key: &str, expected: &str, found: &Value) -> Option<T> {
        let found = match found {
            Value::String(text) => format!("`{text}`"),
            Value::Number(number) => number.to_string(),
            other => kind_of(other).to_owned(),
        };
        self.note(key, format!("expected {expected}, found {found}"));
        None
    }
}

/// Reads `500ms`, `30s`, `5m`, `1h`, `7d`; `None` for anything else.
pub fn parse_duration(text: &str) -> Option<Duration> {
    let split = text.find(|c: char| !c.is_ascii_digit())?;
    let (digits, unit) = text.split_at(split);
    let count: u64 = digits.parse().ok()?;
    let seconds = match unit {
        "ms" => return Some(Duration::from_millis(count)),
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return None,
    };
    count.checked_mul(seconds).map(Duration::from_secs)
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a section",
    }
}

/// Levenshtein distance, for hints on misspelt keys.
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, a) in left.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, b) in right.iter().enumerate() {
            let replaced = diagonal + usize::from(a != *b);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_mistakes_are_told_at_once() {
        let text = "listen: 127.0.0.1\nlimits:\n  sessions: many\n  opens: 0\ndrain: soon\nmetricz: 1\n";
        let problems = Problems::default();
        let mut root = Fields::root(parse_yaml("gateway.yaml", text).unwrap(), &problems);
        root.parse::<std::net::SocketAddr>("listen");
        root.text("metrics");
        root.duration("drain");
        let mut limits = root.section("limits");
        limits.number("sessions", 1..=10);
        limits.number("opens", 1..=10);
        limits.finish();
        root.finish();
        let error = problems.into_result("gateway.yaml", ()).unwrap_err();
        assert_told(
            &error.to_string(),
            "gateway.yaml: 5 mistakes\n  \
             listen: invalid socket address syntax\n  \
             drain: `soon` is not a time, expected such as 500ms, 30s, 5m, 1h or 7d\n  \
             limits.sessions: expected a whole number from 1 to 10, found `many`\n  \
             limits.opens: expected a whole number from 1 to 10, found 0\n  \
             metricz: unknown key, did you mean `metrics`?",
        );
    }

    fn assert_told(found: &str, expected: &str) {
        assert_eq!(found, expected);
    }

    #[test]
    fn broken_yaml_names_the_file() {
        let error = parse_yaml("agent.yaml", "a: [1, 2").unwrap_err();
        assert!(error.to_string().starts_with("agent.yaml: 1 mistake\n"), "{error}");
        let error = parse_yaml("agent.yaml", "token: secret\na: [1, 2").unwrap_err().to_string();
        assert!(error.contains("line 2") && !error.contains("secret"), "{error}");
    }

    #[test]
    fn times_read_with_their_unit() {
        assert_eq!(parse_duration("500ms"), Some(Duration::from_millis(500)));
        assert_eq!(parse_duration("7d"), Some(Duration::from_secs(604_800)));
        for text in ["", "s", "5", "5 s", "-1s", "99999999999999999999h"] {
            assert_eq!(parse_duration(text), None, "{text}");
        }
    }
}
