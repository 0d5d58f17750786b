//! A network namespace.

use nix::sched::{CloneFlags, setns, unshare};
use std::fs::File;
use std::io::Write as _;
use std::os::fd::AsRawFd as _;
use std::process::{Command, Stdio};
use std::thread::JoinHandle;

/// A network namespace. It has no name on the machine, so no other test's can be mistaken for it, and nothing is left when
/// a test is killed: it is gone with this and the last process in it.
pub struct Space(File);

impl Space {
    /// A new one, with nothing but loopback.
    pub fn new() -> Space {
        let space = std::thread::spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET).expect("a network namespace, for which root is needed");
            File::open("/proc/thread-self/ns/net").expect("the namespace")
        });
        let space = Space(space.join().expect("a network namespace"));
        space.ip("link set lo up\n");
        space
    }

    /// Does something in it. Sockets that are opened, and threads and processes that are started there, stay in it.
    pub fn inside<T: Send>(&self, what: impl FnOnce() -> T + Send) -> T {
        let within = || {
            setns(&self.0, CloneFlags::CLONE_NEWNET).expect("enter the network namespace");
            what()
        };
        let result = std::thread::scope(|scope| scope.spawn(within).join());
        result.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    /// The same in a thread that goes on.
    pub fn spawn<T: Send + 'static>(&self, what: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
        let space = self.0.try_clone().expect("the namespace");
        std::thread::spawn(move || {
            setns(&space, CloneFlags::CLONE_NEWNET).expect("enter the network namespace");
            what()
        })
    }

    /// Its name for programs; as long as this lives.
    pub fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.0.as_raw_fd())
    }

    /// Commands of `ip`, a line each.
    pub fn ip(&self, commands: &str) {
        self.feed("/usr/sbin/ip", &["-batch", "-"], commands);
    }

    /// A file of `nft`: all of it takes effect, or nothing.
    pub fn nft(&self, rules: &str) {
        self.feed("/usr/sbin/nft", &["-f", "-"], rules);
    }

    /// Sets kernel parameters, by their paths under `/proc/sys/net`.
    pub fn set(&self, parameters: &[(&str, &str)]) {
        self.inside(|| {
            for (name, value) in parameters {
                let path = format!("/proc/sys/net/{name}");
                std::fs::write(&path, value).unwrap_or_else(|error| panic!("{path}: {error}"));
            }
        });
    }

    fn feed(&self, program: &str, args: &[&str], text: &str) {
        let output = self.inside(|| {
            let mut child = Command::new(program)
                .args(args)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap_or_else(|error| panic!("{program}: {error}: `cargo xtask peers` installs it"));
            let mut stdin = child.stdin.take().expect("stdin");
            stdin.write_all(text.as_bytes()).expect("commands");
            drop(stdin);
            child.wait_with_output().expect("output")
        });
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{program}: {said}\n{text}");
    }
}

impl Default for Space {
    fn default() -> Space {
        Space::new()
    }
}
