//! What the protocol costs without sockets. How to read it: `README.md` beside this file.

#[path = "protocol/frames.rs"]
mod frames;
#[path = "protocol/machine.rs"]
mod machine;
#[path = "protocol/pair.rs"]
mod pair;
#[path = "protocol/websocket.rs"]
mod websocket;

fn main() {
    divan::main();
}
