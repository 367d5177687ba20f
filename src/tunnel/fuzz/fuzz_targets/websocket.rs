#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../tests/corpus/pieces.rs"]
mod pieces;
#[path = "../../tests/corpus/websocket.rs"]
mod websocket;

fuzz_target!(|input: &[u8]| websocket::check(input));
