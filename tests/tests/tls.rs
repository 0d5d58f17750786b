//! TLS towards clients: real clients on each listener, versions, names, replaced certificates, and a scanner.

use blackbox::server::{Server, Setup, binary};
use blackbox::tls::codes_behind_starttls;
use blackbox::tools::{self, certificate, certificate_config, feed, peer, program, run};
use blackbox::wait_for;
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};

const DOMAIN: &str = "[[domains]]\nname = \"y.test\"\ndeliver = \"capture\"\n";

/// `openssl s_client`: all that it says.
fn s_client(address: SocketAddr, starttls: bool, args: &[&str]) -> String {
    let output = feed(&mut tools::s_client(address, starttls, args), "QUIT\r\n");
    [output.stdout, output.stderr]
        .map(|text| String::from_utf8_lossy(&text).into_owned())
        .concat()
}

fn listeners(server: &Server) -> [(SocketAddr, bool); 3] {
    [
        (server.smtp, true),
        (server.smtps(), false),
        (server.submission(), true),
    ]
}

/// Renames a pair of files over the one in use.
fn replace(folder: &Path, names: &[&str]) {
    let fresh = folder.join("fresh");
    certificate(&fresh, names, 90);
    for file in ["cert.pem", "key.pem"] {
        std::fs::rename(fresh.join(file), folder.join(file)).expect("rename");
    }
}

#[test]
fn each_listener_speaks_each_version_and_its_own_authority_vouches_for_it() {
    let server = Server::with("");
    let authority = server.data().join("tls/ca.pem").display().to_string();
    for (address, starttls) in listeners(&server) {
        for (version, name) in [("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3")] {
            let trust = [
                "-CAfile",
                &authority,
                "-verify_hostname",
                "mx.test",
                "-verify_return_error",
            ];
            let said = s_client(address, starttls, &[&[version][..], &trust].concat());
            assert!(said.contains(&format!("New, {name}, Cipher is")), "{said}");
            assert!(said.contains("Verification: OK"), "{said}");
        }
        for version in ["-tls1", "-tls1_1"] {
            let said = s_client(address, starttls, &[version, "-cipher", "DEFAULT@SECLEVEL=0"]);
            assert!(said.contains("SSL alert number"), "{said}");
            assert!(said.contains("New, (NONE), Cipher is (NONE)"), "{said}");
        }
    }
    let failed = server.wait_event("tls_failed", |line| line["listener"] == "smtps");
    assert_eq!(failed["reason"], "incompatible", "{failed}");
}

#[test]
fn version_1_2_is_refused_when_1_3_is_the_least() {
    let server = Server::with("[tls]\nmin_version = \"1.3\"\n");
    for (address, starttls) in listeners(&server) {
        let said = s_client(address, starttls, &["-tls1_2"]);
        assert!(said.contains("alert protocol version"), "{said}");
        assert!(s_client(address, starttls, &["-tls1_3"]).contains("New, TLSv1.3"));
    }
}

#[test]
fn a_certificate_is_chosen_by_name() {
    let folder = tempfile::tempdir().expect("a folder");
    let (first, second) = (folder.path().join("first"), folder.path().join("second"));
    certificate(&first, &["first.test"], 90);
    certificate(&second, &["second.test", "*.wild.test"], 90);
    let config =
        certificate_config(&first) + &certificate_config(&second).replace("[tls]", "[[certificates]]");
    let server = Server::with(&config);
    for (address, starttls) in listeners(&server) {
        for (name, shown) in [
            ("first.test", "first.test"),
            ("second.test", "second.test"),
            ("a.wild.test", "second.test"),
            ("unknown.test", "first.test"),
        ] {
            let said = s_client(address, starttls, &["-servername", name]);
            assert!(said.contains(&format!("subject=CN = {shown}")), "{name}: {said}");
        }
        let said = s_client(address, starttls, &["-noservername"]);
        assert!(said.contains("subject=CN = first.test"), "{said}");
    }
    let expiry = |name: &str| {
        server.metric(&format!(
            "smtp_tls_certificate_expiry_timestamp_seconds{{certificate=\"{name}\"}}"
        ))
    };
    assert!(expiry("default") > 1.7e9 && expiry("1") > 1.7e9);
    assert_eq!(expiry("2"), 0.0);
}

