//! Compiles proto/ with protox, so that no protoc has to be installed.

use std::{env, error::Error, path::PathBuf};

fn main() -> Result<(), Box<dyn Error>> {
    let proto = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?).join("../../proto");
    println!("cargo:rerun-if-changed={}", proto.display());
    let files = ["control.proto", "peer.proto", "enrol.proto", "admin.proto"].map(|file| proto.join(file));
    let descriptors = protox::compile(files, [&proto])?;
    tonic_prost_build::configure().bytes(".").compile_fds(descriptors)?;
    Ok(())
}
