//! Files of the configuration that change while the server runs: nobody tells it.

use blackbox::mounted::Mounted;
use blackbox::server::{Server, Setup};
use blackbox::wire::Wire;

fn domain(name: &str) -> String {
    format!("[[domains]]\nname = \"{name}\"\ndeliver = \"capture\"\n")
}

fn is_local(server: &Server, domain: &str) -> bool {
    let mut wire = Wire::hello(server.smtp);
    wire.expect("MAIL FROM:<a@x.test>", 250);
    wire.say(&format!("RCPT TO:<b@{domain}>")).code == 250
}

fn reloads(server: &Server) -> usize {
    server.events("config_reloaded").len()
}

fn wait_reload(server: &Server, before: usize) {
    blackbox::wait_for_secs("a reload", 30, || reloads(server) > before);
}

#[test]
fn a_mounted_configmap_that_is_swapped_is_noticed() {
    let mut file = Mounted::new("server.toml", &domain("one.test"));
    let server = Setup::new("").config_file(file.path()).start();
    assert!(is_local(&server, "one.test"));
    file.swap(&domain("two.test"));
    wait_reload(&server, 0);
    assert!(is_local(&server, "two.test") && !is_local(&server, "one.test"));
}

#[test]
fn a_file_written_in_place_or_renamed_is_noticed() {
    let mut server = Server::with(&domain("one.test"));
    server.write_config(&domain("two.test"));
    wait_reload(&server, 0);
    assert!(is_local(&server, "two.test"));
    let file = server.folder().join("config.toml");
    let fresh = server.folder().join("fresh.toml");
    std::fs::write(&fresh, domain("three.test")).expect("write");
    std::fs::rename(&fresh, &file).expect("rename");
    wait_reload(&server, 1);
    assert!(is_local(&server, "three.test"));
}

#[test]
fn a_bad_file_is_refused_whole_said_once_and_recovered_from() {
    let good = domain("one.test");
    let mut server = Server::with(&good);
    // Only the last room to be asked finds what is wrong with it: no part of it may be seen.
    let missing = server.folder().join("ca.pem");
    let bad = format!("{}[delivery]\nca_file = {missing:?}\n", domain("two.test"));
    server.write_config(&bad);
    let line = server.wait_event("config_refused", |_| true);
    assert!(line["error"].to_string().contains("ca.pem"), "{line}");
    assert_eq!(server.metric("smtp_config_last_reload_success"), 0.0);
    assert!(is_local(&server, "one.test") && !is_local(&server, "two.test"));
    // Many looks later it is still said once. Another change, as bad, is said again.
    std::thread::sleep(std::time::Duration::from_secs(10));
    assert_eq!(server.events("config_refused").len(), 1);
    server.write_config(&format!("{bad}# try\n"));
    blackbox::wait_for("the second refusal", || {
        server.events("config_refused").len() == 2
    });
    server.write_config(&good);
    wait_reload(&server, 0);
    assert_eq!(server.metric("smtp_config_last_reload_success"), 1.0);
    assert!(is_local(&server, "one.test"));
}

#[test]
fn a_password_in_a_file_changes_with_the_file() {
    let secrets = tempfile::tempdir().expect("a folder");
    let file = secrets.path().join("billing");
    std::fs::write(&file, "the first password").expect("write");
    let config = format!("[[accounts]]\nname = \"billing\"\npassword_file = {file:?}\nsenders = [\"*\"]\n");
    let server = Server::with(&config);
    std::fs::write(&file, "the second password").expect("write");
    let line = server.wait_event("config_reloaded", |_| true);
    assert_eq!(line["changed"].to_string(), "[\"accounts\"]", "{line}");
}