#[test]
fn curl_and_swaks_send_under_tls() {
    let server = Server::with(DOMAIN);
    let authority = server.data().join("tls/ca.pem");
    let port = server.smtp.port();
    let mut curl = program("/usr/bin/curl");
    curl.args(["--silent", "--show-error", "--ssl-reqd", "--cacert"])
        .arg(&authority);
    curl.args([
        "--resolve",
        &format!("mx.test:{port}:127.0.0.1"),
        &format!("smtp://mx.test:{port}"),
    ]);
    curl.args([
        "--mail-from",
        "a@x.test",
        "--mail-rcpt",
        "b@y.test",
        "--upload-file",
        "/dev/null",
    ]);
    run(&mut curl);
    let line = server.wait_event("received", |_| true);
    assert_eq!(line["protocol"], "ESMTPS", "{line}");
    assert!(
        line["tls"]
            .as_str()
            .is_some_and(|tls| tls.starts_with("TLSv1.3 with TLS_")),
        "{line}"
    );

    let mut swaks = program("/usr/bin/swaks");
    swaks.args([
        "--server",
        &server.smtp.to_string(),
        "--tls",
        "--from",
        "a@x.test",
        "--to",
        "b@y.test",
    ]);
    run(swaks.args(["--body", "x"]));
    let mut swaks = program("/usr/bin/swaks");
    swaks.args([
        "--server",
        &server.smtps().to_string(),
        "--tls-on-connect",
        "--quit-after",
        "EHLO",
    ]);
    let said = String::from_utf8_lossy(&run(&mut swaks).stdout).into_owned();
    assert!(
        said.contains("TLS started") && said.contains("221 2.0.0"),
        "{said}"
    );
    wait_for("two messages", || server.events("received").len() == 2);
}

#[test]
fn commands_in_the_packet_of_starttls_are_never_answered() {
    let injected = "EHLO injected.test\r\nMAIL FROM:<injected@x.test>\r\nRCPT TO:<b@y.test>\r\n";
    // The breach ends the session; where that is not wanted, what came in clear is thrown away.
    let lenient = format!("{DOMAIN}[limits]\nrefuse_unauthorized_pipelining = false\n");
    for (config, codes) in [(DOMAIN, &[554][..]), (&lenient, &[220, 250, 250, 221])] {
        let server = Server::with(config);
        for address in [server.smtp, server.submission()] {
            assert_eq!(codes_behind_starttls(address, injected), codes);
        }
    }
}

/// Opens 200 sessions under TLS and keeps sending on new ones; after a line of input says whether all are as they were.
const SESSIONS: &str = r#"
import smtplib, ssl, sys, threading
smtp, smtps = int(sys.argv[1]), int(sys.argv[2])
context = ssl._create_unverified_context()
def under_starttls():
    s = smtplib.SMTP("127.0.0.1", smtp, local_hostname="client.test", timeout=60)
    s.starttls(context=context)
    s.ehlo()
    return s
def under_smtps():
    return smtplib.SMTP_SSL("127.0.0.1", smtps, local_hostname="client.test", timeout=60, context=context)
sessions = [under_starttls() if i % 2 else under_smtps() for i in range(200)]
end, sent, failures = threading.Event(), [], []
def load():
    while not end.is_set():
        try:
            with under_starttls() as s:
                s.sendmail("a@x.test", ["b@y.test"], "Subject: load\r\n\r\nx\r\n")
            sent.append(1)
        except Exception as e:
            failures.append(repr(e))
