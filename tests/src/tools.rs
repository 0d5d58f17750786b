//! Real clients, run as programs.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// A program that must be installed.
pub fn program(path: &str) -> Command {
    assert!(
        Path::new(path).exists(),
        "{path} is missing: `cargo xtask peers` installs it"
    );
    let mut command = Command::new("/usr/bin/timeout");
    command.arg("60").arg(path);
    command
}

pub(crate) fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// A program that must be installed, as root: by sudo without a password where the tests are somebody else.
pub fn as_root(path: &str) -> Command {
    if is_root() {
        return program(path);
    }
    let mut command = Command::new("sudo");
    command.args(["-n", "/usr/bin/timeout", "60", path]);
    command
}

/// The target folder, which the test is in too.
pub fn target() -> PathBuf {
    let test = std::env::current_exe().expect("path of the test");
    test.ancestors().nth(3).expect("target folder").to_owned()
}

/// A folder that `cargo xtask peers` filled: `xtask/peers` has their names.
pub fn peer(name: &str) -> PathBuf {
    let folder = target().join("peers").join(name);
    assert!(
        folder.exists(),
        "{} is missing: `cargo xtask peers` installs it",
        folder.display()
    );
    folder
}

/// Runs to the end; panics with what it said when it fails.
pub fn run(command: &mut Command) -> Output {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(
        output.status.success(),
        "{command:?} ended with {}\n{}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

/// Runs to the end: whether it went well, and all that it said.
pub fn outcome(command: &mut Command) -> (bool, String) {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let said = [output.stdout, output.stderr].concat();
    (
        output.status.success(),
        String::from_utf8_lossy(&said).into_owned(),
    )
}

/// Runs to the end with this input; what the program says is for the caller to judge.
pub fn feed(command: &mut Command, input: impl AsRef<[u8]>) -> Output {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("start");
    let mut stdin = child.stdin.take().expect("stdin");
    // One that stopped reading says why.
    let _ = stdin.write_all(input.as_ref());
    drop(stdin);
    child.wait_with_output().expect("wait")
}

/// Runs to the end with this input; panics with what it said when it fails.
pub fn pipe(command: &mut Command, input: &str) {
    let output = feed(command, input);
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&said));
}

/// Changes an SQLite database that nobody has open.
pub fn sql(database: &Path, statement: &str) {
    let script =
        "import sqlite3, sys; db = sqlite3.connect(sys.argv[1]); db.execute(sys.argv[2]); db.commit()";
    let mut python = program("/usr/bin/python3");
    run(python.args(["-c", script]).arg(database).arg(statement));
}

/// swaks that logs in by PLAIN under TLS, at a submission listener.
pub fn swaks(submission: SocketAddr, user: &str, password: &str) -> Command {
    swaks_by("PLAIN", "--tls", submission, user, password)
}

/// swaks that logs in by this mechanism, with `--tls` by STARTTLS or with `--tls-on-connect`.
pub fn swaks_by(mechanism: &str, tls: &str, server: SocketAddr, user: &str, password: &str) -> Command {
    let mut swaks = program("/usr/bin/swaks");
    swaks.args(["--server", &server.to_string(), tls, "--auth", mechanism]);
    swaks.args(["--auth-user", user, "--auth-password", password]);
    swaks
}

/// `openssl s_client` at a listener under TLS, or with `starttls` at one in clear.
pub fn s_client(address: SocketAddr, starttls: bool, args: &[&str]) -> Command {
    let mut openssl = program("/usr/bin/openssl");
    openssl.args(["s_client", "-connect", &address.to_string()]);
    if starttls {
        openssl.args(["-starttls", "smtp"]);
    }
    openssl.args(args);
    openssl
}

/// A self-signed certificate for `names` and its key, made by openssl as `cert.pem` and `key.pem` in `folder`.
pub fn certificate(folder: &Path, names: &[&str], days: u32) {
    std::fs::create_dir_all(folder).expect("a folder");
    let subject = format!("/CN={}", names[0]);
    let names: Vec<String> = names.iter().map(|name| format!("DNS:{name}")).collect();
    let mut openssl = program("/usr/bin/openssl");
    openssl.args("req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes".split(' '));
    openssl.args([
        "-subj",
        &subject,
        "-addext",
        &format!("subjectAltName={}", names.join(",")),
    ]);
    openssl
        .args(["-days", &days.to_string(), "-keyout"])
        .arg(folder.join("key.pem"));
    run(openssl.arg("-out").arg(folder.join("cert.pem")));
}

