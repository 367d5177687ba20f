#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../tests/corpus/ends.rs"]
mod ends;
#[path = "../../tests/corpus/peer.rs"]
mod peer;
#[path = "../../tests/corpus/script.rs"]
mod script;

fuzz_target!(|input: &[u8]| peer::check(input));
