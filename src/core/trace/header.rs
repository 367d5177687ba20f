//! Headers that go with every message to a collector, such as a token.

use std::{
    fmt, io,
    path::{Path, PathBuf},
    str::FromStr,
};

use thiserror::Error;

/// Bytes of one value; servers take about 16 KiB of all headers together.
const VALUE_MAX: usize = 8 * 1024;
/// Names that HTTP/2 and gRPC set themselves or do not allow.
const RESERVED: [&str; 10] = [
    "connection",
    "content-length",
    "content-type",
    "host",
    "keep-alive",
    "proxy-connection",
    "te",
    "transfer-encoding",
    "upgrade",
    "user-agent",
];

/// A name, and a value or the file that holds it. Whatever the value is, it is taken for a secret and never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Header {
    name: String,
    value: Value,
}

#[derive(Clone, PartialEq, Eq)]
enum Value {
    Text(String),
    File(PathBuf),
}

/// Why there is no such header, or no value for it. What is no name may be a secret, and is not shown either.
#[derive(Debug, Error)]
pub enum HeaderError {
    #[error("not a header, expected NAME=@FILE, with the file that holds the value")]
    Form,
    #[error(
        "not a name of a header, which has lower-case letters, digits and - or _, such as authorization=@FILE"
    )]
    Name,
    #[error("a name that begins with a colon is kept by HTTP/2 for itself")]
    Pseudo,
    #[error("`{0}` cannot be given: HTTP/2 and gRPC have their own use for it")]
    Reserved(String),
    #[error("`{0}` cannot be given: gRPC keeps names that end in -bin for bytes")]
    Bytes(String),
    #[error(
        "everybody on this machine can see the value of `{0}` on the command line: give {0}=@FILE, or WARREN_OTLP_HEADERS in the environment"
    )]
    Visible(String),
    #[error(
        "the value of `{0}` is not percent-encoded, as values in the environment are: write %25 for a percent sign, %2C for a comma"
    )]
    Encoding(String),
    #[error("`{0}` has no value")]
    Empty(String),
    #[error("the value of `{0}` is not one line of ASCII of at most {VALUE_MAX} bytes")]
    Text(String),
    #[error("cannot read the value of `{name}` in `{}`", path.display())]
    Unreadable {
        name: String,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

impl Header {
    /// `NAME=@FILE` alone, since command lines can be read by others.
    pub fn from_command_line(text: &str) -> Result<Self, HeaderError> {
        let (name, value) = split(text)?;
        match value.strip_prefix('@') {
            Some(path) => Self::of_file(name, path),
            None => Err(HeaderError::Visible(name)),
        }
    }

    /// Separated by commas, with values percent-encoded, as OpenTelemetry's own variables are.
    pub fn from_environment(text: &str) -> impl Iterator<Item = Result<Self, HeaderError>> {
        text.split(',').filter(|one| !one.trim().is_empty()).map(|one| {
            let (name, value) = split(one)?;
            match value.strip_prefix('@') {
                Some(path) => Self::of_file(name, path),
                None => match percent_decoded(value) {
                    Some(value) => Self::of_text(name, &value),
                    None => Err(HeaderError::Encoding(name)),
                },
            }
        })
    }

    /// Lower case, and nothing that gRPC sets itself.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The file that holds the value, if it was given as one.
    pub fn file(&self) -> Option<&Path> {
        match &self.value {
            Value::File(path) => Some(path),
            Value::Text(_) => None,
        }
    }

    /// The value as it is sent: one line of visible ASCII, at most 8 KiB. Looks into the file, if there is one, by `read`.
    pub fn value(&self, read: impl FnOnce(&Path) -> io::Result<String>) -> Result<String, HeaderError> {
        match &self.value {
            Value::Text(text) => Ok(text.clone()),
            Value::File(path) => {
                let (name, path) = (self.name.clone(), path.clone());
                match read(&path) {
                    Ok(text) => checked(&self.name, &text),
                    Err(source) => Err(HeaderError::Unreadable { name, path, source }),
                }
            }
        }
    }

    fn of_file(name: String, path: &str) -> Result<Self, HeaderError> {
        if path.is_empty() {
            return Err(HeaderError::Empty(name));
        }
        Ok(Self { name, value: Value::File(PathBuf::from(path)) })
    }

    fn of_text(name: String, text: &str) -> Result<Self, HeaderError> {
        let value = Value::Text(checked(&name, text)?);
        Ok(Self { name, value })
    }
}

/// `NAME=VALUE` or `NAME=@FILE`, as a configuration file has it.
impl FromStr for Header {
    type Err = HeaderError;

    fn from_str(text: &str) -> Result<Self, HeaderError> {
        let (name, value) = split(text)?;
        match value.strip_prefix('@') {
            Some(path) => Self::of_file(name, path),
            None => Self::of_text(name, value),
        }
    }
}

impl fmt::Debug for Header {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.value {
            Value::File(path) => write!(f, "Header({}=@{})", self.name, path.display()),
            Value::Text(_) => write!(f, "Header({}=…)", self.name),
        }
    }
}

