//! Secrets that were typed on the command line, which everybody on the machine can read, move to the environment, which only
//! root can: the program begins anew under a command line without them.

use std::{
    env,
    ffi::{OsStr, OsString},
    os::unix::{ffi::OsStrExt, process::CommandExt},
    process::Command,
};

use anyhow::Context;

/// Flag, and the variable that says the same.
const SECRETS: [(&str, &str); 2] = [("--token", "REGISTRATION_JWT"), ("--proxy", "WARREN_PROXY")];

/// Does not return if there is something to hide and the program could begin anew.
pub(crate) fn hide_secrets() -> anyhow::Result<()> {
    let arguments = env::args_os().skip(1).collect::<Vec<_>>();
    let (kept, secrets) = split(&arguments);
    if secrets.is_empty() {
        return Ok(());
    }
    let program = env::current_exe().context("cannot find the program itself")?;
    Err(Command::new(program).args(kept).envs(secrets).exec())
        .context("cannot take the token off the command line")
}

/// The arguments that may be seen, and variables for the others.
fn split(arguments: &[OsString]) -> (Vec<OsString>, Vec<(&'static str, OsString)>) {
    let (mut kept, mut secrets) = (Vec::new(), Vec::new());
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        let flag = |flag: &str, argument: &OsString| -> Option<OsString> {
            let after = argument.as_bytes().strip_prefix(flag.as_bytes())?;
            match after {
                [] => rest.clone().next().cloned(),
                [b'=', value @ ..] => Some(OsStr::from_bytes(value).to_owned()),
                _ => None,
            }
        };
        let given =
            SECRETS.iter().find_map(|(name, variable)| Some((*name, *variable, flag(name, argument)?)));
        match given {
            // A file's name is no secret.
            Some((name, variable, value)) if !value.as_bytes().starts_with(b"@") => {
                if argument == name {
                    rest.next();
                }
                secrets.push((variable, value));
            }
            _ => kept.push(argument.clone()),
        }
    }
    (kept, secrets)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(line: &str) -> (String, Vec<(&'static str, OsString)>) {
        let (kept, secrets) = split(&line.split(' ').map(OsString::from).collect::<Vec<_>>());
        let kept = kept.iter().map(|word| word.to_str().unwrap()).collect::<Vec<_>>().join(" ");
        (kept, secrets)
    }

    #[test]
    fn secrets_leave_the_command_line_and_nothing_else_does() {
        let (kept, secrets) = of("agent install --token eyJ --name a --proxy=http://u:p@h:1 --force");
        assert_eq!(kept, "agent install --name a --force");
        assert_eq!(secrets, [("REGISTRATION_JWT", "eyJ".into()), ("WARREN_PROXY", "http://u:p@h:1".into())]);
        for line in [
            "agent install --token @site.jwt",
            "agent install --token=@site.jwt --name a",
            "agent install --token",
        ] {
            assert_eq!(of(line), (line.to_owned(), Vec::new()));
        }
    }
}
