//! Disks that are full, slow or broken.

use std::{
    fs::{self, File},
    io::{BufRead, BufReader, ErrorKind, Write},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};

use crate::{Place, Process, netns::Room};

/// A small disk, in memory, that only processes in its [`place`](Self::place) see. It outlives them, not this value.
#[derive(Debug)]
pub struct SmallDisk {
    room: Room,
    folder: PathBuf,
}

impl SmallDisk {
    /// Mounted over `folder`, which is made. Needs root and a mount namespace.
    pub fn over(folder: &Path, kib: u32) -> Self {
        fs::create_dir_all(folder).expect("the test's directory can be written");
        let mount = format!("mount -t tmpfs -o size={kib}k,mode=700 disk '{}'", folder.display());
        Self { room: Room::new(&["--mount"], &mount), folder: folder.to_owned() }
    }

    /// To run a process that sees it.
    pub fn place(&self) -> Place {
        Place { prefix: self.room.prefix(&[("mount", "mnt")]), ..Place::default() }
    }

    /// Leaves not a byte of it free.
    pub fn fill(&self) {
        let mut filler = File::create(self.filler()).expect("a file on the small disk");
        for piece in [64 << 10, 4 << 10, 1] {
            let piece = vec![0x55; piece];
            loop {
                match filler.write_all(&piece) {
                    Ok(()) => {}
                    Err(error) if error.kind() == ErrorKind::StorageFull => break,
                    Err(error) => panic!("the small disk cannot be filled: {error}"),
                }
            }
        }
    }

    /// Gives back what [`fill`](Self::fill) took.
    pub fn free(&self) {
        fs::remove_file(self.filler()).expect("it was filled");
    }

    /// As this process sees it, which is outside of its namespace.
    fn filler(&self) -> PathBuf {
        let folder = self.folder.strip_prefix("/").expect("an absolute path");
        Path::new("/proc").join(self.room.id().to_string()).join("root").join(folder).join("filler")
    }
}

/// What becomes of every sync of a process, for as long as this value lasts. Takes strace, which slows the process down.
#[derive(Debug)]
pub struct Syncs {
    tracer: Child,
}

impl Syncs {
    /// Each takes so much longer.
    pub fn delayed(process: &Process, by: Duration) -> Self {
        Self::tampered(process, &format!("delay_enter={}", by.as_micros()))
    }

    /// Each fails with an input/output error, and did nothing.
    pub fn failing(process: &Process) -> Self {
        Self::tampered(process, "error=EIO")
    }

    fn tampered(process: &Process, how: &str) -> Self {
        let inject = format!("inject=fsync,fdatasync:{how}");
        let mut tracer = Command::new("strace");
        tracer.args(["-f", "-e", "trace=fsync,fdatasync", "-e", &inject, "-o", "/dev/null", "-p"]);
        tracer.arg(process.id().to_string()).stdin(Stdio::null()).stderr(Stdio::piped());
        let mut tracer = tracer.spawn().expect("strace is installed");
        let said = BufReader::new(tracer.stderr.take().expect("it is piped"));
        let attached = said.lines().map_while(Result::ok).any(|line| line.contains("attached"));
        assert!(attached, "strace cannot be attached");
        Self { tracer }
    }
}

impl Drop for Syncs {
    /// SIGTERM, so that it lets go of the process.
    fn drop(&mut self) {
        let id = i32::try_from(self.tracer.id()).ok().and_then(Pid::from_raw);
        if let Some(id) = id {
            let _ = kill_process(id, Signal::TERM);
        }
        let _ = self.tracer.wait();
    }
}