/// An authority (`ca.pem`) and what it vouches for: `cert.pem` and `key.pem` of localhost and 127.0.0.1.
pub fn certificates(folder: &Path) {
    certificates_for(folder, "IP:127.0.0.1,DNS:localhost");
}

/// The same for these names, as openssl writes them: `IP:192.0.2.1,DNS:example.com`.
pub fn certificates_for(folder: &Path, names: &str) {
    let mut authority = request("-x509 -days 90 -subj /CN=authority", &folder.join("ca.key"));
    run(authority.arg("-out").arg(folder.join("ca.pem")));
    let names = format!("subjectAltName={names}\n");
    certified(
        folder,
        "hop",
        &names,
        90,
        [folder.join("cert.pem"), folder.join("key.pem")],
    );
}

/// A client of whom the authority of a folder says, for so many days from now on, that it has this name (its subject's and a DNS name):
/// `NAME.pem` and `NAME.key`. With no days it has just ended.
pub fn client_certificate(folder: &Path, name: &str, days: u32) {
    let files = ["pem", "key"].map(|kind| folder.join(format!("{name}.{kind}")));
    let extensions = format!("extendedKeyUsage=clientAuth\nsubjectAltName=DNS:{name}\n");
    certified(folder, name, &extensions, days, files);
}

/// A key, and a request to certify it or what is certified by itself.
fn request(args: &str, key: &Path) -> Command {
    let mut openssl = program("/usr/bin/openssl");
    openssl.args("req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes".split(' '));
    openssl.args(args.split(' ')).arg("-keyout").arg(key);
    openssl
}

/// A certificate by the authority of a folder, and its key.
fn certified(folder: &Path, name: &str, extensions: &str, days: u32, [certificate, key]: [PathBuf; 2]) {
    let path = |name: &str| folder.join(name);
    let mut asks = request(&format!("-subj /CN={name}"), &key);
    run(asks.arg("-out").arg(path("request.pem")));
    std::fs::write(path("extensions"), extensions).expect("extensions");
    let mut sign = program("/usr/bin/openssl");
    sign.args([
        "x509",
        "-req",
        "-CAcreateserial",
        "-days",
        &days.to_string(),
        "-CA",
    ]);
    sign.arg(path("ca.pem")).arg("-CAkey").arg(path("ca.key"));
    sign.arg("-in").arg(path("request.pem"));
    sign.arg("-extfile").arg(path("extensions"));
    run(sign.arg("-out").arg(certificate));
}

/// The authority of a folder takes back what it said of a certificate: `revoked.crl` says so.
pub fn revoke(folder: &Path, certificate: &str) {
    let settings = "[ca]\ndefault_ca = this\n[this]\ndatabase = index\ncertificate = ca.pem\nprivate_key = ca.key\n\
                    default_md = sha256\ndefault_crl_days = 30\n";
    std::fs::write(folder.join("ca.cnf"), settings).expect("ca.cnf");
    std::fs::write(folder.join("index"), "").expect("index");
    let args: [&[&str]; 2] = [&["-revoke", certificate], &["-gencrl", "-out", "revoked.crl"]];
    for args in args {
        let mut openssl = program("/usr/bin/openssl");
        openssl.args(["ca", "-config", "ca.cnf"]).args(args);
        run(openssl.current_dir(folder));
    }
}

/// The configuration that uses `cert.pem` and `key.pem` of a folder.
pub fn certificate_config(folder: &Path) -> String {
    let path = |name: &str| folder.join(name).display().to_string();
    format!(
        "[tls]\ncert_file = \"{}\"\nkey_file = \"{}\"\n",
        path("cert.pem"),
        path("key.pem")
    )
}

/// The files of a Maildir's `new`, in the order of their names, as they are.
pub fn maildir(folder: &Path) -> Vec<Vec<u8>> {
    let Ok(entries) = std::fs::read_dir(folder.join("new")) else {
        return Vec::new();
    };
    let mut paths: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    paths
        .iter()
        .map(|path| std::fs::read(path).expect("a message"))
        .collect()
}