fn split(text: &str) -> Result<(String, &str), HeaderError> {
    let (name, value) = text.split_once('=').ok_or(HeaderError::Form)?;
    let name = name.trim();
    if name.starts_with(':') {
        return Err(HeaderError::Pseudo);
    }
    // Those that HTTP/2 has beside these are nobody's; base64, which may have come without its name, is not of these.
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_.".contains(&byte);
    if name.is_empty() || !name.bytes().all(fits) {
        return Err(HeaderError::Name);
    }
    if RESERVED.contains(&name) || name.starts_with("grpc-") {
        return Err(HeaderError::Reserved(name.to_owned()));
    }
    if name.ends_with("-bin") {
        return Err(HeaderError::Bytes(name.to_owned()));
    }
    Ok((name.to_owned(), value.trim()))
}

fn checked(name: &str, text: &str) -> Result<String, HeaderError> {
    let text = text.trim();
    if text.is_empty() {
        return Err(HeaderError::Empty(name.to_owned()));
    }
    if text.len() > VALUE_MAX || !text.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
        return Err(HeaderError::Text(name.to_owned()));
    }
    Ok(text.to_owned())
}

/// `None` when a percent sign is not followed by two hexadecimal digits, or when it is no text.
fn percent_decoded(text: &str) -> Option<String> {
    let mut parts = text.split('%');
    let mut bytes = parts.next()?.as_bytes().to_vec();
    for part in parts {
        let digits = part.get(..2).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        bytes.extend(&part.as_bytes()[2..]);
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(header: &Header) -> String {
        header.value(|path| panic!("`{}` is not to be read", path.display())).unwrap()
    }

    #[test]
    fn a_file_may_have_the_value_itself_or_the_file_that_has_it() {
        let given: Header = "authorization = Bearer hush ".parse().unwrap();
        assert_eq!((given.name(), &*value(&given), given.file()), ("authorization", "Bearer hush", None));
        let held: Header = "x-api-key=@/run/key".parse().unwrap();
        assert_eq!(held.file(), Some(Path::new("/run/key")));
        assert_eq!(held.value(|_| Ok("\n a=b \r\n".to_owned())).unwrap(), "a=b", "without what is around it");
        assert_eq!(format!("{given:?} {held:?}"), "Header(authorization=…) Header(x-api-key=@/run/key)");
    }

    #[test]
    fn the_command_line_has_files_only() {
        let held = Header::from_command_line("authorization=@token").unwrap();
        assert_eq!(held.file(), Some(Path::new("token")));
        let told = Header::from_command_line("authorization=Bearer hush").unwrap_err().to_string();
        assert!(told.contains("authorization=@FILE") && !told.contains("hush"), "{told}");
    }

    #[test]
    fn the_environment_has_several_percent_encoded() {
        let read = |text| Header::from_environment(text).collect::<Result<Vec<_>, _>>();
        let headers = read("authorization=Basic%20aHVzaA==, x-scope=a%2Cb%25,x-key=@/run/k%20y,,").unwrap();
        let shown = headers.iter().take(2).map(value).collect::<Vec<_>>();
        assert_eq!(shown, ["Basic aHVzaA==", "a,b%"]);
        assert_eq!(headers[2].file(), Some(Path::new("/run/k%20y")));
        for text in ["a=100%", "a=%2", "a=%+1", "a=%zz", "a=%ff", "a=%é"] {
            assert!(matches!(read(text), Err(HeaderError::Encoding(name)) if name == "a"), "{text}");
        }
        assert!(matches!(read("a=x%0d%0ab: y"), Err(HeaderError::Text(_))), "a second header by a line end");
    }

    #[test]
    fn what_is_none_is_refused_by_its_reason_and_not_shown() {
        for (text, reason) in [
            ("hush", "not a header"),
            ("authorization: Bearer hush==", "not a name"),
            ("Authorization=hush", "lower-case"),
            ("=hush", "not a name"),
            ("aHVzaA==hush", "not a name"),
            (":path=hush", "colon"),
            ("te=hush", "`te`"),
            ("content-type=hush", "`content-type`"),
            ("grpc-timeout=hush", "`grpc-timeout`"),
            ("trace-bin=hush", "`trace-bin`"),
            ("authorization=", "`authorization` has no value"),
            ("authorization=@", "`authorization` has no value"),
            ("authorization=hush\nx: y", "`authorization` is not one line"),
            ("authorization=hüsh", "`authorization` is not one line"),
        ] {
            let told = text.parse::<Header>().unwrap_err().to_string();
            assert!(told.contains(reason) && !told.contains("hush"), "{text:?}: {told}");
        }
        let long = format!("authorization={}", "h".repeat(VALUE_MAX + 1));
        assert!(matches!(long.parse::<Header>(), Err(HeaderError::Text(_))));
    }

    #[test]
    fn a_file_that_has_no_value_is_named() {
        let held: Header = "authorization=@/run/token".parse().unwrap();
        let told = held.value(|_| Err(io::ErrorKind::NotFound.into())).unwrap_err().to_string();
        assert_eq!(told, "cannot read the value of `authorization` in `/run/token`");
        assert!(matches!(held.value(|_| Ok(" \n".to_owned())), Err(HeaderError::Empty(_))));
        assert!(matches!(held.value(|_| Ok("a\nb".to_owned())), Err(HeaderError::Text(_))));
    }
}
