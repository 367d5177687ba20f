//! Named gateways to talk to, kept in `~/.config/warren/config.yaml` (or under `XDG_CONFIG_HOME`; on Windows under `APPDATA`).

use std::{
    collections::BTreeMap,
    env, fs, io,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use warren_identity::keyfile;

use crate::exit::Failure;

/// The file's whole content. Tokens may stand in it, so it is its owner's alone.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Contexts {
    /// The context that is used when none is named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) current: Option<String>,
    #[serde(default)]
    pub(crate) contexts: BTreeMap<String, Context>,
}

/// How to talk to one gateway.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Context {
    /// Such as `https://gateway.example.com`.
    pub(crate) api: String,
    /// A bearer token, or `@FILE` that holds one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) token: Option<String>,
    /// Root to trust, PEM; the system's roots when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) ca: Option<PathBuf>,
}

impl Contexts {
    /// Reads the file; no file is no contexts.
    pub(crate) fn load(path: &Path) -> anyhow::Result<Self> {
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => {
                return Err(Failure::usage(format!("cannot read `{}`", path.display()))
                    .because(error)
                    .into());
            }
        };
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        serde_saphyr::from_str(&text).map_err(|error| {
            Failure::usage(format!("`{}` is not a context file", path.display())).because(error).into()
        })
    }

    /// Writes the file whole and private, and the folder above it if there is none.
    pub(crate) fn save(&self, path: &Path) -> anyhow::Result<()> {
        let folder = path.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(folder).with_context(|| format!("cannot make `{}`", folder.display()))?;
        let text = serde_saphyr::to_string(self).context("cannot write contexts as YAML")?;
        keyfile::write_private(path, text.as_bytes())?;
        Ok(())
    }

    /// The context called `name`, or the current one; `None` when none is named and none is current.
    pub(crate) fn pick(&self, name: Option<&str>) -> Result<Option<&Context>, Failure> {
        let Some(name) = name.or(self.current.as_deref()) else { return Ok(None) };
        let known = || self.contexts.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
        match self.contexts.get(name) {
            Some(context) => Ok(Some(context)),
            None if self.contexts.is_empty() => Err(Failure::usage(format!(
                "there is no context `{name}`, make it with `warren context set {name} --api URL`"
            ))),
            None => Err(Failure::usage(format!("there is no context `{name}`, known are: {}", known()))),
        }
    }
}

/// Where the contexts are kept.
pub(crate) fn path() -> Result<PathBuf, Failure> {
    let variable = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let folder = variable("XDG_CONFIG_HOME")
        .or_else(|| variable("APPDATA").filter(|_| cfg!(windows)))
        .or_else(|| variable("HOME").map(|home| home.join(".config")));
    let folder = folder.ok_or_else(|| {
        Failure::usage(
            "none of XDG_CONFIG_HOME, HOME and Windows's APPDATA is set, so there is no place for contexts",
        )
    })?;
    Ok(folder.join("warren").join("config.yaml"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn two() -> Contexts {
        let context = |api: &str| Context { api: api.into(), token: Some("@/t".into()), ca: None };
        let contexts =
            BTreeMap::from([("a".into(), context("https://a")), ("b".into(), context("https://b"))]);
        Contexts { current: Some("b".into()), contexts }
    }

    #[test]
    fn a_file_reads_back_what_was_saved_and_is_private() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/config.yaml");
        assert_eq!(Contexts::load(&path).unwrap(), Contexts::default());
        two().save(&path).unwrap();
        assert_eq!(Contexts::load(&path).unwrap(), two());
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn the_named_context_comes_before_the_current_one() {
        let contexts = two();
        assert_eq!(contexts.pick(Some("a")).unwrap().unwrap().api, "https://a");
        assert_eq!(contexts.pick(None).unwrap().unwrap().api, "https://b");
        assert_eq!(Contexts::default().pick(None).unwrap(), None);
        let told = contexts.pick(Some("c")).unwrap_err().to_string();
        assert_eq!(told, "there is no context `c`, known are: a, b");
    }

    #[test]
    fn a_broken_file_is_wrong_configuration() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.yaml");
        fs::write(&path, "contexts: 3\n").unwrap();
        let error = Contexts::load(&path).unwrap_err();
        assert_eq!(crate::exit::of(&error), crate::exit::Exit::Usage);
    }
}
