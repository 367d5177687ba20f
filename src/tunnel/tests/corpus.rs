//! Replays what fuzzing found worth keeping: the bodies of the fuzz targets, on the committed inputs.
//!
//! `fuzz/seeds` is made by [`seeds`] and compared with it, which also pins the bytes of every frame; `UPDATE=1` writes it
//! anew. `fuzz/corpus` is what the fuzzer found from there, minimised. How to run the fuzzer: `fuzz/README.md`.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use proptest::{collection::vec, prelude::*};

#[path = "corpus/ends.rs"]
mod ends;
#[path = "corpus/frames.rs"]
mod frames;
#[path = "corpus/lines.rs"]
mod lines;
#[path = "corpus/lives.rs"]
mod lives;
#[path = "corpus/machine.rs"]
mod machine;
#[path = "corpus/peer.rs"]
mod peer;
#[path = "corpus/pieces.rs"]
mod pieces;
#[path = "corpus/script.rs"]
mod script;
#[path = "corpus/seeds.rs"]
mod seeds;
#[path = "corpus/websocket.rs"]
mod websocket;

/// Random scripts in each run, besides those that are kept.
const SCRIPTS: u32 = 300;
const FILES_MAX: usize = 200;
const BYTES_MAX: usize = 200 * 1024;

#[test]
fn frames() {
    compare_seeds("frames", &seeds::frames());
    replay("frames", frames::check);
}

#[test]
fn websocket() {
    compare_seeds("websocket", &seeds::websocket());
    replay("websocket", websocket::check);
}

#[test]
fn machine() {
    compare_seeds("machine", &lives::machine());
    replay("machine", machine::check);
}

#[test]
fn peer() {
    compare_seeds("peer", &lives::peer());
    replay("peer", peer::check);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: SCRIPTS, ..ProptestConfig::default() })]

    #[test]
    fn machine_by_chance(script in vec(any::<u8>(), 0..700)) {
        machine::check(&script);
    }

    #[test]
    fn peer_by_chance(script in vec(any::<u8>(), 0..700)) {
        peer::check(&script);
    }
}

/// Runs `check` on every input of the target; a failure names the file.
fn replay(target: &str, check: fn(&[u8])) {
    for kind in ["seeds", "corpus"] {
        let files = inputs(&directory(kind, target));
        let bytes: usize = files.values().map(Vec::len).sum();
        assert!((1..=FILES_MAX).contains(&files.len()), "{kind}: {} files", files.len());
        assert!(bytes <= BYTES_MAX, "{kind}: {bytes} bytes");
        for (name, input) in files {
            let outcome = std::panic::catch_unwind(|| check(&input));
            assert!(outcome.is_ok(), "src/tunnel/fuzz/{kind}/{target}/{name}");
        }
    }
}

fn compare_seeds(target: &str, expected: &[(String, Vec<u8>)]) {
    let directory = directory("seeds", target);
    if std::env::var_os("UPDATE").is_some() {
        let _ = fs::remove_dir_all(&directory);
        fs::create_dir_all(&directory).expect("a directory for the seeds");
        for (name, bytes) in expected {
            fs::write(directory.join(name), bytes).expect("a seed that is written");
        }
    }
    let names: BTreeSet<&String> = expected.iter().map(|(name, _)| name).collect();
    assert_eq!(names.len(), expected.len(), "two seeds of one name");
    let files = inputs(&directory);
    assert_eq!(files.keys().collect::<BTreeSet<_>>(), names, "run with UPDATE=1 when seeds come or go");
    for (name, bytes) in expected {
        assert!(
            files[name] == *bytes,
            "{target}/{name} says something else on the wire than it did; if that is meant, run with UPDATE=1"
        );
    }
}

fn inputs(directory: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    entries
        .map(|entry| {
            let entry = entry.expect("a directory that is read");
            let name = entry.file_name().to_string_lossy().into_owned();
            (name, fs::read(entry.path()).expect("an input that is read"))
        })
        .collect()
}

fn directory(kind: &str, target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz").join(kind).join(target)
}
