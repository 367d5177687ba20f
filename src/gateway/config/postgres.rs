//! Where a PostgreSQL database is, and how its password is kept out of sight.

use std::{fmt, path::PathBuf, str::FromStr};

use super::values::ValueError;

/// What may stand behind the `?`: each as libpq understands it.
const PARAMETERS: [&str; 6] = ["host", "application_name", "sslmode", "sslrootcert", "sslcert", "sslkey"];

/// `postgres://USER:PASSWORD@HOST:PORT/DATABASE?sslmode=…`. What is shown of it has no password.
#[derive(Clone, PartialEq, Eq)]
pub struct PostgresUrl {
    shown: String,
    password: Option<Password>,
    remote: bool,
    says_sslmode: bool,
}

#[derive(Clone, PartialEq, Eq)]
enum Password {
    /// As it stands in a URL, percent-encoded.
    Encoded(String),
    Text(String),
    File(PathBuf),
}

/// What a connection takes, once the file was read.
pub(crate) enum Secret {
    /// Nothing of ours: PostgreSQL's own ways (`PGPASSWORD`, `~/.pgpass`) are left.
    None,
    Encoded(String),
    Text(String),
}

impl PostgresUrl {
    /// The same with a password that wins over its own.
    pub(super) fn with_password(self, text: String) -> Self {
        Self { password: Some(Password::Text(text)), ..self }
    }

    pub(super) fn with_password_file(self, file: PathBuf) -> Self {
        Self { password: Some(Password::File(file)), ..self }
    }

    pub(super) fn password_file(&self) -> Option<&PathBuf> {
        match &self.password {
            Some(Password::File(file)) => Some(file),
            _ => None,
        }
    }

    /// Whether the URL as it was given has a password in it.
    pub fn has_password(&self) -> bool {
        matches!(self.password, Some(Password::Encoded(_)))
    }

    /// Reads the password's file, if there is one.
    pub(crate) fn secret(&self) -> std::io::Result<Secret> {
        Ok(match &self.password {
            None => Secret::None,
            Some(Password::Encoded(text)) => Secret::Encoded(text.clone()),
            Some(Password::Text(text)) => Secret::Text(text.clone()),
            Some(Password::File(path)) => {
                let text = std::fs::read_to_string(path)?;
                Secret::Text(text.strip_suffix('\n').unwrap_or(&text).trim_end_matches('\r').to_owned())
            }
        })
    }

    /// Without the password.
    pub(crate) fn shown(&self) -> &str {
        &self.shown
    }

    /// The text that was given, with its own password.
    pub(crate) fn with_login(&self, encoded_password: &str) -> String {
        match self.shown.split_once('@') {
            Some((user, rest)) => format!("{user}:{encoded_password}@{rest}"),
            None => self.shown.clone(),
        }
    }

    /// Whether it is on another machine.
    pub(crate) fn is_remote(&self) -> bool {
        self.remote
    }

    /// Whether it is on another machine and nobody has said how far TLS is to be checked there.
    pub(crate) fn needs_tls(&self) -> bool {
        self.remote && !self.says_sslmode
    }
}

impl FromStr for PostgresUrl {
    type Err = ValueError;

