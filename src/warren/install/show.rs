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

/// A proxy may be given with its password, also on the lines that are further in.
pub(super) fn without_secrets(text: &str) -> impl Iterator<Item = &str> {
    let mut inside = false;
    text.lines().filter_map(move |line| {
        let is_key = !line.starts_with([' ', '-', '#']);
        let secret = line.starts_with("proxy:") || (line.starts_with("token:") && !line.contains("@/"));
        let skipped = if is_key { secret } else { inside };
        let first = skipped && is_key;
        inside = skipped;
        match (first, skipped) {
            (true, _) => Some("(a secret, not shown)"),
            (false, true) => None,
            (false, false) => Some(line),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

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
