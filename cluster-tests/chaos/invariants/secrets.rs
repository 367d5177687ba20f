//! No secret is ever logged: keys, tokens and what seals them are looked for in all that every process has said.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::{super::world::World, Evidence, Finding};

/// Shorter things are found everywhere.
const SECRET_MIN: usize = 16;
/// Names of files that hold secrets, in the processes' folders.
const FILES: [&str; 4] = ["admin.token", "operator.key", "agent.key", "token"];

pub(super) fn check(evidence: &Evidence) -> Finding {
    let seen = "every log, at debug".to_owned();
    Finding::new("no secret is ever logged", seen, evidence.leaks.clone())
}

/// Which log says which kind of secret.
pub(crate) fn leaks(world: &World) -> Vec<String> {
    let mut secrets: Vec<(String, String)> =
        world.tokens.iter().map(|token| ("a registration token".to_owned(), token.clone())).collect();
    let mut logs = Vec::new();
    let read = walk(&world.home(), &mut |path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name == "log" {
            logs.push(path.to_owned());
        } else if FILES.contains(&&*name) {
            let text = fs::read(path)?;
            secrets.extend(of_file(&String::from_utf8_lossy(&text)).map(|secret| (name.to_string(), secret)));
        }
        Ok(())
    });
    let mut leaks: Vec<String> =
        read.err().map(|error| format!("the site's folders cannot be read: {error}")).into_iter().collect();
    let found = |kind: &str| secrets.iter().any(|(of, _)| of == kind);
    for kind in ["a registration token", "admin.token", "agent.key"] {
        if !found(kind) {
            leaks.push(format!("there is nothing to look for: no {kind}"));
        }
    }
    for log in logs {
        match fs::read(&log) {
            Ok(said) => leaks.extend(said_in(&log, &String::from_utf8_lossy(&said), &secrets)),
            Err(error) => leaks.push(format!("{} cannot be read: {error}", log.display())),
        }
    }
    leaks
}

fn said_in(log: &Path, said: &str, secrets: &[(String, String)]) -> Vec<String> {
    let told = secrets.iter().filter(|(_, secret)| said.contains(secret.as_str()));
    told.map(|(kind, _)| format!("{} holds {kind}", log.display())).collect()
}

/// Lines of a PEM or of text, without what surrounds them; a token's signature alone is one, too.
fn of_file(text: &str) -> impl Iterator<Item = String> {
    let lines = text.lines().map(str::trim).filter(|line| !line.starts_with("-----"));
    lines.filter(|line| line.len() >= SECRET_MIN).map(str::to_owned)
}

fn walk(folder: &Path, visit: &mut dyn FnMut(&Path) -> io::Result<()>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path: PathBuf = entry?.path();
        if path.is_dir() {
            walk(&path, visit)?;
        } else {
            visit(&path)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_in_a_log_is_found() {
        let pem =
            "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIAAAAAAAAAAA\n-----END PRIVATE KEY-----\n";
        let secrets: Vec<_> = of_file(pem).map(|secret| ("agent.key".to_owned(), secret)).collect();
        assert_eq!(secrets.len(), 1);
        let log = Path::new("log");
        assert!(said_in(log, "key MC4CAQAwBQYDK2VwBCIEIAAAAAAAAAAA read", &secrets)[0].contains("agent.key"));
        assert!(said_in(log, "nothing to see", &secrets).is_empty());
    }
}
