//! `smtp-server health`: what probes that run a command are told.

use blackbox::ports::free_port;
use blackbox::server::{Server, Setup, binary};
use blackbox::wait_for;
use blackbox::wire::Wire;
use serde_json::Value;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output};

/// A command that knows nothing but these arguments, and variables as a pod has them.
fn health(variables: &[(&str, &str)], args: &[&str]) -> (i32, String, String) {
    let mut command = Command::new("/usr/bin/timeout");
    command.arg("30").arg(binary()).arg("health").args(args);
    let output = command.env_clear().envs(variables.iter().copied()).output();
    let Output {
        status,
        stdout,
        stderr,
    } = output.expect("run the command");
    let text = |octets| String::from_utf8(octets).expect("UTF-8");
    (status.code().expect("a code"), text(stdout), text(stderr))
}

fn config_of(server: &Server) -> String {
    server.folder().join("config.toml").display().to_string()
}

/// A server whose configuration says where it is.
fn on(host: &str) -> Server {
    let port = free_port().port();
    Setup::new(format!("[http]\nhost = [\"{host}\"]\nport = {port}\n"))
        .without("SMTP_HTTP_PORT")
        .start()
}

#[test]
fn a_server_is_found_by_its_configuration() {
    let server = on("127.0.0.1");
    let file = config_of(&server);
    let ready = health(&[], &["--config", &file]);
    assert_eq!(ready, (0, "ok\n".into(), String::new()));
    let live = health(&[("SMTP_CONFIG", &file)], &["live"]);
    assert_eq!(live, (0, "ok\n".into(), String::new()));
    // A variable is before the file, as for `run`.
    let port = server.http.port().to_string();
    let variables = [("SMTP_CONFIG", "/dev/null"), ("SMTP_HTTP_PORT", &port)];
    assert_eq!(health(&variables, &["ready"]).0, 0);
    let (code, json, _) = health(&[], &["ready", "--config", &file, "--output", "json"]);
    let json: Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(
        (code, &json["checks"]["storage"]["ok"]),
        (0, &true.into()),
        "{json}"
    );
    // With an address of its own nothing is read.
    let url = format!("http://{}", server.http);
    let nothing = [("SMTP_CONFIG", "/nowhere")];
    assert_eq!(health(&nothing, &["live", "--url", &url]).0, 0);
    assert_eq!(health(&nothing, &["live"]).0, 78);
}

#[test]
fn a_server_that_is_not_on_loopback_is_found_too() {
    for host in ["127.0.0.2", "::1", "::"] {
        let port = free_port().port();
        let setup = Setup::new(format!(
            "[http]\nhost = [\"{host}\"]\nport = {port}\n[server]\nhost = [\"127.0.0.1\"]\n"
        ))
        .without("SMTP_HTTP_PORT");
        let started = Started::new(&setup);
        wait_for(&format!("a server on {host}"), || {
            health(&[], &["--config", &started.config]).0 == 0
        });
    }
}

