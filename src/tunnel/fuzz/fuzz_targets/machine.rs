#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../tests/corpus/ends.rs"]
mod ends;
#[path = "../../tests/corpus/lines.rs"]
mod lines;
#[path = "../../tests/corpus/machine.rs"]
mod machine;
#[path = "../../tests/corpus/script.rs"]
mod script;

fuzz_target!(|input: &[u8]| machine::check(input));
