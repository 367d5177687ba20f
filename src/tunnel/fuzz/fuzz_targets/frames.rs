#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../tests/corpus/frames.rs"]
mod frames;
#[path = "../../tests/corpus/pieces.rs"]
mod pieces;

fuzz_target!(|input: &[u8]| frames::check(input));