threads = [threading.Thread(target=load) for _ in range(2)]
[t.start() for t in threads]
print("open", flush=True)
sys.stdin.readline()
end.set()
[t.join() for t in threads]
for i, s in enumerate(sessions):
    assert s.noop()[0] == 250
    if i % 2:
        s.sendmail("a@x.test", ["b@y.test"], "Subject: kept\r\n\r\nx\r\n")
    s.quit()
assert not failures, failures[:3]
assert sent
print("kept", len(sent) + 100, flush=True)
"#;

#[test]
fn a_replaced_certificate_is_shown_next_and_no_session_is_lost() {
    let folder = tempfile::tempdir().expect("a folder");
    certificate(folder.path(), &["one.test"], 90);
    let server = Server::with(&(certificate_config(folder.path()) + DOMAIN));
    let mut python = Command::new("/usr/bin/python3");
    python.args([
        "-c",
        SESSIONS,
        &server.smtp.port().to_string(),
        &server.smtps().port().to_string(),
    ]);
    let mut child = python
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3");
    let mut lines = BufReader::new(child.stdout.take().expect("stdout")).lines();
    let opened = lines.next().and_then(Result::ok);
    assert_eq!(opened.as_deref(), Some("open"));
    assert!(server.metric("smtp_active_connections") >= 200.0);

    replace(folder.path(), &["two.test"]);
    let line = server.wait_event("certificate_loaded", |line| line["names"][0] == "two.test");
    assert!(line["expires"].is_string(), "{line}");
    for (address, starttls) in listeners(&server) {
        assert!(s_client(address, starttls, &[]).contains("subject=CN = two.test"));
    }

    // A key that belongs to another certificate: refused, and said once.
    let stray = folder.path().join("stray");
    certificate(&stray, &["three.test"], 90);
    std::fs::rename(stray.join("key.pem"), folder.path().join("key.pem")).expect("rename");
    let line = server.wait_event("certificate_refused", |_| true);
    let error = line["error"].as_str().expect("error");
    assert!(error.contains("key.pem") && line["level"] == "error", "{line}");
    let refused = "smtp_tls_certificate_loads_total{result=\"refused\"}";
    assert_eq!(server.metric(refused), 1.0);
    assert!(s_client(server.smtps(), false, &[]).contains("subject=CN = two.test"));
    // The rest of the pair comes: it is good again.
    std::fs::rename(stray.join("cert.pem"), folder.path().join("cert.pem")).expect("rename");
    server.wait_event("certificate_loaded", |line| line["names"][0] == "three.test");
    assert_eq!(server.metric(refused), 1.0);

    child
        .stdin
        .take()
        .expect("stdin")
        .write_all(b"\n")
        .expect("go on");
    let kept = lines.next().and_then(Result::ok).expect("every session kept");
    let sent: usize = kept
        .strip_prefix("kept ")
        .and_then(|n| n.parse().ok())
        .expect("a number");
    assert!(child.wait().expect("wait").success());
    wait_for("every message to be in the log", || {
        server.events("received").len() >= sent
    });
    assert_eq!(server.events("received").len(), sent);
}

#[test]
fn a_certificate_that_expires_soon_is_spoken_of() {
    let folder = tempfile::tempdir().expect("a folder");
    certificate(folder.path(), &["one.test"], 5);
    let server = Server::with(&certificate_config(folder.path()));
    let line = server.wait_event("certificate_expiring", |_| true);
    let days = line["days_left"].as_u64().expect("days");
    assert!((4..=5).contains(&days), "{line}");
}

#[test]
fn its_own_certificate_is_kept_across_restarts() {
    let server = Server::with("");
    let pair = server.data().join("tls/cert.pem");
    let made = std::fs::read(&pair).expect("cert.pem");
    let server = server.restart();
    assert_eq!(std::fs::read(&pair).expect("cert.pem"), made);
    assert!(s_client(server.smtps(), false, &[]).contains("subject=CN = mx.test"));
}

