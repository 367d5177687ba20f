//! The unit of an agent: that of packaging/systemd, with the paths of this machine.

use std::path::Path;

use super::place::{PACKAGED_PROGRAM, Place};

const UNIT: &str = include_str!("../../../packaging/systemd/warren-agent.service");
pub(super) const SYSUSERS: &str = include_str!("../../../packaging/systemd/warren.sysusers");
/// The first line of a unit that may be written anew without asking.
pub(super) const MARK: &str =
    "# Written by `warren agent install`, which writes it anew; what differs here belongs in a drop-in.\n";

pub(super) fn text(place: &Place, program: &Path) -> String {
    let program = format!("ExecStart={} ", program.display());
    let unit = UNIT.replace(&format!("ExecStart={PACKAGED_PROGRAM} "), &program);
    let text = match &place.instance {
        None => unit,
        Some(name) => unit
            .replace("/etc/warren/agent.yaml", &place.config().display().to_string())
            .replace("%t/warren-agent/", &format!("%t/warren-agent-{name}/"))
            .replace("RuntimeDirectory=warren-agent", &format!("RuntimeDirectory=warren-agent-{name}"))
            .replace("Description=Warren agent", &format!("Description=Warren agent {name}")),
    };
    format!("{MARK}{text}")
}

/// Whether this program wrote the unit, or would write the same.
pub(super) fn is_ours(found: &str) -> bool {
    found.starts_with(MARK) || found == UNIT
}

/// Lets the service write where its data stands.
pub(super) fn drop_in(data_dir: &Path) -> String {
    // A per cent sign would begin a specifier, a quote keeps spaces together.
    let path = data_dir.display().to_string().replace('%', "%%").replace('\\', "\\\\").replace('"', "\\\"");
    format!("{MARK}[Service]\nReadWritePaths=\"{path}\"\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unit_is_that_of_the_package_but_for_its_paths() {
        let place = Place { instance: None };
        let ours = text(&place, Path::new(PACKAGED_PROGRAM));
        assert_eq!(ours.strip_prefix(MARK), Some(UNIT));
        assert!(is_ours(UNIT) && is_ours(&ours) && !is_ours("[Service]\nExecStart=/opt/warren agent\n"));
        let moved = text(&place, Path::new("/usr/local/bin/warren"));
        let differing = moved.lines().filter(|line| !ours.lines().any(|other| other == *line));
        assert_eq!(
            differing.collect::<Vec<_>>(),
            ["ExecStart=/usr/local/bin/warren agent --config /etc/warren/agent.yaml"]
        );
    }

    #[test]
    fn an_instance_shares_no_path_with_the_others() {
        let place = Place { instance: Some("acme".parse().unwrap()) };
        let text = text(&place, Path::new(PACKAGED_PROGRAM));
        for line in [
            "Description=Warren agent acme",
            "ExecStart=/usr/bin/warren agent --config /etc/warren/agent-acme.yaml",
            "Environment=WARREN_READY_FILE=%t/warren-agent-acme/ready.json",
            "RuntimeDirectory=warren-agent-acme",
            "Documentation=man:warren-agent(1)",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in {text}");
        }
        assert_eq!(place.ready_file(), Path::new("/run/warren-agent-acme/ready.json"));
    }

    #[test]
    fn a_path_of_any_kind_is_one_word_of_the_unit() {
        let told = drop_in(Path::new("/data/50% of \"it\""));
        assert!(told.ends_with("ReadWritePaths=\"/data/50%% of \\\"it\\\"\"\n"), "{told}");
    }
}
