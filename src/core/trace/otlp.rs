//! What an operator may say of the export of spans.

use std::{
    fmt, io,
    path::{Path, PathBuf},
};

use serde_json::{Map, Value, json};

use super::{Collector, Header, HeaderError, Sample};
use crate::fields::Fields;

/// How spans are exported. By default not at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Otlp {
    pub url: Option<Collector>,
    /// Default: all traces.
    pub sample: Sample,
    /// PEM file of the roots that vouch for a collector on https. Default: the system's.
    pub ca: Option<PathBuf>,
    /// Go with every message. Default: none.
    pub headers: Vec<Header>,
}

/// What flags and environment say, as texts that are checked together with the file.
#[derive(Clone, Default)]
pub struct OtlpOverrides {
    /// `--otlp` or `WARREN_OTLP`.
    pub url: Option<String>,
    /// `--otlp-sample` or `WARREN_OTLP_SAMPLE`.
    pub sample: Option<String>,
    /// `--otlp-ca` or `WARREN_OTLP_CA`.
    pub ca: Option<PathBuf>,
    /// `--otlp-header`, each.
    pub headers: Vec<String>,
    /// `WARREN_OTLP_HEADERS`.
    pub environment_headers: Option<String>,
}

impl Default for Otlp {
    fn default() -> Self {
        Self { url: None, sample: Sample::ALL, ca: None, headers: Vec::new() }
    }
}

/// Headers may hold what nobody is to see.
impl fmt::Debug for OtlpOverrides {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OtlpOverrides").field("url", &self.url).finish_non_exhaustive()
    }
}

impl Otlp {
    /// Reads a section of a configuration file, lets `given` win, and notes every mistake of both. Headers that are given
    /// take the place of the file's, all of them. The file of roots is looked into by `read`, and `check_roots` says what is
    /// wrong with a text of PEM.
    pub fn read<E: fmt::Display>(
        mut section: Fields<'_>,
        given: &OtlpOverrides,
        read: impl Fn(&Path) -> io::Result<String>,
        check_roots: impl FnOnce(&str) -> Result<(), E>,
    ) -> Self {
        let is_named = section.has("url") || given.url.is_some();
        let url: Option<Collector> = section.pick("url", given.url.as_deref());
        let sample = section.pick("sample", given.sample.as_deref()).unwrap_or(Sample::ALL);
        let of_file = section.text("ca").map(PathBuf::from);
        let ca = given.ca.clone().or(of_file);
        let headers = read_headers(&mut section, given);

        let wrong = ca.as_deref().and_then(|path| match &url {
            None if !is_named => Some("there is no collector to trust, give otlp.url".to_owned()),
            Some(url) if !url.is_tls() => Some(format!("only an https:// collector is checked, not {url}")),
            _ => check_ca(path, &read, check_roots).err(),
        });
        if let Some(wrong) = wrong {
            section.note("ca", wrong);
        }
        if !headers.is_empty() && !is_named {
            section.note("headers", "there is no collector that they could go to, give otlp.url");
        }
        for (index, header) in headers.iter().enumerate() {
            let name = header.name();
            if headers[..index].iter().any(|other| other.name() == name) {
                section.note("headers", format!("`{name}` is given twice"));
            }
        }
        section.finish();
        Self { url, sample, ca, headers }
    }

    /// Whether others than the collector can read the headers on their way.
    pub fn exposes_headers(&self) -> bool {
        let in_the_open = |url: &Collector| !url.is_tls() && !url.is_on_this_machine();
        !self.headers.is_empty() && self.url.as_ref().is_some_and(in_the_open)
    }

    /// As a section of a configuration file; headers whose value was given as text are left out.
    pub fn dump(&self) -> Value {
        // Whole shares are whole numbers there.
        let sample =
            serde_json::from_str(&self.sample.to_string()).unwrap_or_else(|_| json!(self.sample.share()));
        let mut section = Map::from_iter([("sample".to_owned(), sample)]);
        section.extend(self.url.as_ref().map(|url| ("url".to_owned(), json!(url.to_string()))));
        section.extend(self.ca.as_ref().map(|path| ("ca".to_owned(), json!(path.display().to_string()))));
        let held = self.headers.iter().filter_map(|header| Some((header.name(), header.file()?)));
        let held = held.map(|(name, path)| format!("{name}=@{}", path.display())).collect::<Vec<_>>();
        section.extend((!held.is_empty()).then(|| ("headers".to_owned(), json!(held))));
        Value::Object(section)
    }
}

fn check_ca<E: fmt::Display>(
    path: &Path,
    read: impl Fn(&Path) -> io::Result<String>,
    check_roots: impl FnOnce(&str) -> Result<(), E>,
) -> Result<(), String> {
    let pem = read(path).map_err(|error| format!("cannot read `{}`: {error}", path.display()))?;
    check_roots(&pem).map_err(|error| format!("`{}`: {error}", path.display()))
}

