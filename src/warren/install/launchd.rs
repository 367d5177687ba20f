//! What launchd, of macOS, would be given: a sheet for people, since nothing is installed there.

use std::fmt::Write;

use super::{
    place::{PROGRAM, Place},
    show,
};

const USER: &str = "_warren";

/// The files with their contents, and what to run, in order.
pub(super) fn sheet(place: &Place, settings: &str) -> String {
    let (label, config) = (label(place), place.config());
    let (config, plist) = (config.display(), format!("/Library/LaunchDaemons/{label}.plist"));
    let (data, log) = (place.data_dir(), log(place));
    let data = data.display();
    let mut text = format!(
        "# For macOS, to be done by hand; Warren itself is built and tested on Linux only.\n\
         # run sysadminctl -addUser {USER} -UID 350 -roleAccount\n\
         # copy the program to {PROGRAM} (mode 0755)\n\
         # run install -d -m 700 -o {USER} {data}\n\
         # run install -m 600 -o {USER} /dev/null {log}\n\
         # write {config} (mode 0600, of {USER}), with what it names\n"
    );
    for line in show::without_secrets(settings) {
        let _ = writeln!(text, "    {line}");
    }
    let _ = writeln!(
        text,
        "# write {plist} (mode 0644, of root)\n{}# run launchctl bootstrap system {plist}",
        self::plist(place)
    );
    text
}

fn label(place: &Place) -> String {
    place.unit().trim_end_matches(".service").replacen('-', ".", 1)
}

fn log(place: &Place) -> String {
    format!("/var/log/{}.log", label(place))
}

/// The job. Unlike systemd, launchd starts a program anew whatever its exit code was.
fn plist(place: &Place) -> String {
    let text = |value: &str| format!("<string>{}</string>", escaped(value));
    let config = place.config().display().to_string();
    let words: String = [PROGRAM, "agent", "--config", &config]
        .iter()
        .map(|word| format!("\n        {}", text(word)))
        .collect();
    let keys = [
        ("Label", text(&label(place))),
        ("ProgramArguments", format!("<array>{words}\n    </array>")),
        ("UserName", text(USER)),
        ("RunAtLoad", "<true/>".to_owned()),
        ("KeepAlive", "<true/>".to_owned()),
        ("ThrottleInterval", "<integer>10</integer>".to_owned()),
        // Sessions may finish; the drain time, and a little.
        ("ExitTimeOut", "<integer>45</integer>".to_owned()),
        // 0077.
        ("Umask", "<integer>63</integer>".to_owned()),
        ("ProcessType", text("Interactive")),
        ("StandardErrorPath", text(&log(place))),
        // One file for each session.
        (
            "SoftResourceLimits",
            "<dict>\n        <key>NumberOfFiles</key>\n        <integer>65536</integer>\n    </dict>"
                .to_owned(),
        ),
    ];
    let body: String =
        keys.iter().map(|(key, value)| format!("    <key>{key}</key>\n    {value}\n")).collect();
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <!DOCTYPE plist PUBLIC \"-//Apple//DTD PLIST 1.0//EN\" \"http://www.apple.com/DTDs/PropertyList-1.0.dtd\">\n\
         <plist version=\"1.0\">\n<dict>\n{body}</dict>\n</plist>\n"
    )
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_do_not_stand_on_the_sheet() {
        let place = Place { instance: Some("acme".parse().unwrap()) };
        let sheet = sheet(&place, "gateways: [https://g]\nproxy: http://u:hush@p\n");
        assert!(sheet.contains("https://g") && !sheet.contains("hush"), "{sheet}");
        assert!(sheet.contains("<string>/etc/warren/agent-acme.yaml</string>"), "{sheet}");
        assert!(
            sheet.contains("launchctl bootstrap system /Library/LaunchDaemons/warren.agent-acme.plist"),
            "{sheet}"
        );
    }

    #[test]
    fn what_xml_would_read_otherwise_is_escaped() {
        assert_eq!(escaped("a<b>&"), "a&lt;b&gt;&amp;");
    }
}