    /// No mistake repeats the text: it may hold a password.
    fn from_str(text: &str) -> Result<Self, ValueError> {
        let wrong = |why: &'static str| ValueError::Postgres(why);
        let rest = text.strip_prefix("postgres://").or_else(|| text.strip_prefix("postgresql://"));
        let rest = rest.ok_or_else(|| wrong("it does not begin with postgres://"))?;
        let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, database) = place.split_once('/').unwrap_or((place, ""));
        let (login, host) = authority.rsplit_once('@').unwrap_or(("", authority));
        let (user, password) = match login.split_once(':') {
            Some((user, password)) => (user, Some(password)),
            None => (login, None),
        };
        // What is left of a password with a `/`, `?`, `#` or `@` in it would be shown otherwise.
        let odd = |part: &str| part.contains(['@', '/', '#']);
        let parts = [user, password.unwrap_or_default(), host, database];
        if parts.into_iter().any(odd) || query.contains(['@', '#']) {
            return Err(wrong("percent-encode what is not a letter or digit in user, password and database"));
        }
        if database.is_empty() {
            return Err(wrong("it names no database"));
        }
        let (mut says_sslmode, mut socket) = (false, false);
        for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
            let (key, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            if !PARAMETERS.contains(&key) {
                return Err(wrong(
                    "behind the ? may stand host, application_name, sslmode, sslrootcert, sslcert and sslkey",
                ));
            }
            says_sslmode |= key == "sslmode";
            if key == "host" {
                // Another machine here would win over the one in front, and over what is made of that below.
                let folder = ["/", "%2F", "%2f"].iter().any(|root| value.starts_with(root));
                if !folder {
                    return Err(wrong(
                        "host= behind the ? is the folder of a socket, a machine stands before the /",
                    ));
                }
                socket = true;
            }
        }
        if host.is_empty() && !socket {
            return Err(wrong("it names no host"));
        }
        let at = if login.is_empty() { String::new() } else { format!("{user}@") };
        let question = if query.is_empty() { String::new() } else { format!("?{query}") };
        Ok(Self {
            shown: format!("postgres://{at}{host}/{database}{question}"),
            password: password.map(|password| Password::Encoded(password.to_owned())),
            remote: !socket && !is_loopback(host),
            says_sslmode,
        })
    }
}

impl fmt::Display for PostgresUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

impl fmt::Debug for PostgresUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PostgresUrl").field(&self.shown).finish()
    }
}

fn is_loopback(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or(rest),
        None => host.split(':').next().unwrap_or(host),
    };
    name == "localhost" || name.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<PostgresUrl, ValueError> {
        text.parse()
    }

    #[test]
    fn the_password_is_never_shown() {
        let url = parse("postgresql://ann:s%40cret@db.example:5433/warren?sslmode=require").unwrap();
        assert_eq!(url.to_string(), "postgres://ann@db.example:5433/warren?sslmode=require");
        assert!(!format!("{url:?}").contains("cret"));
        assert!(url.has_password());
        assert!(matches!(url.secret().unwrap(), Secret::Encoded(text) if text == "s%40cret"));
        let given = url.with_password("other".into());
        assert!(!format!("{given:?}").contains("other") && !given.has_password());
    }

    #[test]
    fn a_password_that_is_not_encoded_is_refused_and_not_repeated() {
        for text in [
            "postgres://ann:se/cret@db/warren",
            "postgres://ann:se#cret@db/warren",
            "postgres://ann:se?cret@db/warren",
            "postgres://ann@db/warren?password=secret",
            "postgres://ann:secret@db",
            "postgres:ann:secret",
            "postgres://ann:secret@/warren",
            "postgres://ann:secret@localhost/warren?host=db.example",
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(!error.contains("cret"), "{error}");
        }
    }

    #[test]
    fn tls_is_asked_for_on_the_way_to_other_machines() {
        for (text, needs) in [
            ("postgres://db.example/w", true),
            ("postgres://10.0.0.1:5432/w", true),
            ("postgres://db.example/w?sslmode=disable", false),
            ("postgres://localhost/w", false),
            ("postgres://[::1]:5432/w", false),
            ("postgres://127.0.0.1/w", false),
            ("postgres:///w?host=/run/postgresql", false),
        ] {
            assert_eq!(parse(text).unwrap().needs_tls(), needs, "{text}");
        }
    }

    #[test]
    fn a_file_gives_the_password_without_its_line_end() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("password");
        std::fs::write(&file, "open sesame\n").unwrap();
        let url = parse("postgres://ann@db/w").unwrap().with_password_file(file.clone());
        assert!(matches!(url.secret().unwrap(), Secret::Text(text) if text == "open sesame"));
        std::fs::remove_file(file).unwrap();
        assert!(url.secret().is_err());
    }
}