fn read_headers(section: &mut Fields<'_>, given: &OtlpOverrides) -> Vec<Header> {
    let problems = section.problems();
    let of_file = section.list("headers").unwrap_or_default();
    let kept = |from: &str, headers: &mut dyn Iterator<Item = Result<Header, HeaderError>>| -> Vec<Header> {
        let note = |index, error| problems.note(format!("{from}[{index}]"), error);
        headers
            .enumerate()
            .filter_map(|(index, read)| read.map_err(|error| note(index, error)).ok())
            .collect()
    };
    let flags = &mut given.headers.iter().map(|text| Header::from_command_line(text));
    let flags = kept("--otlp-header", flags);
    let environment = given.environment_headers.as_deref().unwrap_or_default();
    let environment = kept("WARREN_OTLP_HEADERS", &mut Header::from_environment(environment));
    [flags, environment, of_file].into_iter().find(|headers| !headers.is_empty()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fields::{ConfigError, Problems, parse_yaml};

    /// A machine with two files.
    fn read(text: &str, given: &OtlpOverrides) -> Result<Otlp, ConfigError> {
        let problems = Problems::default();
        let section = Fields::at("otlp".to_owned(), parse_yaml("f", text)?, &problems);
        let look = |path: &Path| match path.to_str() {
            Some("ca.pem") => Ok("a root".to_owned()),
            Some("token") => Ok("Bearer hush\n".to_owned()),
            _ => Err(io::ErrorKind::NotFound.into()),
        };
        let check = |pem: &str| if pem == "a root" { Ok(()) } else { Err("no certificate in it") };
        let otlp = Otlp::read(section, given, look, check);
        problems.into_result("f", otlp)
    }

    fn of_file(text: &str) -> Result<Otlp, ConfigError> {
        read(text, &OtlpOverrides::default())
    }

    fn mistakes(error: &ConfigError) -> Vec<&str> {
        error.problems.iter().map(|problem| problem.path.as_str()).collect()
    }

    #[test]
    fn what_is_dumped_reads_back_without_its_secrets() {
        let text =
            "{url: 'https://otel', sample: 0.5, ca: ca.pem, headers: [authorization=@token, x-key=hush]}";
        let otlp = of_file(text).unwrap();
        let dump = otlp.dump();
        assert_eq!(dump["headers"], json!(["authorization=@token"]));
        assert!(!format!("{dump} {otlp:?}").contains("hush"));
        let again = of_file(&dump.to_string()).unwrap();
        assert_eq!((again.dump(), again.ca), (dump, otlp.ca));
        assert_eq!(of_file("").unwrap(), Otlp::default());
    }

    #[test]
    fn flags_win_over_the_environment_and_that_over_the_file() {
        let file = "{url: 'http://file', headers: [of=file]}";
        let mut given = OtlpOverrides {
            environment_headers: Some("of=environment,and=another".into()),
            ..OtlpOverrides::default()
        };
        let names =
            |otlp: &Otlp| otlp.headers.iter().map(|header| header.name().to_owned()).collect::<Vec<_>>();
        assert_eq!(names(&read(file, &given).unwrap()), ["of", "and"]);
        given.headers = vec!["of-flag=@token".into()];
        given.url = Some("https://flag".into());
        given.ca = Some("ca.pem".into());
        let otlp = read(file, &given).unwrap();
        assert_eq!(names(&otlp), ["of-flag"]);
        assert_eq!(otlp.url.unwrap().to_string(), "https://flag:4317");
        given.headers = vec![String::from("of-flag=hush")];
        given.environment_headers = Some("Of=hush".into());
        let error = read("{url: 'http://file', headers: [Of=hush]}", &given).unwrap_err();
        let places = ["otlp.headers[0]", "--otlp-header[0]", "WARREN_OTLP_HEADERS[0]", "otlp.ca"];
        // The roots are right for the flag's https.
        assert_eq!(mistakes(&error), places[..3], "{error}");
        assert!(!format!("{error} {given:?}").contains("hush"), "{error}");
    }

    #[test]
    fn every_mistake_is_told_at_once() {
        for (text, wanted) in [
            ("{url: 'http://otel', ca: ca.pem}", "otlp.ca: only an https:// collector"),
            ("{url: 'https://otel', ca: none.pem}", "otlp.ca: cannot read `none.pem`"),
            ("{url: 'https://otel', ca: token}", "otlp.ca: `token`: no certificate in it"),
            ("{ca: ca.pem}", "otlp.ca: there is no collector"),
            ("{headers: [a=b]}", "otlp.headers: there is no collector"),
            ("{url: 'http://otel', headers: [a=b, a=c]}", "otlp.headers: `a` is given twice"),
            ("{url: 'http://otel', headers: {a: hush}}", "otlp.headers: expected a list"),
            ("{url: 'http://otel', cas: ca.pem}", "otlp.cas: unknown key, did you mean `ca`?"),
        ] {
            let told = of_file(text).unwrap_err().to_string();
            assert!(told.contains("1 mistake\n") && told.contains(wanted), "{told}");
            assert!(!told.contains("hush"), "{told}");
        }
        let error = of_file("{url: ftp, sample: 2, ca: none, headers: [te=x, a=@none]}").unwrap_err();
        // That a header's file is not there may pass: it is looked into when a message goes.
        assert_eq!(mistakes(&error), ["otlp.url", "otlp.sample", "otlp.headers[0]", "otlp.ca"]);
    }

    #[test]
    fn headers_in_the_open_are_known() {
        for (url, exposes) in [
            ("http://otel", true),
            ("http://10.0.0.1:4317", true),
            ("http://localhost.example", true),
            ("https://otel", false),
            ("http://localhost", false),
            ("http://127.0.0.9", false),
            ("http://[::1]", false),
        ] {
            let otlp = of_file(&format!("{{url: '{url}', headers: [a=b]}}")).unwrap();
            assert_eq!(otlp.exposes_headers(), exposes, "{url}");
            assert!(!Otlp { headers: Vec::new(), ..otlp }.exposes_headers(), "there is nothing to expose");
        }
    }
}
