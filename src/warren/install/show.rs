//! A plan in words, for `--dry-run` and for the progress of one that is carried out.

use std::fmt::Write;

use super::plan::{Content, Owner, Plan, Step};

/// All that would be written and run. Secrets are left out.
pub(super) fn whole(plan: &Plan) -> String {
    let mut text = String::new();
    for step in &plan.steps {
        let _ = writeln!(text, "# {}", line(step));
        match step {
            Step::Write { content: Content::Text(content), .. } if !content.is_empty() => {
                for line in without_secrets(content) {
                    let _ = writeln!(text, "    {line}");
                }
            }
            _ => {}
        }
    }
    if plan.steps.is_empty() {
        text.push_str("# nothing to do\n");
    }
    text
}

/// One step.
pub(super) fn line(step: &Step) -> String {
    match step {
        Step::Folder { path, mode, owner } => {
            format!("make {} (mode {mode:04o}, {})", path.display(), whose(*owner))
        }
        Step::Write { path, mode, owner, content } => {
            let what = match content {
                Content::Text(_) => String::new(),
                Content::Secret(_) => "secret, not shown; ".to_owned(),
                Content::Copy(from) => format!("copy of {}; ", from.display()),
            };
            format!("write {} ({what}mode {mode:04o}, {})", path.display(), whose(*owner))
        }
        Step::Note(path) => format!("make {} (empty, by warren)", path.display()),
        Step::Remove(path) => format!("remove {}", path.display()),
        Step::RemoveFolder(path) => format!("remove {} and all in it", path.display()),
        Step::RemoveIfEmpty(path) => format!("remove {} if it is empty", path.display()),
        Step::Run(words) => format!("run {}", words.join(" ")),
        Step::AwaitReady => "wait until the agent serves".to_owned(),
        Step::CheckLeft => "see that the agent has left its group".to_owned(),
    }
}

fn whose(owner: Owner) -> &'static str {
    match owner {
        Owner::Root => "of root",
        Owner::RootForService => "of root, for the group warren",
        Owner::Service => "of warren",
    }
}

/// A proxy may be given with its password, and headers with their values, also on the lines that are further in. People may have written all in one line, or in
/// a comment: rather too much is left out.
pub(super) fn without_secrets(text: &str) -> impl Iterator<Item = &str> {
    let mut inside = false;
    text.lines().filter_map(move |line| {
        let is_key = !line.is_empty() && !line.starts_with([' ', '-', '#']);
        let secret =
            names(line, "proxy") || names(line, "headers") || (names(line, "token") && !line.contains("@/"));
        let skipped = secret || (inside && !is_key);
        let first = skipped && (is_key || !inside);
        inside = skipped;
        match (first, skipped) {
            (true, _) => Some("(a secret, not shown)"),
            (false, true) => None,
            (false, false) => Some(line),
        }
    })
}

fn names(line: &str, key: &str) -> bool {
    line.split(key).skip(1).any(|after| after.trim_start_matches(['"', '\'', ' ']).starts_with(':'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_left_out_however_they_are_written() {
        for text in [
            "{gateways: [https://g], proxy: \"http://u:hush@p\"}",
            "\"proxy\": http://u:hush@p",
            "{\n  'token' : hush,\n  name: a\n}",
            "# proxy: http://u:hush@p",
            "proxy:\n  no_proxy: [a]\n\n  url: http://u:hush@p",
            "otlp: {url: 'https://c', headers: [authorization=hush]}",
            "otlp:\n  headers:\n  - authorization=@/token\n  - x-key=hush\n  url: https://c",
        ] {
            assert!(!without_secrets(text).any(|line| line.contains("hush")), "{text}");
        }
        let shown = ["token: \"@/etc/warren/agent.token\"", "veto: {deny: [10.0.0.0/8]}", "name: proxy-1"];
        assert_eq!(without_secrets(&shown.join("\n")).collect::<Vec<_>>(), shown);
    }

    #[test]
    fn secrets_are_left_out() {
        let text = "metrics: none\nproxy:\n  url: http://u:hush@p\n  no_proxy: [a]\ntoken: eyJhush\ngateways:\n- https://g\n";
        let shown = without_secrets(text).collect::<Vec<_>>();
        assert_eq!(
            shown,
            ["metrics: none", "(a secret, not shown)", "(a secret, not shown)", "gateways:", "- https://g"]
        );
        let step = Step::Write {
            path: "/etc/warren/agent.token".into(),
            mode: 0o600,
            owner: Owner::Service,
            content: Content::Secret("hush".into()),
        };
        let plan = Plan { steps: vec![step], changes: Vec::new() };
        assert_eq!(
            whole(&plan),
            "# write /etc/warren/agent.token (secret, not shown; mode 0600, of warren)\n"
        );
        assert!(!format!("{plan:?}").contains("hush"));
    }
}
