//! Keeps what README and docs tell people to type in step with what can be typed, and their links with what is there.

use std::{
    fs,
    path::{Path, PathBuf},
};

use clap::Parser;

use crate::cli::Cli;

#[test]
fn every_command_on_the_pages_parses() {
    let mut checked = 0;
    for (page, text) in pages() {
        for line in commands(&text) {
            let words = words(&line);
            if let Err(told) = Cli::try_parse_from(&words) {
                panic!("{}: `{line}`\n{told}", page.display());
            }
            checked += 1;
        }
    }
    assert!(checked > 30, "only {checked} commands were found");
}

#[test]
fn every_link_on_the_pages_leads_somewhere() {
    for (page, text) in pages() {
        for link in text.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(link, _)| link) {
            let (file, section) = link.split_once('#').unwrap_or((link, ""));
            let target = if file.is_empty() { page.clone() } else { page.with_file_name("").join(file) };
            assert!(target.exists(), "{}: no `{link}`", page.display());
            if !section.is_empty() {
                let found = fs::read_to_string(&target).unwrap().lines().any(|line| anchor(line) == section);
                assert!(found, "{}: no section `{link}`", page.display());
            }
        }
    }
}

fn pages() -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let docs = fs::read_dir(root.join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let named = [
        "README.md",
        "CONTRIBUTING.md",
        "grafana/README.md",
        "helm/README.md",
        "helm/warren-gateway/README.md",
        "helm/warren-agent/README.md",
    ];
    let pages = named.into_iter().map(|page| root.join(page)).chain(docs);
    pages.map(|page| (page.clone(), fs::read_to_string(page).unwrap())).collect()
}

/// Lines of code blocks that begin with the program's name, behind variables that are set for it or not.
fn commands(text: &str) -> Vec<String> {
    let text = text.replace("\\\n", " ");
    let blocks = text.split("```").skip(1).step_by(2);
    let lines = blocks.flat_map(str::lines).map(str::trim);
    let bare = lines.map(|line| {
        let mut rest = line;
        while let Some((word, after)) = rest.split_once(' ')
            && word
                .split_once('=')
                .is_some_and(|(name, _)| name.chars().all(|c| c.is_ascii_uppercase() || c == '_'))
        {
            // A quoted value goes up to its closing quote.
            rest = match word.split_once("='") {
                Some(_) if !word.ends_with('\'') => after.split_once("' ").map_or("", |(_, after)| after),
                _ => after.trim_start(),
            };
        }
        let rest = rest.split(" #").next().unwrap_or_default();
        rest.split(" > ").next().unwrap_or_default().to_owned()
    });
    bare.filter(|line| line.starts_with("warren ")).collect()
}

/// As a shell would split it, as far as the pages need it.
fn words(line: &str) -> Vec<String> {
    line.split_whitespace().map(|word| word.trim_matches(['\'', '"']).to_owned()).collect()
}

/// What a heading is linked by.
fn anchor(line: &str) -> String {
    let Some(title) = line.strip_prefix('#').map(|rest| rest.trim_start_matches('#').trim()) else {
        return String::new();
    };
    let kept = title.to_lowercase().replace(' ', "-");
    kept.chars().filter(|c| c.is_alphanumeric() || *c == '-').collect()
}