#[test]
fn check_reads_the_pairs() {
    let folder = tempfile::tempdir().expect("a folder");
    certificate(folder.path(), &["one.test"], 5);
    let config = folder.path().join("config.toml");
    std::fs::write(&config, certificate_config(folder.path())).expect("config.toml");
    let check = |args: &[&str]| {
        let mut command = Command::new(binary());
        command
            .env_clear()
            .env("SMTP_PROFILE", "testing")
            .env("SMTP_DB_PATH", folder.path().join("smtp.db"));
        let output = command
            .arg("check")
            .arg("--config")
            .arg(&config)
            .args(args)
            .output()
            .expect("check");
        let text = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8_lossy(&text).into_owned())
    };
    let (code, text) = check(&[]);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("one.test, expires 2"), "{text}");
    assert!(text.contains("the certificate expires"), "a warning: {text}");
    let stray = folder.path().join("stray");
    certificate(&stray, &["one.test"], 5);
    std::fs::rename(stray.join("key.pem"), folder.path().join("key.pem")).expect("rename");
    for args in [&[][..], &["--output", "json"]] {
        let (code, text) = check(args);
        assert_eq!(code, Some(78), "{text}");
        assert!(text.contains("key.pem: this key does not belong"), "{text}");
    }
    let setup = Setup::new(certificate_config(folder.path()));
    let (code, text) = blackbox::server::refusal(&setup);
    assert_eq!(code, 78, "{text}");
    assert!(text.contains("key.pem: this key does not belong"), "{text}");
}

/// What a scanner must not find, as it asks of a server that is up to date.
const SCAN: &str = r#"
import json, sys
found = json.load(open(sys.argv[1]))["server_scan_results"][0]
assert found["scan_status"] == "COMPLETED", found["connectivity_error_trace"]
results = found["scan_result"]
def result(name):
    assert results[name]["status"] == "COMPLETED", (name, results[name])
    return results[name]["result"]
for old in ["ssl_2_0", "ssl_3_0", "tls_1_0", "tls_1_1"]:
    assert not result(old + "_cipher_suites")["accepted_cipher_suites"], old
for new in ["tls_1_2", "tls_1_3"]:
    suites = [s["cipher_suite"]["name"] for s in result(new + "_cipher_suites")["accepted_cipher_suites"]]
    assert suites, new
    assert all("GCM" in s or "CHACHA20" in s for s in suites), suites
    assert new == "tls_1_3" or all("ECDHE" in s for s in suites), suites
assert not result("tls_compression")["supports_compression"]
assert not result("heartbleed")["is_vulnerable_to_heartbleed"]
assert not result("openssl_ccs_injection")["is_vulnerable_to_ccs_injection"]
assert result("robot")["robot_result"].startswith("NOT_VULNERABLE"), result("robot")
assert not result("session_renegotiation")["is_vulnerable_to_client_renegotiation_dos"]
assert result("tls_fallback_scsv")["supports_fallback_scsv"] is not None
"#;

#[test]
fn a_scanner_finds_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    certificate(folder.path(), &["one.test"], 90);
    let server = Server::with(&certificate_config(folder.path()));
    let sslyze = peer("sslyze");
    for (address, starttls) in listeners(&server) {
        let found = folder.path().join("found.json");
        let mut scan = program("/usr/bin/python3");
        scan.env("PYTHONPATH", &sslyze)
            .args(["-m", "sslyze", "--mozilla_config", "disable"]);
        scan.args(
            "--sslv2 --sslv3 --tlsv1 --tlsv1_1 --tlsv1_2 --tlsv1_3 --compression --heartbleed".split(' '),
        );
        scan.args("--openssl_ccs --robot --reneg --fallback --json_out".split(' '))
            .arg(&found);
        if starttls {
            scan.args(["--starttls", "smtp"]);
        }
        run(scan.arg(address.to_string()));
        run(program("/usr/bin/python3").args(["-c", SCAN]).arg(&found));
    }
}