/// A program that ends with the test.
struct Running(std::process::Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A server that is only asked for its health: the stage's own knows no other addresses than those of loopback.
struct Started {
    _child: Running,
    config: String,
    _folder: tempfile::TempDir,
}

impl Started {
    fn new(setup: &Setup) -> Started {
        let folder = tempfile::tempdir().expect("a folder");
        let config = folder.path().join("config.toml");
        std::fs::write(&config, &setup.config).expect("config.toml");
        let child = Command::new(binary())
            .args(["run", "--config"])
            .arg(&config)
            .env_clear()
            .envs(&setup.env)
            .env("SMTP_DB_PATH", folder.path().join("data/smtp.db"))
            .stdout(std::process::Stdio::null())
            .spawn();
        Started {
            _child: Running(child.expect("start the server")),
            config: config.display().to_string(),
            _folder: folder,
        }
    }
}

#[test]
fn what_fails_is_said_and_live_is_not_ready() {
    let mut server = on("127.0.0.1");
    let file = config_of(&server);
    let mut busy = Wire::hello(server.smtp);
    busy.expect("MAIL FROM:<a@x.test>", 250);
    server.signal(nix::sys::signal::Signal::SIGTERM);
    wait_for("the drain", || server.get("/health/ready").0 == 503);
    let (code, said, complaint) = health(&[], &["--config", &file]);
    assert_eq!(
        (code, said.as_str(), complaint.as_str()),
        (
            69,
            "unavailable\n  draining: failed: the server is stopping\n",
            ""
        )
    );
    let (code, json, _) = health(&[], &["--config", &file, "--output", "json"]);
    let json: Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!((code, &json["status"]), (69, &"unavailable".into()), "{json}");
    assert_eq!(
        health(&[], &["live", "--config", &file]).0,
        0,
        "nobody is to restart it"
    );
    busy.expect("RSET", 250);
    assert!(server.exited(30).success());
    let (code, said, complaint) = health(&[], &["--config", &file]);
    assert_eq!((code, said.as_str()), (69, ""));
    assert!(
        complaint.contains("cannot be asked: Connection refused") && complaint.contains("http.port"),
        "{complaint}"
    );
}

/// A new configuration that is refused is no reason to kill a server that goes on with the old one.
#[test]
fn a_wrong_configuration_does_not_make_a_good_server_sick() {
    let mut server = on("127.0.0.1");
    let file = config_of(&server);
    let address = server.http;
    let good = std::fs::read_to_string(&file).expect("config.toml");
    server.write_config(&format!("{good}[relay]\nnetworks = [\"nonsense\"]\n"));
    server.wait_event("config_refused", |_| true);
    assert_eq!(health(&[], &["--config", &file]).0, 0);
    // Without a port that can be read, the environment's or the default one is asked.
    server.write_config("this is no TOML");
    let port = address.port().to_string();
    assert_eq!(health(&[("SMTP_HTTP_PORT", &port)], &["--config", &file]).0, 0);
    assert!(server.stop().success());
    let (code, _, complaint) = health(&[("SMTP_HTTP_PORT", &port)], &["--config", &file]);
    assert_eq!(code, 78, "{complaint}");
    assert!(complaint.contains("config.toml"), "{complaint}");
}

#[test]
fn it_never_takes_long() {
    // Connections are taken by the kernel, and nobody answers.
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", silent.local_addr().expect("address"));
    let (code, said, complaint) = health(&[], &["--url", &url, "--timeout", "1"]);
    assert_eq!((code, said.as_str()), (69, ""));
    assert!(complaint.contains("no answer within 1 s"), "{complaint}");
    // Without being told, it is given up before `timeout` ends it.
    assert_eq!(health(&[], &["--url", &url]).0, 69);
}

#[test]
fn what_is_no_smtp_server_is_not_healthy() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::create_dir(folder.path().join("health")).expect("folder");
    std::fs::write(folder.path().join("health/ready"), "fine\n").expect("file");
    let other = free_port();
    // Not under `timeout`, which would leave it behind when it is killed.
    let mut python = Command::new("/usr/bin/python3");
    python
        .args(["-m", "http.server", "--bind", "127.0.0.1"])
        .arg(other.port().to_string())
        .current_dir(folder.path())
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null());
    let _python = Running(python.spawn().expect("python"));
    wait_for("another server", || std::net::TcpStream::connect(other).is_ok());
    let (code, _, complaint) = health(&[], &["--url", &format!("http://{other}")]);
    assert_eq!(code, 69);
    assert!(complaint.contains("is that an smtp-server?"), "{complaint}");
}

#[test]
fn wrong_commands_are_64() {
    for args in [
        &["dead"][..],
        &["--timeout", "0"],
        &["--timeout", "soon"],
        &["--url", "https://127.0.0.1:1"],
        &["--url", "127.0.0.1:1"],
    ] {
        assert_eq!(health(&[], args).0, 64, "{args:?}");
    }
    let (code, _, complaint) = health(&[("SMTP_HTTP_PORT", "0"), ("SMTP_PROFILE", "testing")], &[]);
    assert!(code == 78 && complaint.contains("--url"), "{complaint}");
    assert!(
        !Path::new("/etc/smtp-server/config.toml").exists(),
        "these tests want defaults"
    );
}
